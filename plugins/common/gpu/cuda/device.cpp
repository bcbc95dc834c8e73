// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/device.h"

#include <cstdio>
#include <cuda_runtime_api.h>

namespace gpu
{

const int32_t device_type = ATTN_DEVICE_CUDA;

static attn_status
check(cudaError_t e, const char *where, attn_error *err)
{
    if (e == cudaSuccess)
        return ATTN_OK;
    const bool absent = e == cudaErrorNoDevice || e == cudaErrorInsufficientDriver ||
                        e == cudaErrorInvalidDevice || e == cudaErrorStubLibrary;
    const attn_status status = absent                           ? ATTN_E_NO_DEVICE
                               : e == cudaErrorMemoryAllocation ? ATTN_E_NOMEM
                                                                : ATTN_E_DEVICE;
    attn_fail(err, status, where, absent ? "no CUDA device" : cudaGetErrorString(e));
    if (err && err->struct_size >= sizeof *err)
        err->native = e;
    cudaGetLastError(); /* a refusal must not be seen again by the next launch */
    return status;
}

/* Makes a device current for a scope. */
class Current
{
  public:
    explicit Current(int id)
    {
        cudaGetDevice(&before_);
        if (before_ != id)
            error = cudaSetDevice(id);
        changed_ = before_ != id;
    }
    ~Current()
    {
        if (changed_)
            cudaSetDevice(before_);
    }
    Current(const Current &) = delete;
    Current &operator=(const Current &) = delete;
    cudaError_t error = cudaSuccess;

  private:
    int before_ = 0;
    bool changed_ = false;
};

static cudaStream_t
native(const attn_stream *s)
{
    return reinterpret_cast<cudaStream_t>(static_cast<uintptr_t>(s->handle));
}

static cudaEvent_t
native_event(uint64_t e)
{
    return reinterpret_cast<cudaEvent_t>(static_cast<uintptr_t>(e));
}

attn_status
device_open(attn_device device, Device *out, attn_error *err)
{
    cudaDeviceProp prop;
    const attn_status status = check(cudaGetDeviceProperties(&prop, device.id), "device", err);
    if (status)
        return status;
    if (prop.major < 8)
        return failf(err, ATTN_E_DEVICE, "device", "%s is sm_%d%d: supports sm_80 and later",
                     prop.name, prop.major, prop.minor);
    out->device = device;
    snprintf(out->arch, sizeof out->arch, "sm_%d%d", prop.major, prop.minor);
    out->multiprocessors = prop.multiProcessorCount;
    out->hopper = prop.major == 9 && prop.minor == 0;
    return ATTN_OK;
}

static attn_status
count(uint32_t *n, attn_error *err)
{
    int found = 0;
    const attn_status status = check(cudaGetDeviceCount(&found), "count", err);
    *n = status ? 0 : static_cast<uint32_t>(found);
    if (!status && found == 0)
        return attn_fail(err, ATTN_E_NO_DEVICE, "count", "no CUDA device");
    return status;
}

static attn_status
info(uint32_t index, attn_device_info *out, attn_error *err)
{
    cudaDeviceProp prop;
    const attn_status status =
        check(cudaGetDeviceProperties(&prop, static_cast<int>(index)), "index", err);
    if (status)
        return status;
    out->device = {ATTN_DEVICE_CUDA, static_cast<int32_t>(index)};
    snprintf(out->name, sizeof out->name, "%.63s", prop.name);
    snprintf(out->arch, sizeof out->arch, "sm_%d%d", prop.major, prop.minor);
    out->total_bytes = prop.totalGlobalMem;
    return ATTN_OK;
}

static attn_status
memory_info(attn_device device, uint64_t *free_bytes, uint64_t *total_bytes, attn_error *err)
{
    Current current(device.id);
    size_t f = 0, t = 0;
    const attn_status status = check(cudaMemGetInfo(&f, &t), "device", err);
    if (!status)
        *free_bytes = f, *total_bytes = t;
    return status;
}

static attn_status
alloc(attn_device device, uint32_t kind, uint64_t bytes, void **memory, attn_error *err)
{
    Current current(device.id);
    if (current.error)
        return check(current.error, "device", err);
    void *p = nullptr;
    const size_t size = bytes ? bytes : 1;
    const attn_status status = check(
        kind == ATTN_MEM_PINNED ? cudaMallocHost(&p, size) : cudaMalloc(&p, size), "bytes", err);
    if (!status)
        *memory = p;
    return status;
}

static void
free_memory(attn_device device, uint32_t kind, void *memory)
{
    Current current(device.id);
    if (kind == ATTN_MEM_PINNED)
        cudaFreeHost(memory);
    else
        cudaFree(memory);
}

static attn_status
copy(const attn_stream *stream, uint32_t direction, void *dst, const void *src, uint64_t bytes,
     attn_error *err)
{
    static const cudaMemcpyKind kinds[3] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
                                            cudaMemcpyDeviceToDevice};
    if (direction > ATTN_COPY_ON_DEVICE)
        return failf(err, ATTN_E_ARG, "direction", "%u is none", direction);
    Current current(stream->device.id);
    return check(cudaMemcpyAsync(dst, src, bytes, kinds[direction], native(stream)), "copy", err);
}

static attn_status
fill(const attn_stream *stream, void *dst, uint8_t value, uint64_t bytes, attn_error *err)
{
    Current current(stream->device.id);
    return check(cudaMemsetAsync(dst, value, bytes, native(stream)), "fill", err);
}

static attn_status
stream_create(attn_device device, attn_stream *stream, attn_error *err)
{
    Current current(device.id);
    if (current.error)
        return check(current.error, "device", err);
    cudaStream_t s = nullptr;
    const attn_status status =
        check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream", err);
    if (!status)
        *stream = {reinterpret_cast<uintptr_t>(s), device, 0, 0};
    return status;
}

static attn_status
stream_synchronize(const attn_stream *stream, attn_error *err)
{
    Current current(stream->device.id);
    return check(cudaStreamSynchronize(native(stream)), "stream", err);
}

static void
stream_destroy(const attn_stream *stream)
{
    Current current(stream->device.id);
    cudaStreamDestroy(native(stream));
}

static attn_status
event_create(attn_device device, uint64_t *event, attn_error *err)
{
    Current current(device.id);
    cudaEvent_t e = nullptr;
    const attn_status status = check(cudaEventCreate(&e), "event", err);
    if (!status)
        *event = reinterpret_cast<uintptr_t>(e);
    return status;
}

static attn_status
event_record(uint64_t event, const attn_stream *stream, attn_error *err)
{
    Current current(stream->device.id);
    return check(cudaEventRecord(native_event(event), native(stream)), "event", err);
}

static attn_status
event_wait(const attn_stream *stream, uint64_t event, attn_error *err)
{
    Current current(stream->device.id);
    return check(cudaStreamWaitEvent(native(stream), native_event(event), 0), "event", err);
}

static attn_status
event_elapsed(uint64_t from, uint64_t to, double *milliseconds, attn_error *err)
{
    float ms = 0;
    const attn_status status =
        check(cudaEventElapsedTime(&ms, native_event(from), native_event(to)), "event", err);
    if (!status)
        *milliseconds = static_cast<double>(ms);
    return status;
}

static void
event_destroy(uint64_t event)
{
    cudaEventDestroy(native_event(event));
}

static attn_status
graph_begin(attn_stream *stream, attn_error *err)
{
    Current current(stream->device.id);
    const attn_status status = check(
        cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal), "stream", err);
    stream->capturing = status == ATTN_OK;
    return status;
}

static attn_status
graph_end(attn_stream *stream, uint64_t *graph, attn_error *err)
{
    Current current(stream->device.id);
    cudaGraph_t captured = nullptr;
    cudaGraphExec_t exec = nullptr;
    attn_status status = check(cudaStreamEndCapture(native(stream), &captured), "stream", err);
    stream->capturing = 0;
    if (!status)
        status = check(cudaGraphInstantiate(&exec, captured, 0), "graph", err);
    if (captured)
        cudaGraphDestroy(captured);
    if (!status)
        *graph = reinterpret_cast<uintptr_t>(exec);
    return status;
}

static attn_status
graph_launch(uint64_t graph, const attn_stream *stream, attn_error *err)
{
    Current current(stream->device.id);
    return check(cudaGraphLaunch(reinterpret_cast<cudaGraphExec_t>(static_cast<uintptr_t>(graph)),
                                 native(stream)),
                 "graph", err);
}

static void
graph_destroy(uint64_t graph)
{
    cudaGraphExecDestroy(reinterpret_cast<cudaGraphExec_t>(static_cast<uintptr_t>(graph)));
}

const attn_device_service service = {
    sizeof(attn_device_service),
    0,
    count,
    info,
    memory_info,
    alloc,
    free_memory,
    copy,
    fill,
    stream_create,
    stream_synchronize,
    stream_destroy,
    event_create,
    event_record,
    event_wait,
    event_elapsed,
    event_destroy,
    graph_begin,
    graph_end,
    graph_launch,
    graph_destroy,
};

} // namespace gpu
