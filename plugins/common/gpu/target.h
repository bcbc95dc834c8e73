/* SPDX-License-Identifier: Apache-2.0 */
/* target.h - which machine the kernels of this build run on.
 *
 * A kernel is a struct with a static run(const Params &) and constants; it is written once on
 * tile.h. The target decides what the words of tile.h become:
 *   GPU_CUDA  nvcc: instructions of sm_80 and up, sm_90a where GPU_HOPPER
 *   GPU_HIP   clang or hipcc for gfx942
 *   GPU_EMU   host C++: every thread is a fiber, every access is checked
 *
 * GPU_INLINE: of a lambda whose captures would otherwise lie in scratch memory. */
#ifndef ATTN_GPU_TARGET_H
#define ATTN_GPU_TARGET_H

#if defined(__CUDACC__)
#define GPU_CUDA 1
#define GPU_FN __device__ __forceinline__
#define GPU_HOST_FN __host__ __device__ __forceinline__
#define GPU_COLD_FN __device__ __noinline__
#define GPU_INLINE
#define GPU_UNROLL _Pragma("unroll")
#define GPU_ROLLED _Pragma("unroll 1")
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GPU_HOPPER 1
#elif __CUDA_ARCH__ == 900
#error "sm_90: its kernels need sm_90a"
#endif
#elif defined(__HIP__)
#define GPU_HIP 1
#define GPU_FN __attribute__((device, always_inline)) inline
#define GPU_HOST_FN __attribute__((host, device, always_inline)) inline
#define GPU_COLD_FN __attribute__((device, noinline))
#define GPU_INLINE __attribute__((always_inline))
#define GPU_UNROLL _Pragma("unroll")
#define GPU_ROLLED _Pragma("unroll 1")
#else
#define GPU_EMU 1
#define GPU_HOPPER 1
#define GPU_FN inline
#define GPU_HOST_FN inline
#define GPU_COLD_FN
#define GPU_INLINE
#define GPU_UNROLL
#define GPU_ROLLED
#endif

#endif /* ATTN_GPU_TARGET_H */
