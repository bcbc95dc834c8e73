// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/device.h"
#include "common/gpu/hip/api.h"
#include "common/gpu/hip/launch.h"
#include "common/gpu/on_device.h"

#include <cstdio>

namespace gpu
{

const int32_t device_type = ATTN_DEVICE_ROCM;

typedef hipError_t Error;
typedef hipStream_t NativeStream;
typedef hipEvent_t NativeEvent;
typedef hipGraph_t NativeGraph;
typedef hipGraphExec_t NativeGraphExec;
static const HipApi *api;
#define RT(function) api->hip##function

static constexpr Error kSuccess = hipSuccess, kOutOfMemory = hipErrorOutOfMemory;
static constexpr const char *kNoDevice = "no HIP device";
static constexpr hipMemcpyKind kCopyKinds[3] = {hipMemcpyHostToDevice, hipMemcpyDeviceToHost,
                                                hipMemcpyDeviceToDevice};
static constexpr unsigned kNonBlocking = hipStreamNonBlocking;
static constexpr hipStreamCaptureMode kCaptureMode = hipStreamCaptureModeThreadLocal;

static bool
is_absent(Error e)
{
    return e == hipErrorNoDevice || e == hipErrorInsufficientDriver || e == hipErrorInvalidDevice ||
           e == hipErrorNotInitialized;
}

/* Every call below comes after count(), which loads the library. */
static const char *
runtime_missing()
{
    const char *why;
    api = hip_api(&why);
    return api ? nullptr : why;
}

static Error
alloc_pinned(void **memory, size_t bytes)
{
    return api->hipHostMalloc(memory, bytes, 0);
}

static void
free_pinned(void *memory)
{
    (void)api->hipHostFree(memory);
}

static Error
create_event(NativeEvent *event)
{
    return api->hipEventCreateWithFlags(event, 0);
}

static Error
instantiate(NativeGraphExec *exec, NativeGraph graph)
{
    return api->hipGraphInstantiate(exec, graph, nullptr, nullptr, 0);
}

} // namespace gpu

#include "common/gpu/device_native.h"

namespace gpu
{

/* The device's name; an error that says it when it is not a gfx942, which answers 9.4: no call
 * gives the architecture's name without the struct of properties. */
static attn_status
identify(int id, char (&name)[64], attn_error *err)
{
    int major = 0, minor = 0;
    Error e = api->hipDeviceGetName(name, sizeof name, id);
    if (!e)
        e = api->hipDeviceGetAttribute(&major, hipDeviceAttributeComputeCapabilityMajor, id);
    if (!e)
        e = api->hipDeviceGetAttribute(&minor, hipDeviceAttributeComputeCapabilityMinor, id);
    if (e)
        return check(e, "device", err);
    if (major != 9 || minor != 4)
        return failf(err, ATTN_E_DEVICE, "device", "%s is gfx %d.%d: supports gfx942", name, major,
                     minor);
    return ATTN_OK;
}

attn_status
device_open(attn_device device, Device *out, attn_error *err)
{
    char name[64];
    int units = 0;
    if (const char *why = runtime_missing())
        return attn_fail(err, ATTN_E_NO_DEVICE, "device", why);
    attn_status status = identify(device.id, name, err);
    if (!status)
        status = check(
            api->hipDeviceGetAttribute(&units, hipDeviceAttributeMultiprocessorCount, device.id),
            "device", err);
    if (status)
        return status;
    *out = {device, "gfx942", units, false};
    return ATTN_OK;
}

/* The host leaves out a device without an answer: so one of another architecture. */
static attn_status
info(uint32_t index, attn_device_info *out, attn_error *err)
{
    char name[64];
    size_t total = 0;
    attn_status status = identify(static_cast<int>(index), name, err);
    if (!status)
        status = check(api->hipDeviceTotalMem(&total, static_cast<int>(index)), "index", err);
    if (status)
        return status;
    out->device = {ATTN_DEVICE_ROCM, static_cast<int32_t>(index)};
    snprintf(out->name, sizeof out->name, "%.63s", name);
    snprintf(out->arch, sizeof out->arch, "gfx942");
    out->total_bytes = total;
    return ATTN_OK;
}

static attn_status
find(const void *stub, const char *name, hipFunction_t *function, attn_error *err)
{
    int device = 0;
    Error e = api->hipGetDevice(&device);
    if (!e)
        e = hip_function(api, device, stub, function);
    if (!e)
        return ATTN_OK;
    return failf(err, ATTN_E_DEVICE, name, "no code for this device: %s",
                 api->hipGetErrorString(e));
}

attn_status
hip_prepare(const void *stub, const char *name, attn_error *err)
{
    hipFunction_t function;
    return find(stub, name, &function, err);
}

attn_status
hip_launch(const void *stub, const char *name, const attn_stream &stream, uint32_t blocks,
           uint32_t threads, uint32_t shared, const void *params, attn_error *err)
{
    hipFunction_t function;
    OnDevice current(stream.device.id);
    const attn_status status = find(stub, name, &function, err);
    if (status)
        return status;
    void *arguments[] = {const_cast<void *>(params)};
    return check(api->hipModuleLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared,
                                            native(&stream), arguments, nullptr),
                 name, err);
}

} // namespace gpu
