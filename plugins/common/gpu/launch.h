/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h - launch<K>(): K has Params, kThreads, kMinBlocks, kName and run(const Params &).
 *
 * Under nvcc include it in .cu files only. On the emulated machine the kernel runs before launch
 * returns, or is recorded when the stream is being captured. */
#ifndef ATTN_GPU_LAUNCH_H
#define ATTN_GPU_LAUNCH_H

#include "common/gpu/device.h"
#include "common/gpu/target.h"

#if defined(GPU_CUDA)
#include <cuda_runtime.h>

namespace gpu
{

template <class K>
__global__ void
__launch_bounds__(K::kThreads, K::kMinBlocks) kernel(const __grid_constant__ typename K::Params p)
{
    K::run(p);
}

/* Raises the kernel's shared memory limit on the current device, before the first launch; how many
 * blocks fit one multiprocessor. */
template <class K>
attn_status
prepare(uint32_t shared, int *blocks, attn_error *err)
{
    cudaError_t e = cudaFuncSetAttribute(kernel<K>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(shared));
    if (e == cudaSuccess)
        e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, kernel<K>, K::kThreads, shared);
    if (e == cudaSuccess)
        return ATTN_OK;
    return failf(err, ATTN_E_DEVICE, K::kName, "%u bytes of shared memory: %s", shared,
                 cudaGetErrorString(e));
}

/* Loads K on the current device; what its code was compiled for: 80, 90. PTX that the driver
 * compiles counts as what it was written for. */
template <class K>
attn_status
code_arch(int *arch, attn_error *err)
{
    cudaFuncAttributes attributes;
    const cudaError_t e = cudaFuncGetAttributes(&attributes, kernel<K>);
    if (e != cudaSuccess)
        return failf(err, ATTN_E_DEVICE, K::kName, "no code for this device: %s",
                     cudaGetErrorString(e));
    *arch = attributes.ptxVersion;
    return ATTN_OK;
}

/* early: the blocks may start before the kernel ahead in the stream has ended; K calls grid_wait()
 * before it reads what that one writes. sm_90 and later. */
template <class K>
attn_status
launch(const attn_stream &stream, uint32_t blocks, uint32_t shared, const typename K::Params &p,
       attn_error *err, bool early = false)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(K::kThreads);
    config.dynamicSmemBytes = shared;
    config.stream = reinterpret_cast<cudaStream_t>(stream.handle);
    config.attrs = &attribute;
    config.numAttrs = early ? 1 : 0;
    const cudaError_t e = cudaLaunchKernelEx(&config, kernel<K>, p);
    if (e == cudaSuccess)
        return ATTN_OK;
    return failf(err, ATTN_E_DEVICE, K::kName, "launch of %u blocks: %s", blocks,
                 cudaGetErrorString(e));
}

} // namespace gpu

#elif defined(GPU_HIP)
#include "common/gpu/hip/launch.h"

/* What the compiler looks up for a kernel's host stub; see hip/modules.cpp. */
struct dim3 {
    uint32_t x, y, z;
};
typedef struct ihipStream_t *hipStream_t;
extern "C" int hipLaunchKernel(const void *, dim3, dim3, void **, size_t, hipStream_t);

namespace gpu
{

/* Waves of a unit of the four that a compute unit has: registers are shared among them. */
template <class K>
constexpr int kWaves = K::kThreads > 256 ? K::kThreads / 256 * K::kMinBlocks : K::kMinBlocks;

/* The arguments are read where they lie, in constant memory; a copy of them would be private. */
template <class K>
__attribute__((global, amdgpu_flat_work_group_size(K::kThreads, K::kThreads),
               amdgpu_waves_per_eu(kWaves<K>, kWaves<K>))) void kernel(typename K::Params)
{
#if defined(__HIP_DEVICE_COMPILE__)
    typedef const __attribute__((address_space(4))) typename K::Params Constant;
    K::run(*(const typename K::Params *)(Constant *)__builtin_amdgcn_kernarg_segment_ptr());
#endif
}

template <class K>
attn_status
prepare(uint32_t, int *blocks, attn_error *err)
{
    *blocks = K::kMinBlocks;
    return hip_prepare(reinterpret_cast<const void *>(&kernel<K>), K::kName, err);
}

template <class K>
attn_status
code_arch(int *arch, attn_error *)
{
    *arch = 0;
    return ATTN_OK;
}

template <class K>
attn_status
launch(const attn_stream &stream, uint32_t blocks, uint32_t shared, const typename K::Params &p,
       attn_error *err)
{
    return hip_launch(reinterpret_cast<const void *>(&kernel<K>), K::kName, stream, blocks,
                      K::kThreads, shared, &p, err);
}

} // namespace gpu

#elif defined(GPU_EMU)
#include "common/gpu/emu/machine.h"

#include <functional>

namespace gpu
{

/* Runs now, or when a graph that records this stream is launched. */
attn_status emu_enqueue(const attn_stream &stream, std::function<attn_status(attn_error *)> work,
                        attn_error *err);

/* Lanes that run together. */
#if defined(ATTN_EMU_GFX942)
constexpr uint32_t kWarpSize = 64;
#else
constexpr uint32_t kWarpSize = 32;
#endif

template <class K>
void
entry(const void *params)
{
    K::run(*static_cast<const typename K::Params *>(params));
}

template <class K>
attn_status
prepare(uint32_t, int *blocks, attn_error *)
{
    *blocks = 1;
    return ATTN_OK;
}

template <class K>
attn_status
code_arch(int *arch, attn_error *)
{
    *arch = 90;
    return ATTN_OK;
}

template <class K>
attn_status
run_now(uint32_t blocks, uint32_t shared, const typename K::Params &p, attn_error *err)
{
    char message[emu::kMessage];
    const emu::Launch l = {K::kName, blocks, K::kThreads, shared, kWarpSize, entry<K>, &p};
    if (emu::run(l, message))
        return ATTN_OK;
    return attn_fail(err, ATTN_E_DEVICE, K::kName, message);
}

template <class K>
attn_status
launch(const attn_stream &stream, uint32_t blocks, uint32_t shared, const typename K::Params &p,
       attn_error *err, bool = false)
{
    return emu_enqueue(
        stream, [=](attn_error *e) { return run_now<K>(blocks, shared, p, e); }, err);
}

} // namespace gpu
#endif

#endif /* ATTN_GPU_LAUNCH_H */
