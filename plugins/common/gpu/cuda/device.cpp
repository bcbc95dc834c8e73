// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/device.h"
#include "common/gpu/on_device.h"

#include <cstdio>
#include <cuda_runtime_api.h>

namespace gpu
{

const int32_t device_type = ATTN_DEVICE_CUDA;

typedef cudaError_t Error;
typedef cudaStream_t NativeStream;
typedef cudaEvent_t NativeEvent;
typedef cudaGraph_t NativeGraph;
typedef cudaGraphExec_t NativeGraphExec;
#define RT(function) cuda##function

static constexpr Error kSuccess = cudaSuccess, kOutOfMemory = cudaErrorMemoryAllocation;
static constexpr const char *kNoDevice = "no CUDA device";
static constexpr cudaMemcpyKind kCopyKinds[3] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
                                                 cudaMemcpyDeviceToDevice};
static constexpr unsigned kNonBlocking = cudaStreamNonBlocking;
static constexpr cudaStreamCaptureMode kCaptureMode = cudaStreamCaptureModeThreadLocal;

static bool
is_absent(Error e)
{
    return e == cudaErrorNoDevice || e == cudaErrorInsufficientDriver ||
           e == cudaErrorInvalidDevice || e == cudaErrorStubLibrary;
}

/* The runtime is linked in; a missing driver shows as an error of its calls. */
static const char *
runtime_missing()
{
    return nullptr;
}

static Error
alloc_pinned(void **memory, size_t bytes)
{
    return cudaMallocHost(memory, bytes);
}

static void
free_pinned(void *memory)
{
    cudaFreeHost(memory);
}

static Error
create_event(NativeEvent *event)
{
    return cudaEventCreate(event);
}

static Error
instantiate(NativeGraphExec *exec, NativeGraph graph)
{
    return cudaGraphInstantiate(exec, graph, 0);
}

} // namespace gpu

#include "common/gpu/device_native.h"

namespace gpu
{

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

} // namespace gpu
