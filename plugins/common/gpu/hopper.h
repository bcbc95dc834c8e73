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
 * desc_k(a): K-major tile of rows of 128 bytes, swizzled; +2 steps 16 elements of K.
 * desc_mn(a, slab): MN-major, rows of 64 elements, slab bytes between groups of 64 columns;
 *                            +128 steps 16 rows of K. */
#ifndef ATTN_GPU_HOPPER_H
#define ATTN_GPU_HOPPER_H

#include "common/gpu/tile.h"

#if defined(GPU_CUDA)
#include "common/gpu/hopper_cuda.h"
#elif defined(GPU_EMU)
#include "common/gpu/hopper_emu.h"
#endif

#endif /* ATTN_GPU_HOPPER_H */
