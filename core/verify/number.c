/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/number.h"

#include <float.h>
#include <math.h>

static const attn_format F64 = {52, -1022, 0, DBL_MAX};
static const attn_format F32 = {23, -126, 0, FLT_MAX};
static const attn_format F16 = {10, -14, 0, 65504.0};
static const attn_format BF16 = {7, -126, 0, 0x1.fep127};
static const attn_format E4M3 = {3, -6, 1, 448.0};
static const attn_format E5M2 = {2, -14, 1, 57344.0};

const attn_format *
attn_number_format(attn_dtype dtype)
{
    switch (dtype.code) {
    case ATTN_CODE_FLOAT:
        return dtype.bits == 64   ? &F64
               : dtype.bits == 32 ? &F32
               : dtype.bits == 16 ? &F16
                                  : NULL;
    case ATTN_CODE_BFLOAT:
        return dtype.bits == 16 ? &BF16 : NULL;
    case ATTN_CODE_FP8_E4M3FN:
        return &E4M3;
    case ATTN_CODE_FP8_E5M2:
        return &E5M2;
    default:
        return NULL;
    }
}

static double
quantum(double v, const attn_format *f)
{
    int e = v == 0 ? f->emin : ilogb(v);
    if (e < f->emin)
        e = f->emin;
    return ldexp(1.0, e - f->mantissa);
}

static double
round_to(double v, const attn_format *f)
{
    if (f == &F64 || v == 0 || isnan(v))
        return v;
    if (f == &F32)
        return (double)(float)v;
    double r = v;
    if (!isinf(v)) {
        const double q = quantum(v, f);
        r = nearbyint(v / q) * q;
    }
    if (fabs(r) > f->max)
        r = copysign(f->saturate ? f->max : (double)INFINITY, v);
    return r;
}

double
attn_number_round(double v, attn_dtype dtype)
{
    return round_to(v, attn_number_format(dtype));
}

double
attn_number_ulp(double v, attn_dtype dtype)
{
    return isfinite(v) ? quantum(v, attn_number_format(dtype)) : 0.0;
}

static double
decode(uint32_t bits, int width, const attn_format *f)
{
    const int ebits = width - 1 - f->mantissa;
    const uint32_t m = bits & ((1u << f->mantissa) - 1);
    const uint32_t e = (bits >> f->mantissa) & ((1u << ebits) - 1);
    const uint32_t top = (1u << ebits) - 1;
    double v;
    if (f == &E4M3 && e == top && m == 7)
        v = NAN;
    else if (f != &E4M3 && e == top)
        v = m ? (double)NAN : (double)INFINITY;
    else if (e == 0)
        v = ldexp((double)m, f->emin - f->mantissa);
    else
        v = ldexp((double)(m + (1u << f->mantissa)),
                  (int)e - 1 + f->emin - f->mantissa);
    return bits >> (width - 1) ? -v : v;
}

static uint32_t
encode(double v, int width, const attn_format *f)
{
    const int ebits = width - 1 - f->mantissa;
    const uint32_t top = (1u << ebits) - 1, one = 1u << f->mantissa;
    const uint32_t sign = signbit(v) ? 1u << (width - 1) : 0;
    const double r = fabs(round_to(v, f));
    if (isnan(r))
        return sign | (top << f->mantissa) | (one - 1);
    if (isinf(r))
        return sign | (top << f->mantissa);
    if (r == 0)
        return sign;
    const double q = quantum(r, f);
    const uint32_t m = (uint32_t)(r / q);
    const int e = m < one ? 0 : ilogb(r) - f->emin + 1;
    return sign | ((uint32_t)e << f->mantissa) | (m & (one - 1));
}

static void
load_small(double *dst, const void *src, const attn_format *f, int width,
           size_t n)
{
    if (f == &BF16) {
        for (size_t i = 0; i < n; i++) {
            const uint32_t u = (uint32_t)((const uint16_t *)src)[i] << 16;
            float v;
            memcpy(&v, &u, sizeof v);
            dst[i] = (double)v;
        }
        return;
    }
    for (size_t i = 0; i < n; i++)
        dst[i] = decode(width == 16 ? ((const uint16_t *)src)[i]
                                    : ((const uint8_t *)src)[i],
                        width, f);
}

static void
load_integer(double *dst, const void *src, attn_dtype dtype, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype.bits == 64)
            dst[i] = (double)((const int64_t *)src)[i];
        else if (dtype.bits == 32)
            dst[i] = (double)((const int32_t *)src)[i];
        else
            dst[i] = (double)((const uint8_t *)src)[i];
    }
}

void
attn_number_load(double *dst, const void *src, attn_dtype dtype, size_t n)
{
    const attn_format *f = attn_number_format(dtype);
    if (!f)
        load_integer(dst, src, dtype, n);
    else if (f == &F64)
        memcpy(dst, src, n * sizeof *dst);
    else if (f == &F32)
        for (size_t i = 0; i < n; i++)
            dst[i] = (double)((const float *)src)[i];
    else
        load_small(dst, src, f, dtype.bits, n);
}

/* The bits of a float that the 16-bit format holds exactly. */
static uint16_t
pack16(float v, attn_operand kind)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    if (kind == ATTN_OPERAND_BF16)
        return (uint16_t)(u >> 16);
    const uint32_t sign = u >> 16 & 0x8000, e = u >> 23 & 0xFF;
    if (e >= 113)
        return (uint16_t)(sign | ((e - 112) << 10) | (u >> 13 & 0x3FF));
    return (uint16_t)(sign | (uint32_t)((v < 0 ? -v : v) * 0x1p24f));
}

static void
store16(uint16_t *dst, const double *src, attn_dtype dtype, size_t n)
{
    const attn_operand kind = attn_operand_of(dtype);
    for (size_t i = 0; i < n; i++) {
        const float f = (float)src[i];
        if ((double)f == src[i] && fabsf(f) < 65504.0f)
            dst[i] = pack16(attn_operand_round(f, kind), kind);
        else
            dst[i] = (uint16_t)encode(src[i], 16, attn_number_format(dtype));
    }
}

void
attn_number_store(void *dst, const double *src, attn_dtype dtype, size_t n)
{
    const attn_format *f = attn_number_format(dtype);
    if (f == &F64)
        memcpy(dst, src, n * sizeof *src);
    else if (f == &F32)
        for (size_t i = 0; i < n; i++)
            ((float *)dst)[i] = (float)src[i];
    else if (dtype.bits == 16)
        store16(dst, src, dtype, n);
    else
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)dst)[i] = (uint8_t)encode(src[i], 8, f);
}

attn_operand
attn_operand_of(attn_dtype compute)
{
    if (compute.code == ATTN_CODE_BFLOAT)
        return ATTN_OPERAND_BF16;
    if (compute.code == ATTN_CODE_FLOAT && compute.bits == 16)
        return ATTN_OPERAND_F16;
    return ATTN_OPERAND_F32;
}
