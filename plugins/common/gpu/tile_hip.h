/* SPDX-License-Identifier: Apache-2.0 */
/* tile_hip.h - the words of tile.h as instructions of gfx942 (64 lanes a wave).
 *
 * No HIP device library: builtins only, so that plain clang builds it. The machine has neither
 * named barriers nor ldmatrix, and its matrix words are those of mfma.h; an asynchronous copy goes
 * through registers and is complete when it was issued. */
#ifndef ATTN_GPU_TILE_HIP_H
#define ATTN_GPU_TILE_HIP_H

#include "common/gpu/types.h"

/* The host's fmaxf is not the device's. */
static GPU_FN float
fmaxf(float a, float b)
{
    return __builtin_fmaxf(a, b);
}

namespace gpu
{

GPU_FN int
tid()
{
    return int(__builtin_amdgcn_workitem_id_x());
}
GPU_FN int
bid()
{
    return int(__builtin_amdgcn_workgroup_id_x());
}
/* Of the dispatch packet: work-items of a group (16 bits at 4), of the grid (32 bits at 12). */
GPU_FN int
nthreads()
{
    typedef const __attribute__((address_space(4))) uint16_t half;
    return ((half *)__builtin_amdgcn_dispatch_ptr())[2];
}
GPU_FN int
nblocks()
{
    typedef const __attribute__((address_space(4))) uint32_t word;
    return int(((word *)__builtin_amdgcn_dispatch_ptr())[3]) / nthreads();
}
GPU_FN int
lane()
{
    return int(__builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u)));
}

extern __attribute__((shared, aligned(16))) uint8_t gpu_shared[];

template <class T>
GPU_FN T
lds(uint32_t address)
{
    return *reinterpret_cast<const T *>(gpu_shared + address);
}
template <class T>
GPU_FN void
sts(uint32_t address, T value)
{
    *reinterpret_cast<T *>(gpu_shared + address) = value;
}

/* Pointers that came out of memory are generic, and generic accesses count as LDS accesses too and
 * are taken for different on every lane: say that they are global. */
#define GPU_GLOBAL __attribute__((address_space(1)))

template <int Bytes> struct Word;
template <> struct Word<1> {
    typedef uint8_t type;
};
template <> struct Word<2> {
    typedef uint16_t type;
};
template <> struct Word<4> {
    typedef uint32_t type;
};
template <> struct Word<8> {
    typedef uint32_t type __attribute__((ext_vector_type(2)));
};
template <> struct Word<16> {
    typedef uint32_t type __attribute__((ext_vector_type(4)));
};

template <class T>
GPU_FN T
gload(const T *p)
{
    typedef typename Word<sizeof(T)>::type W;
    return __builtin_bit_cast(T, *(const GPU_GLOBAL W *)p);
}
template <class T>
GPU_FN T
gload_stream(const T *p)
{
    return gload(p);
}
/* observe() came before: the caches of this compute unit hold nothing older. */
template <class T>
GPU_FN T
gload_shared(const T *p)
{
    return gload(p);
}
template <class T>
GPU_FN void
gstore(T *p, T value)
{
    typedef typename Word<sizeof(T)>::type W;
    *(GPU_GLOBAL W *)p = __builtin_bit_cast(W, value);
}
template <class T>
GPU_FN void
copy_struct(T *to, const T &from)
{
    *to = from;
}
GPU_FN int32_t
atomic_add(int32_t *p, int32_t n)
{
    return __hip_atomic_fetch_add((GPU_GLOBAL int32_t *)p, n, __ATOMIC_RELAXED,
                                  __HIP_MEMORY_SCOPE_AGENT);
}
GPU_FN int32_t
shared_add(uint32_t address, int32_t n)
{
    return __hip_atomic_fetch_add(reinterpret_cast<int32_t *>(gpu_shared + address), n,
                                  __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
GPU_FN int32_t
shared_max(uint32_t address, int32_t n)
{
    return __hip_atomic_fetch_max(reinterpret_cast<int32_t *>(gpu_shared + address), n,
                                  __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
GPU_FN void
publish()
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "agent");
}
GPU_FN void
observe()
{
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "agent");
}

GPU_FN int32_t
atomic_add_ordered(int32_t *p, int32_t n)
{
    publish();
    const int32_t old = atomic_add(p, n);
    observe();
    return old;
}
/* A fence is of one wave's own accesses. */
GPU_FN void
hand_over()
{
    publish();
}
GPU_FN void
take_over()
{
    observe();
}

GPU_FN void
cp_async16(uint32_t to, const void *from, bool valid)
{
    u32x4 v = {0, 0, 0, 0};
    if (valid)
        v = *static_cast<const u32x4 *>(from);
    sts(to, v);
}
GPU_FN void
cp_commit()
{
}
template <int N>
GPU_FN void
cp_wait()
{
}

template <class T>
GPU_FN T
shfl(T value, int from)
{
    static_assert(sizeof(T) == 4, "one register");
    return __builtin_bit_cast(
        T, __builtin_amdgcn_ds_bpermute(from << 2, __builtin_bit_cast(int, value)));
}
template <class T>
GPU_FN T
shfl_xor(T value, int mask)
{
    return shfl(value, lane() ^ mask);
}
GPU_FN int
uniform(int i)
{
    return __builtin_amdgcn_readfirstlane(i);
}
GPU_FN int
fresh(int i)
{
    asm volatile("" : "+v"(i));
    return i;
}
GPU_FN void
await(int i)
{
    asm volatile("" ::"v"(i));
}
GPU_FN void
in_order()
{
    __builtin_amdgcn_sched_barrier(0);
}
template <int N>
GPU_FN void
priority()
{
    __builtin_amdgcn_s_setprio(N);
}
GPU_FN void
syncwarp()
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
GPU_FN void
barrier()
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

GPU_FN float
exp2f_(float x)
{
    return __builtin_amdgcn_exp2f(x);
}
GPU_FN float
log2f_(float x)
{
    return __builtin_amdgcn_logf(x);
}
GPU_FN float
rcpf_(float x)
{
    return __builtin_amdgcn_rcpf(x);
}

template <class T>
GPU_FN uint32_t
pack2(float lo, float hi)
{
    return uint32_t{Element<T>::from(lo).bits} | uint32_t{Element<T>::from(hi).bits} << 16;
}
template <>
GPU_FN uint32_t
pack2<f16>(float lo, float hi)
{
    typedef _Float16 pair __attribute__((ext_vector_type(2)));
    return __builtin_bit_cast(uint32_t, pair{_Float16(lo), _Float16(hi)});
}
template <class T>
GPU_FN void
unpack2(uint32_t u, float &lo, float &hi)
{
    if constexpr (Element<T>::is_bf16) {
        lo = bits_to_float(u << 16);
        hi = bits_to_float(u & 0xFFFF0000u);
    } else {
        typedef _Float16 pair __attribute__((ext_vector_type(2)));
        const pair h = __builtin_bit_cast(pair, u);
        lo = float(h.x);
        hi = float(h.y);
    }
}
} // namespace gpu

#include "common/gpu/fp8.h"

#endif /* ATTN_GPU_TILE_HIP_H */
