/* SPDX-License-Identifier: Apache-2.0 */
/* simd.h - the vector vocabulary of the CPU kernels.
 *
 * A kernel is one source, compiled once per level with that level's flags. `vf` is a vector of
 * VF_LANES f32; the file that the flags choose below defines, with p any (unaligned) address:
 *
 *   vf_load(p) vf_store(p,v)            VF_LANES floats
 *   vf_load_n(p,n) vf_store_n(p,v,n)    the first n <= VF_LANES of them; missing lanes are 0
 *   vf_zero() vf_set1(x) vf_bcast(p)    bcast: any 32 bits, repeated
 *   vf_add vf_sub vf_mul vf_div vf_fma(a,b,c)=a*b+c
 *   vf_max(a,b) vf_min(a,b)             b where either is NaN
 *   vf_neg vf_abs vf_copysign(mag,sign) vf_lt_select(a,b,x,y)= a<b ? x : y, per lane
 *   vf_keep(v,lo,hi,fill)               lanes lo <= i < hi of v, fill elsewhere
 *   vf_iota()                           0, 1, 2, ...
 *   vf_round(x)                         to an integer; |x| < 2^22
 *   vf_ldexp(x,n)                       x * 2^n, n integral; 0 below 2^-126 * x
 *   vf_hsum vf_hmax                     across lanes
 *   vf_load_h_n(t,p,n) vf_store_h_n(t,p,v,n)   the first n of type t (a constant)
 *   vf_reduce(x)                        lane i: the sum of x[i]'s lanes, x[VF_LANES]
 *   vf_swap(v,s)                        lane i: lane i ^ s of v, s a constant power of two
 *   vf_lane_mod(n)                      lane i: i % n, n a constant power of two
 *   vf_transpose(r)                     the square r[VF_LANES]; moves bits unchanged
 *
 * simd_math.h adds exp2, exp and tanh. */
#ifndef CPU_SIMD_H
#define CPU_SIMD_H

#include "common/cpu/number.h"

#define CPU_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CPU_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "common/cpu/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "common/cpu/simd_avx2.h"
#else
#include "common/cpu/simd_generic.h"
#endif

#include "common/cpu/simd_math.h"

#endif
