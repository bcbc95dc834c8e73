/* SPDX-License-Identifier: Apache-2.0 */
/* tile_cuda.h - the words of tile.h as instructions of sm_80 and later. */
#ifndef ATTN_GPU_TILE_CUDA_H
#define ATTN_GPU_TILE_CUDA_H

#include "common/gpu/types.h"

namespace gpu
{

GPU_FN int
tid()
{
    return int(threadIdx.x);
}
GPU_FN int
bid()
{
    return int(blockIdx.x);
}
GPU_FN int
nblocks()
{
    return int(gridDim.x);
}
GPU_FN int
nthreads()
{
    return int(blockDim.x);
}
GPU_FN int
lane()
{
    return int(threadIdx.x & 31u);
}

extern __shared__ __align__(1024) uint8_t gpu_shared[];

template <class T>
GPU_FN T
lds(uint32_t address)
{
    return *reinterpret_cast<const volatile T *>(gpu_shared + address);
}
template <>
GPU_FN u32x2
lds<u32x2>(uint32_t address)
{
    const uint2 v = *reinterpret_cast<const uint2 *>(gpu_shared + address);
    return {v.x, v.y};
}
template <>
GPU_FN u32x4
lds<u32x4>(uint32_t address)
{
    const uint4 v = *reinterpret_cast<const uint4 *>(gpu_shared + address);
    return {v.x, v.y, v.z, v.w};
}
template <class T>
GPU_FN void
sts(uint32_t address, T value)
{
    *reinterpret_cast<T *>(gpu_shared + address) = value;
}

template <class T>
GPU_FN T
gload(const T *p)
{
    return *p;
}
template <>
GPU_FN u32x4
gload<u32x4>(const u32x4 *p)
{
    const uint4 v = *reinterpret_cast<const uint4 *>(p);
    return {v.x, v.y, v.z, v.w};
}
template <class T>
GPU_FN T
gload_stream(const T *p)
{
    return __ldcs(p);
}
template <>
GPU_FN u32x2
gload_stream<u32x2>(const u32x2 *p)
{
    const uint2 v = __ldcs(reinterpret_cast<const uint2 *>(p));
    return {v.x, v.y};
}
template <class T>
GPU_FN T
gload_shared(const T *p)
{
    return __ldcg(p);
}
template <>
GPU_FN u32x2
gload_shared<u32x2>(const u32x2 *p)
{
    const uint2 v = __ldcg(reinterpret_cast<const uint2 *>(p));
    return {v.x, v.y};
}
template <>
GPU_FN u32x4
gload_shared<u32x4>(const u32x4 *p)
{
    const uint4 v = __ldcg(reinterpret_cast<const uint4 *>(p));
    return {v.x, v.y, v.z, v.w};
}
template <class T>
GPU_FN void
gstore(T *p, T value)
{
    *p = value;
}
template <>
GPU_FN void
gstore<u32x4>(u32x4 *p, u32x4 v)
{
    asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}
GPU_FN int32_t
atomic_add(int32_t *p, int32_t n)
{
    return atomicAdd(p, n);
}
GPU_FN int32_t
shared_add(uint32_t address, int32_t n)
{
    return atomicAdd(reinterpret_cast<int32_t *>(gpu_shared + address), n);
}
GPU_FN int32_t
shared_max(uint32_t address, int32_t n)
{
    return atomicMax(reinterpret_cast<int32_t *>(gpu_shared + address), n);
}
template <class T>
GPU_FN void
copy_struct(T *to, const T &from)
{
    *to = from;
}
GPU_FN void
publish()
{
    __threadfence();
}
GPU_FN void
observe()
{
    __threadfence();
}

/* publish(), atomic_add(), observe() in one. */
GPU_FN int32_t
atomic_add_ordered(int32_t *p, int32_t n)
{
    int32_t old;
    asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], %2;"
                 : "=r"(old)
                 : "l"(p), "r"(n)
                 : "memory");
    return old;
}
/* A fence covers what a barrier ordered before it, whichever thread did it. */
GPU_FN void
hand_over()
{
}
GPU_FN void
take_over()
{
}

GPU_FN uint32_t
window(uint32_t address)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(gpu_shared)) + address;
}

GPU_FN void
cp_async16(uint32_t to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(window(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
GPU_FN void
cp_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N>
GPU_FN void
cp_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

template <class T>
GPU_FN T
shfl(T value, int from)
{
    return __shfl_sync(~0u, value, from);
}
template <class T>
GPU_FN T
shfl_xor(T value, int mask)
{
    return __shfl_xor_sync(~0u, value, mask);
}
GPU_FN bool
warp_all(bool value)
{
    return __all_sync(~0u, value);
}
GPU_FN int
uniform(int i)
{
    return i;
}
GPU_FN int
fresh(int i)
{
    return i;
}
GPU_FN void
await(int)
{
}
GPU_FN void
in_order()
{
}
template <int N>
GPU_FN void
priority()
{
}
GPU_FN void
syncwarp()
{
    __syncwarp();
}

GPU_FN void
barrier()
{
    __syncthreads();
}
GPU_FN void
barrier(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
GPU_FN void
barrier_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

GPU_FN void
ldmatrix4(uint32_t (&r)[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(window(address))
                 : "memory");
}
GPU_FN void
ldmatrix4t(uint32_t (&r)[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(window(address))
                 : "memory");
}

template <class T>
GPU_FN void
mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    if constexpr (Element<T>::is_bf16)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Lane l has elements 2(l%4), +1 of row l/4 of an 8x8 matrix, and gets those of the transposed. */
GPU_FN uint32_t
transpose8(uint32_t two)
{
    uint32_t r;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(two));
    return r;
}

/* Into the L2 only. bytes: a multiple of 16. */
GPU_FN void
prefetch(const void *from, int bytes)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
#endif
}
GPU_FN void
grid_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
GPU_FN void
grid_release()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

GPU_FN float
exp2f_(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
GPU_FN float
log2f_(float x)
{
    return __log2f(x);
}
GPU_FN float
rcpf_(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

template <class T>
GPU_FN uint32_t
pack2(float lo, float hi)
{
    uint32_t r;
    if constexpr (Element<T>::is_bf16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
template <class T>
GPU_FN void
unpack2(uint32_t u, float &lo, float &hi)
{
    if constexpr (Element<T>::is_bf16) {
        lo = __uint_as_float(u << 16);
        hi = __uint_as_float(u & 0xFFFF0000u);
    } else {
        asm("{ .reg .f16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b; }"
            : "=f"(lo), "=f"(hi)
            : "r"(u));
    }
}

/* Two fp8 codes (low byte first) to two T, exact. */
template <class T>
GPU_FN uint32_t
fp8x2_to(uint32_t codes, bool e5m2)
{
#if __CUDA_ARCH__ >= 890
    uint32_t h;
    const uint16_t two = static_cast<uint16_t>(codes);
    if (e5m2)
        asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(h) : "h"(two));
    else
        asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(h) : "h"(two));
    if constexpr (Element<T>::is_bf16) {
        float lo, hi;
        unpack2<f16>(h, lo, hi);
        return pack2<T>(lo, hi);
    }
    return h;
#else
    const uint32_t m = e5m2 ? 2 : 3;
    return pack2<T>(fp8_to_float(codes & 255u, m), fp8_to_float(codes >> 8 & 255u, m));
#endif
}

} // namespace gpu

#endif /* ATTN_GPU_TILE_CUDA_H */
