/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_vec64.h - functions on the f64 vectors of wide.h, which have half the
 * lanes of those of gemm_vec.h. They are right to 1e-10, far below what f32 shows. */
#ifndef ATTN_MAMBA_CPU_MAMBA_VEC64_H
#define ATTN_MAMBA_CPU_MAMBA_VEC64_H

#include "common/cpu/gemm_vec.h"
#include "common/cpu/wide.h"

/* mask ? a : b, lane by lane; mask lanes are 0 or -1. */
GEMM_INLINE wd
wd_select(wl mask, wd a, wd b)
{
    return (wd)(((wl)a & mask) | ((wl)b & ~mask));
}

/* 2^x; beyond the range of f64 its ends, which f32 sees as 0 and infinity. */
GEMM_INLINE wd
wd_exp2_any(wd x)
{
#if VL == 16
    const wd n = (wd)_mm512_roundscale_pd((__m512d)x, 0);
    const wd f = (wd)_mm512_reduce_pd((__m512d)x, 0); /* x - n; 0 at infinity */
#else
    const wl beyond = (wl)(x > wd_set(1023.0));
    x = wd_select((wl)(x < wd_set(-1021.0)), wd_set(-1021.0), x);
    x = wd_select(beyond, wd_set(1023.0), x);
    const wd t = x + wd_set(6755399441055744.0), n = t - wd_set(6755399441055744.0);
    const wd f = x - n;
#endif
    const wd p = wd_exp2_part(f);
#if VL == 16
    return (wd)_mm512_scalef_pd((__m512d)p, (__m512d)n);
#else
    return wd_select(beyond, wd_set((double)__builtin_inff()), (wd)((wl)p + ((wl)t << 52)));
#endif
}

/* ln(1 + e^x) as max(x, 0) + ln(1 + u), u = e^-|x|, the latter as
 * 2 atanh(u / (2 + u)). */
GEMM_INLINE wd
wd_softplus(wd x)
{
    const wl positive = (wl)(x > wd_set(0.0));
    const wd big = wd_select(positive, x, wd_set(0.0));
    const wd u = wd_exp2_any((x - (big + big)) * wd_set(WD_LOG2E));
    const wd s = u / (wd_set(2.0) + u), w = s * s;
    wd q = wd_set(0.2186056831430696) * w + wd_set(0.1712253666729019);
    q = q * w + wd_set(0.22305127385582954);
    q = q * w + wd_set(0.2856814575820109);
    q = q * w + wd_set(0.4000006142120794);
    q = q * w + wd_set(0.6666666623792175);
    q = q * w + wd_set(2.000000000004866);
    return big + q * s;
}

/* x / (1 + e^-x) */
GEMM_INLINE wd
wd_silu(wd x)
{
    return x / (wd_set(1.0) + wd_exp2_any(x * wd_set(-WD_LOG2E)));
}

#endif /* ATTN_MAMBA_CPU_MAMBA_VEC64_H */
