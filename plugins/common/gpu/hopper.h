/* SPDX-License-Identifier: Apache-2.0 */
/* hopper.h - the words of sm_90a: bulk copies, memory barriers, warpgroup products.
 *
 * mbar_init(a, n)            a barrier of n arrivals at shared address a; mbar_fence() after all
 * mbar_expect(a, bytes)      one arrival, and that many bytes to come
 * mbar_arrive(a), mbar_wait(a, parity)
 * tma_load<D>(to, &map, bar, c)  one box of a D-dimensional map, 128-byte swizzle
 * proxy_fence()              own writes to shared memory before products or bulk copies read them
 * Wgmma<T, N, TransB>::ss(acc, desc_a, desc_b, add) and ::rs(acc, a, desc_b, add):
 *                            acc[N/2] of 64xN (row 16 warp + l/4 + 8i, column 8j + 2(l%4) + e at
 *                            acc[4j + 2i + e]) (+)= A[64x16] B[16xN]
 * wgmma_fence() before the first of a chain, wgmma_commit(), wgmma_wait<N>(acc...)
 * desc(low, group)           a matrix in shared memory: rows of 128 bytes, swizzled, `group` bytes
 *                            from eight rows to the next eight
 * desc_low(a, slab)          its low word: where it starts, and for a matrix whose rows run along K
 *                            (TransB) the bytes from 64 columns to the next 64. Adding bytes / 16
 *                            moves the start. Made anew at each call, never kept in a register. */
#ifndef ATTN_GPU_HOPPER_H
#define ATTN_GPU_HOPPER_H

#include "common/gpu/tile.h"

#if defined(GPU_CUDA)
#include "common/gpu/hopper_cuda.h"
#elif defined(GPU_EMU)
#include "common/gpu/hopper_emu.h"
#endif

namespace gpu
{

GPU_FN uint64_t
desc(uint32_t low, uint32_t group)
{
    return uint64_t{1u << 30 | group >> 4} << 32 | low;
}

} // namespace gpu

#endif /* ATTN_GPU_HOPPER_H */
