/* SPDX-License-Identifier: Apache-2.0 */
/* verify/number.h - numbers of every element type, as double. */
#ifndef ATTN_VERIFY_NUMBER_H
#define ATTN_VERIFY_NUMBER_H

#include <attn/types.h>

#include <stdint.h>
#include <string.h>

/* A binary floating-point format: value = significand * 2^e, e >= emin. */
typedef struct attn_format {
    int mantissa; /* stored bits */
    int emin;     /* exponent of the least normal number */
    int saturate; /* 1: too big becomes the largest, not infinity */
    double max;
} attn_format;

/* [any] NULL when the type is no floating-point format of ours. */
const attn_format *attn_number_format(attn_dtype dtype);

/* [any] n elements as double (integers too). */
void attn_number_load(double *dst, const void *src, attn_dtype dtype, size_t n);

/* [any] n doubles to elements: nearest even; fp8 saturates. */
void attn_number_store(void *dst, const double *src, attn_dtype dtype,
                       size_t n);

/* [any] v as this type would hold it. */
double attn_number_round(double v, attn_dtype dtype);

/* [any] The gap between neighbours at |v| in this type. */
double attn_number_ulp(double v, attn_dtype dtype);

/* How the plain implementation rounds a matrix operand. */
typedef enum attn_operand {
    ATTN_OPERAND_F32,
    ATTN_OPERAND_F16,
    ATTN_OPERAND_BF16
} attn_operand;

/* [any] */
attn_operand attn_operand_of(attn_dtype compute);

/* [any] One f32 value rounded to the operand type, nearest even. */
static inline float
attn_operand_round(float v, attn_operand kind)
{
    uint32_t u;
    if (kind == ATTN_OPERAND_F32 || v != v)
        return v;
    memcpy(&u, &v, sizeof u);
    const uint32_t drop = kind == ATTN_OPERAND_BF16 ? 16 : 13;
    if (kind == ATTN_OPERAND_F16) {
        const float a = v < 0 ? -v : v;
        if (a < 0x1p-14f) { /* subnormal: quantum 2^-24 */
            volatile float s = a + 0.75f;
            return __builtin_copysignf(s - 0.75f, v);
        }
        if (a >= 65520.0f)
            return v < 0 ? -__builtin_inff() : __builtin_inff();
    }
    u += ((1u << (drop - 1)) - 1) + ((u >> drop) & 1);
    u &= ~((1u << drop) - 1);
    memcpy(&v, &u, sizeof v);
    return v;
}

#endif
