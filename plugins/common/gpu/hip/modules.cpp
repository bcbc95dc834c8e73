// SPDX-License-Identifier: Apache-2.0
/* The compiler registers every kernel of this plugin before main. With the HIP runtime that would
 * load libamdhip64; here the five functions it calls only remember what they are told, and a
 * module is loaded when a device is opened. */
#include "common/gpu/hip/api.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace
{

constexpr int kModules = 16, kKernels = 256, kDevices = 16;

struct FatBinary {
    uint32_t magic, version;
    const void *data;
    void *reserved;
};
struct Module {
    const void *image;
    hipModule_t loaded[kDevices];
};
struct Kernel {
    const void *stub;
    const char *name;
    Module *module;
    hipFunction_t function[kDevices];
};

Module modules[kModules];
Kernel kernels[kKernels];
int num_modules, num_kernels;

} // namespace

extern "C" {

void **__hipRegisterFatBinary(const void *wrapper);
void __hipUnregisterFatBinary(void **module);
void __hipRegisterFunction(void **module, const void *stub, char *name, const char *device_name,
                           unsigned, void *, void *, void *, void *, int *);

void **
__hipRegisterFatBinary(const void *wrapper)
{
    if (num_modules == kModules)
        return nullptr;
    Module *m = &modules[num_modules++];
    m->image = static_cast<const FatBinary *>(wrapper)->data;
    return reinterpret_cast<void **>(m);
}

void
__hipUnregisterFatBinary(void **)
{
}

void
__hipRegisterFunction(void **module, const void *stub, char *, const char *device_name, unsigned,
                      void *, void *, void *, void *, int *)
{
    if (!module || num_kernels == kKernels)
        return;
    kernels[num_kernels++] = {stub, device_name, reinterpret_cast<Module *>(module), {}};
}

/* Reached only by <<<>>>, which no file here uses. */
hipError_t
__hipPopCallConfiguration(dim3 *, dim3 *, size_t *, hipStream_t *)
{
    return hipErrorNotSupported;
}
hipError_t
hipLaunchKernel(const void *, dim3, dim3, void **, size_t, hipStream_t)
{
    return hipErrorNotSupported;
}

} // extern "C"

namespace gpu
{

static HipApi table;
static char reason[160];

static const HipApi *
load_api()
{
    void *lib = nullptr;
    for (const char *name : {"libamdhip64.so", "libamdhip64.so.6", "libamdhip64.so.5",
                             "libamdhip64.so.7", "/opt/rocm/lib/libamdhip64.so"})
        if (!lib)
            lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        snprintf(reason, sizeof reason, "no HIP device: libamdhip64.so is not installed");
        return nullptr;
    }
#define GPU_HIP_FIND(name)                                                           \
    if (!(table.name = reinterpret_cast<decltype(table.name)>(dlsym(lib, #name)))) { \
        snprintf(reason, sizeof reason, "no HIP device: libamdhip64 lacks " #name);  \
        return nullptr;                                                              \
    }
    GPU_HIP_FUNCTIONS(GPU_HIP_FIND)
    GPU_HIP_FIND(hipMalloc)
    GPU_HIP_FIND(hipHostMalloc)
#undef GPU_HIP_FIND
    return &table;
}

const HipApi *
hip_api(const char **why)
{
    static const HipApi *const api = load_api();
    *why = reason;
    return api;
}

hipError_t
hip_function(const HipApi *api, int device, const void *stub, hipFunction_t *function)
{
    if (device < 0 || device >= kDevices)
        return hipErrorInvalidDevice;
    for (int i = 0; i < num_kernels; i++) {
        Kernel &k = kernels[i];
        if (k.stub != stub)
            continue;
        hipModule_t &m = k.module->loaded[device];
        hipError_t e = m ? hipSuccess : api->hipModuleLoadData(&m, k.module->image);
        if (!e && !k.function[device])
            e = api->hipModuleGetFunction(&k.function[device], m, k.name);
        *function = k.function[device];
        return e;
    }
    return hipErrorInvalidDeviceFunction;
}

} // namespace gpu
