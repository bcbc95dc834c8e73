/* SPDX-License-Identifier: Apache-2.0 */
/* tile_emu.h - the words of tile.h on the emulated machine. */
#ifndef ATTN_GPU_TILE_EMU_H
#define ATTN_GPU_TILE_EMU_H

#include "common/gpu/emu/machine.h"
#include "common/gpu/emu/matrix.h"
#include "common/gpu/types.h"

#include <cmath>

namespace gpu
{

using emu::Where;

inline int
tid()
{
    return int(emu::block->self->index);
}
inline int
bid()
{
    return int(emu::block->index);
}
inline int
nblocks()
{
    return int(emu::block->launch.grid);
}
inline int
nthreads()
{
    return int(emu::block->launch.threads);
}
inline int
lane()
{
    return int(emu::block->self->lane);
}

template <class T>
T
lds(uint32_t address, Where w = EMU_HERE)
{
    return emu::shared_load<T>(address, w);
}
template <class T>
void
sts(uint32_t address, T value, Where w = EMU_HERE)
{
    emu::shared_store(address, value, w);
}

template <class T>
T
gload(const T *p, Where w = EMU_HERE)
{
    emu::global_check(p, sizeof(T), EMU_READ, w);
    return *p;
}
template <class T>
T
gload_stream(const T *p, Where w = EMU_HERE)
{
    return gload(p, w);
}
template <class T>
T
gload_shared(const T *p, Where w = EMU_HERE)
{
    return gload(p, w);
}
template <class T>
void
gstore(T *p, T value, Where w = EMU_HERE)
{
    emu::global_check(p, sizeof(T), EMU_WRITE, w);
    *p = value;
}
inline int32_t
atomic_add(int32_t *p, int32_t n, Where w = EMU_HERE)
{
    emu::global_check(p, sizeof *p, EMU_WRITE, w);
    const int32_t old = *p;
    *p = old + n;
    return old;
}
inline int32_t
shared_add(uint32_t address, int32_t n, Where w = EMU_HERE)
{
    return emu::shared_add(address, n, w);
}
inline int32_t
shared_max(uint32_t address, int32_t n, Where w = EMU_HERE)
{
    return emu::shared_max(address, n, w);
}
template <class T>
void
copy_struct(T *to, const T &from, Where w = EMU_HERE)
{
    emu::global_check(to, 1, EMU_WRITE, w);
    emu::global_check(reinterpret_cast<char *>(to) + sizeof(T) - 1, 1, EMU_WRITE, w);
    *to = from;
}
inline void
publish()
{
}
inline void
observe()
{
}

inline int32_t
atomic_add_ordered(int32_t *p, int32_t n, Where w = EMU_HERE)
{
    return atomic_add(p, n, w);
}
inline void
hand_over()
{
}
inline void
take_over()
{
}

inline void
cp_async16(uint32_t to, const void *from, bool valid, Where w = EMU_HERE)
{
    emu::copy_async(to, from, 16, valid, w);
}
inline void
cp_commit()
{
    emu::copy_commit();
}
template <int N>
void
cp_wait()
{
    emu::copy_wait(uint32_t(N));
}

template <class T>
T
shfl(T value, int from, Where w = EMU_HERE)
{
    static_assert(sizeof(T) == 4, "one register");
    return emu::shuffle(value, uint32_t(from), w);
}
template <class T>
T
shfl_xor(T value, int mask, Where w = EMU_HERE)
{
    static_assert(sizeof(T) == 4, "one register");
    return emu::shuffle(value, uint32_t(lane() ^ mask), w);
}
/* True on all lanes or on none: is it so on all? */
inline bool
warp_all(bool value, Where w = EMU_HERE)
{
    int all = value;
    for (int mask = 1; mask < int(emu::block->launch.warp_size); mask *= 2)
        all &= shfl_xor(all, mask, w);
    return all != 0;
}
inline int
uniform(int i, Where w = EMU_HERE)
{
    return emu::uniform(i, w);
}
inline int
fresh(int i)
{
    return i;
}
inline void
await(int)
{
}
inline void
in_order()
{
}
template <int N>
void
priority()
{
}
inline void
syncwarp(Where w = EMU_HERE)
{
    emu::warp_sync(w);
}

inline void
barrier(Where w = EMU_HERE)
{
    emu::barrier_sync(0, emu::block->launch.threads, w);
}
inline void
barrier(int id, int threads, Where w = EMU_HERE)
{
    emu::barrier_sync(uint32_t(id), uint32_t(threads), w);
}
inline void
barrier_arrive(int id, int threads, Where w = EMU_HERE)
{
    emu::barrier_arrive(uint32_t(id), uint32_t(threads), w);
}

inline void
ldmatrix4(uint32_t (&r)[4], uint32_t address, Where w = EMU_HERE)
{
    emu::load_matrix(r, address, false, w);
}
inline void
ldmatrix4t(uint32_t (&r)[4], uint32_t address, Where w = EMU_HERE)
{
    emu::load_matrix(r, address, true, w);
}
template <class T>
void
mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where w = EMU_HERE)
{
    emu::mma16816(d, a, b, Element<T>::is_bf16, w);
}

inline uint32_t
transpose8(uint32_t two, Where w = EMU_HERE)
{
    uint32_t out = 0;
    for (int e = 0; e < 2; e++) {
        const uint32_t from = shfl(two, (lane() % 4 * 2 + e) * 4 + lane() / 8, w);
        out |= (from >> (lane() / 4 % 2 * 16) & 0xFFFFu) << (16 * e);
    }
    return out;
}
inline void
prefetch(const void *from, int bytes, Where w = EMU_HERE)
{
    for (int i = 0; i < bytes; i += 16)
        emu::global_check(static_cast<const uint8_t *>(from) + i, 16, EMU_READ, w);
}
inline void
grid_wait()
{
}
inline void
grid_release()
{
}

inline float
exp2f_(float x)
{
    return std::exp2(x);
}
inline float
log2f_(float x)
{
    return std::log2(x);
}
inline float
rcpf_(float x)
{
    return 1.0f / x;
}

template <class T>
uint32_t
pack2(float lo, float hi)
{
    return uint32_t{Element<T>::from(lo).bits} | uint32_t{Element<T>::from(hi).bits} << 16;
}
template <class T>
void
unpack2(uint32_t u, float &lo, float &hi)
{
    lo = to_float(T{uint16_t(u)});
    hi = to_float(T{uint16_t(u >> 16)});
}
} // namespace gpu

#include "common/gpu/fp8.h"

#endif /* ATTN_GPU_TILE_EMU_H */
