/* SPDX-License-Identifier: Apache-2.0 */
/* simd_math.h - part of simd.h: functions on vf. */
#ifndef CPU_SIMD_MATH_H
#define CPU_SIMD_MATH_H

#define CPU_LOG2E 1.44269504088896341f
#define CPU_LN2 0.693147180559945309f

/* 2^x. NaN stays NaN; below -126 the result is below 2^-126, and exactly 0 at -inf; x <= 127.
 * Relative error below 6e-8 plus one rounding. */
CPU_INLINE vf
vf_exp2(vf x)
{
    x = vf_max(vf_set1(-200.0f), x);
    const vf n = vf_round(x), f = vf_sub(x, n);
    vf p = vf_set1(0.00015453162939696504f);
    p = vf_fma(p, f, vf_set1(0.0013390863364625236f));
    p = vf_fma(p, f, vf_set1(0.00961808255730196f));
    p = vf_fma(p, f, vf_set1(0.05550357114219158f));
    p = vf_fma(p, f, vf_set1(0.24022650760567846f));
    p = vf_fma(p, f, vf_set1(0.6931471880262287f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return vf_ldexp(p, n);
}

/* The same with relative error 2.1e-7: for results that are rounded to 16 bits. */
CPU_INLINE vf
vf_exp2_short(vf x)
{
    x = vf_max(vf_set1(-200.0f), x);
    const vf n = vf_round(x), f = vf_sub(x, n);
    vf p = vf_set1(0.0013381302537356717f);
    p = vf_fma(p, f, vf_set1(0.009666368515389104f));
    p = vf_fma(p, f, vf_set1(0.055503810137964286f));
    p = vf_fma(p, f, vf_set1(0.24022349038020271f));
    p = vf_fma(p, f, vf_set1(0.6931471805599453f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return vf_ldexp(p, n);
}

/* e^x for x <= 88: the product x * log2(e) is carried in two parts. */
CPU_INLINE vf
vf_exp(vf x)
{
    x = vf_max(vf_set1(-140.0f), x);
    const vf n = vf_round(vf_mul(x, vf_set1(CPU_LOG2E)));
    vf r = vf_fma(n, vf_set1(-0.693359375f), x);
    r = vf_fma(n, vf_set1(2.12194440e-4f), r);
    const vf f = vf_mul(r, vf_set1(CPU_LOG2E));
    vf p = vf_set1(0.00015453162939696504f);
    p = vf_fma(p, f, vf_set1(0.0013390863364625236f));
    p = vf_fma(p, f, vf_set1(0.00961808255730196f));
    p = vf_fma(p, f, vf_set1(0.05550357114219158f));
    p = vf_fma(p, f, vf_set1(0.24022650760567846f));
    p = vf_fma(p, f, vf_set1(0.6931471880262287f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return vf_ldexp(p, n);
}

/* tanh x: an odd polynomial near 0, 1 - 2 / (e^2x + 1) elsewhere. */
CPU_INLINE vf
vf_tanh(vf x)
{
    const vf a = vf_abs(x), z = vf_mul(x, x);
    vf p = vf_set1(-5.70498872745e-3f);
    p = vf_fma(p, z, vf_set1(2.06390887954e-2f));
    p = vf_fma(p, z, vf_set1(-5.37397155531e-2f));
    p = vf_fma(p, z, vf_set1(1.33314422036e-1f));
    p = vf_fma(p, z, vf_set1(-3.33332819422e-1f));
    const vf near = vf_fma(vf_mul(p, z), x, x);
    const vf e = vf_exp(vf_min(vf_set1(40.0f), vf_add(a, a)));
    const vf far = vf_sub(vf_set1(1.0f), vf_div(vf_set1(2.0f), vf_add(e, vf_set1(1.0f))));
    return vf_lt_select(a, vf_set1(0.625f), near, vf_copysign(far, x));
}

#endif
