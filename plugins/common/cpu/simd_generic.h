/* SPDX-License-Identifier: Apache-2.0 */
/* simd_generic.h - part of simd.h: four lanes in the compiler's own vectors, any CPU. */
#ifndef CPU_SIMD_GENERIC_H
#define CPU_SIMD_GENERIC_H

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
#define VF_LANES 4

CPU_INLINE vf
vf_load(const void *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

CPU_INLINE void
vf_store(void *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

CPU_INLINE vf
vf_load_n(const void *p, size_t n)
{
    vf v = {0};
    memcpy(&v, p, 4 * n);
    return v;
}

CPU_INLINE void
vf_store_n(void *p, vf v, size_t n)
{
    memcpy(p, &v, 4 * n);
}

CPU_INLINE vf
vf_set1(float x)
{
    return (vf){x, x, x, x};
}

CPU_INLINE vf
vf_zero(void)
{
    return vf_set1(0);
}

CPU_INLINE vf
vf_bcast(const void *p)
{
    int32_t x;
    memcpy(&x, p, 4);
    return (vf)(vi){x, x, x, x};
}

CPU_INLINE vf
vf_iota(void)
{
    return (vf){0, 1, 2, 3};
}

CPU_INLINE vf
vf_add(vf a, vf b)
{
    return a + b;
}

CPU_INLINE vf
vf_sub(vf a, vf b)
{
    return a - b;
}

CPU_INLINE vf
vf_mul(vf a, vf b)
{
    return a * b;
}

CPU_INLINE vf
vf_div(vf a, vf b)
{
    return a / b;
}

CPU_INLINE vf
vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

CPU_INLINE vf
vf_select(vi mask, vf x, vf y)
{
    return (vf)((mask & (vi)x) | (~mask & (vi)y));
}

CPU_INLINE vf
vf_max(vf a, vf b)
{
    return vf_select(a > b, a, b);
}

CPU_INLINE vf
vf_min(vf a, vf b)
{
    return vf_select(a < b, a, b);
}

CPU_INLINE vf
vf_neg(vf a)
{
    return -a;
}

CPU_INLINE vf
vf_abs(vf a)
{
    return (vf)((vi)a & 0x7fffffff);
}

CPU_INLINE vf
vf_copysign(vf mag, vf sign)
{
    return (vf)(((vi)mag & 0x7fffffff) | ((vi)sign & INT32_MIN));
}

CPU_INLINE vf
vf_lt_select(vf a, vf b, vf x, vf y)
{
    return vf_select(a < b, x, y);
}

CPU_INLINE vf
vf_keep(vf v, int lo, int hi, vf fill)
{
    const vi i = {0, 1, 2, 3};
    return vf_select((i >= lo) & (i < hi), v, fill);
}

CPU_INLINE vf
vf_round(vf x)
{
    const vf magic = vf_set1(12582912.0f); /* 1.5 * 2^23: the sum has no fraction bits */
    vf y = x + magic;
    __asm__("" : "+m"(y)); /* or the compiler may fold the two */
    return y - magic;
}

CPU_INLINE vf
vf_ldexp(vf x, vf n)
{
    const vi in = __builtin_convertvector(n, vi);
    const vf scale = (vf)((in + 127) << 23);
    /* a NaN in n came with a NaN in x */
    return vf_select((n < vf_set1(-126.0f)), vf_zero(), vf_select(x == x, x * scale, x));
}

CPU_INLINE float
vf_hsum(vf v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

CPU_INLINE float
vf_hmax(vf v)
{
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
}

CPU_INLINE vf
vf_load_h_n(cpu_type t, const void *p, size_t n)
{
    vf v = {0};
    for (size_t i = 0; i < n; i++)
        v[i] = cpu_get(t, p, i);
    return v;
}

CPU_INLINE void
vf_store_h_n(cpu_type t, void *p, vf v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cpu_put(t, p, i, v[i]);
}

CPU_INLINE vf
vf_reduce(const vf x[4])
{
    return (vf){vf_hsum(x[0]), vf_hsum(x[1]), vf_hsum(x[2]), vf_hsum(x[3])};
}

CPU_INLINE vf
vf_swap(vf v, const int s)
{
    return s == 1 ? (vf){v[1], v[0], v[3], v[2]} : (vf){v[2], v[3], v[0], v[1]};
}

CPU_INLINE vf
vf_lane_mod(const int n)
{
    return (vf){0, (float)(1 % n), (float)(2 % n), (float)(3 % n)};
}

CPU_INLINE void
vf_transpose(vf r[4])
{
    vi t[4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            t[j][i] = ((vi)r[i])[j];
    for (int i = 0; i < 4; i++)
        r[i] = (vf)t[i];
}

#endif
