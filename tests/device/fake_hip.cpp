// SPDX-License-Identifier: Apache-2.0
/* A libamdhip64 without a GPU: the functions that the plugin calls, on the
 * emulated machine, and its kernels by the symbols that the compiled code
 * objects have. So the host side of rocm_aiter.flash runs as on an MI300X: the
 * search for the library, module loading, launches, streams, events, graphs.
 * FAKE_HIP names the chip: gfx942, gfx90a, ...; unset: no device. */
#include "common/gpu/device.h"
#include "common/gpu/on_device.h"
#include "flash/cuda/kernels.h"
#include "flash/cuda/plan.h"
#include "flash/cuda/update.h"
#include "rocm_aiter/flash/decode.h"
#include "rocm_aiter/flash/prefill.h"
#include "rocm_aiter/flash/symbol.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include <hip/hip_runtime_api.h>

namespace flash
{
#define DECLARE(type)                                                       \
    extern const Instance instance_##type##_64_64, instance_##type##_96_96, \
        instance_##type##_128_128, instance_##type##_192_128,               \
        instance_##type##_192_192, instance_##type##_256_256;
DECLARE(bf16)
DECLARE(f16)
} // namespace flash

namespace
{

using Run = std::function<attn_status(const attn_stream &, uint32_t,
                                      const void *, attn_error *)>;

struct Function {
    std::string symbol;
    unsigned threads, shared;
    Run run;
};
struct Module {
    const char *code;
    uint64_t bytes;
};
/* Of a graph and its executable: who destroys it last frees it. */
struct Graph {
    uint64_t handle;
    int owners;
};

int current;

const char *
chip()
{
    return getenv("FAKE_HIP");
}

attn_device
device(int id)
{
    return {gpu::device_type, id};
}

hipError_t
complain(const char *what, const char *why)
{
    fprintf(stderr, "fake HIP: %s: %s\n", what, why);
    return hipErrorInvalidValue;
}

/* Calls f(err) with the device current that HIP has current. */
template <class F>
hipError_t
on_current(const char *what, F f)
{
    attn_error err = {};
    err.struct_size = sizeof err;
    const gpu::OnDevice here(current);
    const attn_status status = f(&err);
    if (status == ATTN_E_NOMEM)
        return hipErrorOutOfMemory;
    return status ? complain(what, err.message) : hipSuccess;
}

const attn_stream &
stream_of(hipStream_t s)
{
    return *reinterpret_cast<attn_stream *>(s);
}

template <class K, class F>
void
add(std::vector<Function> &to, unsigned shared, F launch)
{
    to.push_back({flash::symbol_of<K>(), K::kThreads, shared,
                  [=](const attn_stream &s, uint32_t blocks, const void *p,
                      attn_error *err) {
                      typename K::Params copy;
                      memcpy(&copy, p, sizeof copy);
                      return launch(s, blocks, copy, err);
                  }});
}

template <class T, int DQ, int DV>
void
add_both(std::vector<Function> &to, const flash::Instance &i)
{
    using Decode = flash::DecodeKernel<T, DQ, DV>;
    using Prefill = flash::PrefillKernel<T, DQ, DV>;
    add<Decode>(to, Decode::kSharedBytes, i.decode.launch);
    add<Prefill>(to, Prefill::kSharedBytes, i.prefill.launch);
}

template <class T>
void
add_update(std::vector<Function> &to)
{
    add<flash::UpdateKernel<T>>(
        to, 0, [](auto &s, uint32_t blocks, auto &p, attn_error *err) {
            return flash::launch_update(s, blocks, gpu::Element<T>::is_bf16, p,
                                        err);
        });
}

#define ADD(type, dq, dv) \
    add_both<gpu::type, dq, dv>(to, flash::instance_##type##_##dq##_##dv);
#define ADD_ALL(type)   \
    ADD(type, 64, 64)   \
    ADD(type, 96, 96)   \
    ADD(type, 128, 128) \
    ADD(type, 192, 128) ADD(type, 192, 192) ADD(type, 256, 256)

const std::vector<Function> &
functions()
{
    static const std::vector<Function> all = [] {
        std::vector<Function> to;
        ADD_ALL(bf16)
        ADD_ALL(f16)
        add_update<gpu::bf16>(to);
        add_update<gpu::f16>(to);
        add<flash::PlanKernel>(to, flash::PlanKernel::kSharedBytes,
                               [](auto &s, uint32_t, auto &p, attn_error *err) {
                                   return flash::launch_plan(s, p, err);
                               });
        add<flash::ConstantsKernel>(
            to, 0, [](auto &s, uint32_t, auto &p, attn_error *err) {
                return flash::launch_constants(s, p, err);
            });
        return to;
    }();
    return all;
}

/* The part of an offload bundle that is for this chip. */
bool
find_code(const char *image, Module &m)
{
    static const char magic[] = "__CLANG_OFFLOAD_BUNDLE__";
    const std::string wanted =
        std::string("hipv4-amdgcn-amd-amdhsa--") + chip();
    if (memcmp(image, magic, sizeof magic - 1) != 0)
        return false;
    const char *at = image + sizeof magic - 1;
    uint64_t count;
    memcpy(&count, at, 8);
    at += 8;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t head[3]; /* offset, bytes, length of the name */
        memcpy(head, at, sizeof head);
        if (std::string(at + sizeof head, head[2]) == wanted) {
            m = {image + head[0], head[1]};
            return true;
        }
        at += sizeof head + head[2];
    }
    return false;
}

} // namespace

extern "C" {

hipError_t
hipInit(unsigned)
{
    return hipSuccess;
}
hipError_t
hipGetDeviceCount(int *count)
{
    uint32_t n = 0;
    *count = 0;
    if (!chip())
        return hipErrorNoDevice;
    const hipError_t e = on_current(
        "count", [&](attn_error *err) { return gpu::service.count(&n, err); });
    *count = int(n);
    return e;
}
hipError_t
hipGetDevice(int *id)
{
    *id = current;
    return hipSuccess;
}
hipError_t
hipSetDevice(int id)
{
    int count;
    if (hipGetDeviceCount(&count) || id < 0 || id >= count)
        return hipErrorInvalidDevice;
    current = id;
    return hipSuccess;
}
hipError_t
hipDeviceGetName(char *name, int bytes, hipDevice_t)
{
    snprintf(name, size_t(bytes), "fake %s", chip());
    return hipSuccess;
}
/* gfx90a is 9.0, gfx942 9.4, gfx1100 11.0. */
hipError_t
hipDeviceGetAttribute(int *value, hipDeviceAttribute_t what, int)
{
    const std::string digits = chip() + 3;
    const size_t minor = digits.size() - 2;
    if (what == hipDeviceAttributeComputeCapabilityMajor)
        *value = std::stoi(digits.substr(0, minor));
    else if (what == hipDeviceAttributeComputeCapabilityMinor)
        *value = digits[minor] - '0';
    else if (what == hipDeviceAttributeMultiprocessorCount)
        *value = 2;
    else
        return complain("hipDeviceGetAttribute",
                        "an attribute that nobody should ask for");
    return hipSuccess;
}
hipError_t
hipMemGetInfo(size_t *free_bytes, size_t *total)
{
    uint64_t f, t;
    const hipError_t e = on_current("hipMemGetInfo", [&](attn_error *err) {
        return gpu::service.memory_info(device(current), &f, &t, err);
    });
    *free_bytes = f;
    *total = t;
    return e;
}
hipError_t
hipDeviceTotalMem(size_t *bytes, hipDevice_t)
{
    size_t ignored;
    return hipMemGetInfo(&ignored, bytes);
}
const char *
hipGetErrorString(hipError_t e)
{
    return e == hipErrorNoBinaryForGpu ? "no kernel image for this GPU"
                                       : "an error of fake HIP";
}
hipError_t
hipGetLastError()
{
    return hipSuccess;
}

hipError_t
hipMalloc(void **memory, size_t bytes)
{
    return on_current("hipMalloc", [&](attn_error *err) {
        return gpu::service.alloc(device(current), ATTN_MEM_DEVICE, bytes,
                                  memory, err);
    });
}
hipError_t
hipHostMalloc(void **memory, size_t bytes, unsigned)
{
    return on_current("hipHostMalloc", [&](attn_error *err) {
        return gpu::service.alloc(device(current), ATTN_MEM_PINNED, bytes,
                                  memory, err);
    });
}
hipError_t
hipFree(void *memory)
{
    gpu::service.free(device(current), ATTN_MEM_DEVICE, memory);
    return hipSuccess;
}
hipError_t
hipHostFree(void *memory)
{
    gpu::service.free(device(current), ATTN_MEM_PINNED, memory);
    return hipSuccess;
}
hipError_t
hipMemcpyAsync(void *to, const void *from, size_t bytes, hipMemcpyKind kind,
               hipStream_t s)
{
    const uint32_t direction =
        kind == hipMemcpyHostToDevice   ? ATTN_COPY_TO_DEVICE
        : kind == hipMemcpyDeviceToHost ? ATTN_COPY_TO_HOST
                                        : ATTN_COPY_ON_DEVICE;
    return on_current("hipMemcpyAsync", [&](attn_error *err) {
        return gpu::service.copy(&stream_of(s), direction, to, from, bytes,
                                 err);
    });
}
hipError_t
hipMemsetAsync(void *to, int value, size_t bytes, hipStream_t s)
{
    return on_current("hipMemsetAsync", [&](attn_error *err) {
        return gpu::service.fill(&stream_of(s), to, uint8_t(value), bytes, err);
    });
}

hipError_t
hipStreamCreateWithFlags(hipStream_t *s, unsigned)
{
    attn_stream *made = new attn_stream();
    *s = reinterpret_cast<hipStream_t>(made);
    return on_current("hipStreamCreateWithFlags", [&](attn_error *err) {
        return gpu::service.stream_create(device(current), made, err);
    });
}
hipError_t
hipStreamSynchronize(hipStream_t s)
{
    return on_current("hipStreamSynchronize", [&](attn_error *err) {
        return gpu::service.stream_synchronize(&stream_of(s), err);
    });
}
hipError_t
hipStreamDestroy(hipStream_t s)
{
    gpu::service.stream_destroy(&stream_of(s));
    delete &stream_of(s);
    return hipSuccess;
}

hipError_t
hipEventCreateWithFlags(hipEvent_t *event, unsigned)
{
    return on_current("hipEventCreateWithFlags", [&](attn_error *err) {
        uint64_t handle = 0;
        const attn_status status =
            gpu::service.event_create(device(current), &handle, err);
        *event = reinterpret_cast<hipEvent_t>(handle);
        return status;
    });
}
hipError_t
hipEventRecord(hipEvent_t event, hipStream_t s)
{
    return on_current("hipEventRecord", [&](attn_error *err) {
        return gpu::service.event_record(reinterpret_cast<uint64_t>(event),
                                         &stream_of(s), err);
    });
}
hipError_t
hipStreamWaitEvent(hipStream_t s, hipEvent_t event, unsigned)
{
    return on_current("hipStreamWaitEvent", [&](attn_error *err) {
        return gpu::service.event_wait(&stream_of(s),
                                       reinterpret_cast<uint64_t>(event), err);
    });
}
hipError_t
hipEventElapsedTime(float *ms, hipEvent_t from, hipEvent_t to)
{
    return on_current("hipEventElapsedTime", [&](attn_error *err) {
        double d = 0;
        const attn_status status =
            gpu::service.event_elapsed(reinterpret_cast<uint64_t>(from),
                                       reinterpret_cast<uint64_t>(to), &d, err);
        *ms = float(d);
        return status;
    });
}
hipError_t
hipEventDestroy(hipEvent_t event)
{
    gpu::service.event_destroy(reinterpret_cast<uint64_t>(event));
    return hipSuccess;
}

hipError_t
hipStreamBeginCapture(hipStream_t s, hipStreamCaptureMode)
{
    return on_current("hipStreamBeginCapture", [&](attn_error *err) {
        return gpu::service.graph_begin(reinterpret_cast<attn_stream *>(s),
                                        err);
    });
}
hipError_t
hipStreamEndCapture(hipStream_t s, hipGraph_t *graph)
{
    Graph *made = new Graph{0, 1};
    *graph = reinterpret_cast<hipGraph_t>(made);
    return on_current("hipStreamEndCapture", [&](attn_error *err) {
        return gpu::service.graph_end(reinterpret_cast<attn_stream *>(s),
                                      &made->handle, err);
    });
}
hipError_t
hipGraphInstantiate(hipGraphExec_t *exec, hipGraph_t graph, hipGraphNode_t *,
                    char *, size_t)
{
    reinterpret_cast<Graph *>(graph)->owners++;
    *exec = reinterpret_cast<hipGraphExec_t>(graph);
    return hipSuccess;
}
hipError_t
hipGraphLaunch(hipGraphExec_t exec, hipStream_t s)
{
    return on_current("hipGraphLaunch", [&](attn_error *err) {
        return gpu::service.graph_launch(
            reinterpret_cast<Graph *>(exec)->handle, &stream_of(s), err);
    });
}
hipError_t
hipGraphDestroy(hipGraph_t graph)
{
    Graph *g = reinterpret_cast<Graph *>(graph);
    if (--g->owners == 0) {
        gpu::service.graph_destroy(g->handle);
        delete g;
    }
    return hipSuccess;
}
hipError_t
hipGraphExecDestroy(hipGraphExec_t exec)
{
    return hipGraphDestroy(reinterpret_cast<hipGraph_t>(exec));
}

hipError_t
hipModuleLoadData(hipModule_t *module, const void *image)
{
    Module m;
    if (!find_code(static_cast<const char *>(image), m))
        return hipErrorNoBinaryForGpu;
    *module = reinterpret_cast<hipModule_t>(
        new Module(m)); /* for as long as the process */
    return hipSuccess;
}
hipError_t
hipModuleGetFunction(hipFunction_t *function, hipModule_t module,
                     const char *name)
{
    const Module &m = *reinterpret_cast<Module *>(module);
    const std::string descriptor = std::string(name) + ".kd";
    if (!memmem(m.code, m.bytes, descriptor.c_str(), descriptor.size() + 1))
        return hipErrorNotFound;
    for (const Function &f : functions())
        if (f.symbol == name) {
            *function =
                reinterpret_cast<hipFunction_t>(const_cast<Function *>(&f));
            return hipSuccess;
        }
    return complain(name, "not among the emulated kernels");
}
hipError_t
hipModuleLaunchKernel(hipFunction_t function, unsigned blocks, unsigned gy,
                      unsigned gz, unsigned threads, unsigned by, unsigned bz,
                      unsigned shared, hipStream_t s, void **params,
                      void **extra)
{
    const Function &f = *reinterpret_cast<Function *>(function);
    if (gy != 1 || gz != 1 || by != 1 || bz != 1 || extra)
        return complain(f.symbol.c_str(), "not a launch of one dimension");
    if (threads != f.threads || shared != f.shared)
        return complain(f.symbol.c_str(),
                        "launched with another block or LDS than it has");
    return on_current(f.symbol.c_str(), [&](attn_error *err) {
        return f.run(stream_of(s), blocks, params[0], err);
    });
}

} // extern "C"
