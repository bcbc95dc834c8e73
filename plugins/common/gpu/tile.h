/* SPDX-License-Identifier: Apache-2.0 */
/* tile.h - the vocabulary kernels are written in (namespace gpu).
 *
 * Place          tid() bid() nblocks() nthreads() lane()
 * Shared memory  addresses are bytes from the block's start (uint32_t):
 *                lds<T>(a) sts(a, v), T of 1, 2, 4, 8 or 16 bytes, aligned to its size
 * Global memory  gload(p) gstore(p, v) gload_stream(p): 16 bytes at most, aligned;
 *                gload_shared(p): what another block of this launch wrote; prefetch(p, bytes)
 *                atomic_add(p, n) -> old; publish() before, and observe() after an atomic that
 *                hands data from block to block; atomic_add_ordered() is all three. For a whole
 *                block: hand_over(), a barrier, one thread's atomic, a barrier, take_over()
 *                shared_add(a, n), shared_max(a, n): atomics; copy_struct(p, v)
 * Async copy     cp_async16(a, p, valid) (invalid: zeros), cp_commit(), cp_wait<N>(): at most N
 *                commits of this thread are pending; then a barrier lets others see
 * Lanes          shfl(v, lane) shfl_xor(v, mask) warp_all(b) syncwarp()
 *                uniform(i): i, which is the same on all lanes; priority<N>() of this warp, 0..3;
 *                in_order(): the compiler moves nothing across;
 *                fresh(i): i, and what is made of it is not kept from before;
 *                await(i): i, on its way from memory, is there
 * Launches       grid_wait(): the kernel ahead in the stream has ended; grid_release(): the next
 *                one may start, as far as its own grid_wait(). Kernels launched `early` only.
 * Barriers       barrier() of the block; barrier(id, threads), barrier_arrive(id, threads)
 * Matrices       ldmatrix4(r, a), ldmatrix4t(r, a): each lane gives the address of one 16-byte
 *                row; register i of lane l holds elements 2(l%4), +1 of row l/4 of matrix i
 *                (t: of its transpose).
 *                mma16816<T>(d, a, b): d[16x8] += a[16x16] b[16x8], f32 accumulate.
 *                  d: rows l/4, l/4+8; columns 2(l%4), +1 -> d[0..1], d[2..3]
 *                transpose8(r): the 8x8 matrix of which lane l has row l/4, columns 2(l%4), +1
 * Numbers        exp2f_(x) log2f_(x) rcpf_(x) pack2<T>(lo, hi) unpack2<T>(u, lo, hi)
 * Hopper         see hopper.h
 *
 * All threads of a warp take part in lane, matrix and barrier words; on gfx942 a warp is a
 * wavefront of 64 and the matrix words are those of mfma.h. */
#ifndef ATTN_GPU_TILE_H
#define ATTN_GPU_TILE_H

#include "common/gpu/target.h"
#include "common/gpu/types.h"

#if defined(GPU_CUDA)
#include "common/gpu/tile_cuda.h"
#elif defined(GPU_HIP)
#include "common/gpu/tile_hip.h"
#elif defined(GPU_EMU)
#include "common/gpu/tile_emu.h"
#endif

#endif /* ATTN_GPU_TILE_H */
