/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_types.h - element types and their scalar conversions.
 *
 * Rounding is to nearest even. fp8 saturates: what is larger than the largest
 * finite value, infinity included, becomes it. */
#ifndef ATTN_CPU_GEMM_TYPES_H
#define ATTN_CPU_GEMM_TYPES_H

#include <attn/plugin.h>
#include <string.h>

typedef enum gemm_type { GT_F32, GT_F16, GT_BF16, GT_E4M3, GT_E5M2, GT_NONE } gemm_type;

static inline gemm_type
gt_of(attn_dtype t)
{
    if (t.lanes != 1)
        return GT_NONE;
    if (t.code == ATTN_CODE_FLOAT && t.bits == 32)
        return GT_F32;
    if (t.code == ATTN_CODE_FLOAT && t.bits == 16)
        return GT_F16;
    if (t.code == ATTN_CODE_BFLOAT && t.bits == 16)
        return GT_BF16;
    if (t.code == ATTN_CODE_FP8_E4M3FN && t.bits == 8)
        return GT_E4M3;
    if (t.code == ATTN_CODE_FP8_E5M2 && t.bits == 8)
        return GT_E5M2;
    return GT_NONE;
}

static inline size_t
gt_size(gemm_type t)
{
    return t == GT_F32 ? 4 : t == GT_E4M3 || t == GT_E5M2 ? 1 : 2;
}

static inline uint32_t
gt_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float
gt_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float
gt_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, em = h & 0x7fffu;
    if (em >= 0x7c00)
        return gt_float(sign | 0x7f800000u | em << 13);
    const float x = gt_float(em << 13) * 0x1p112f;
    return gt_float(sign | gt_bits(x));
}

static inline uint16_t
gt_to_f16(float x)
{
    uint32_t u = gt_bits(x);
    const uint32_t sign = u >> 16 & 0x8000;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00);
    if (u >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000u)
        return (uint16_t)(sign | (gt_bits(gt_float(u) + 0.5f) - 0x3f000000u));
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | (u - 0x38000000u) >> 13);
}

static inline float
gt_from_bf16(uint16_t h)
{
    return gt_float((uint32_t)h << 16);
}

static inline uint16_t
gt_to_bf16(float x)
{
    const uint32_t u = gt_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float
gt_from_e4m3(uint8_t c)
{
    const uint32_t sign = (uint32_t)(c & 0x80) << 24, em = c & 0x7fu;
    if (em == 0x7f)
        return gt_float(sign | 0x7fc00000u);
    return gt_float(sign | gt_bits(gt_float(em << 20) * 0x1p120f));
}

static inline float
gt_from_e5m2(uint8_t c)
{
    return gt_from_f16((uint16_t)(c << 8));
}

static inline uint8_t
gt_to_e4m3(float x)
{
    uint32_t u = gt_bits(x);
    const uint32_t sign = u >> 24 & 0x80;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint8_t)(sign | 0x7f);
    if (u < 0x3c800000u)
        return (uint8_t)(sign | (gt_bits(gt_float(u) + 16384.0f) - gt_bits(16384.0f)));
    if (u >= 0x43e80000u)
        return (uint8_t)(sign | 0x7e);
    u += 0x7ffff + (u >> 20 & 1);
    return (uint8_t)(sign | (u - 0x3c000000u) >> 20);
}

static inline uint8_t
gt_to_e5m2(float x)
{
    uint32_t u = gt_bits(x);
    const uint32_t sign = u >> 24 & 0x80;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint8_t)(sign | 0x7f);
    if (u < 0x38800000u)
        return (uint8_t)(sign | (gt_bits(gt_float(u) + 128.0f) - gt_bits(128.0f)));
    if (u >= 0x47600000u)
        return (uint8_t)(sign | 0x7b);
    u += 0xfffff + (u >> 21 & 1);
    return (uint8_t)(sign | (u - 0x38000000u) >> 21);
}

/* Element i of an array. */
static inline float
gt_get(const void *p, gemm_type t, size_t i)
{
    switch (t) {
    case GT_F32:
        return ((const float *)p)[i];
    case GT_F16:
        return gt_from_f16(((const uint16_t *)p)[i]);
    case GT_BF16:
        return gt_from_bf16(((const uint16_t *)p)[i]);
    case GT_E4M3:
        return gt_from_e4m3(((const uint8_t *)p)[i]);
    default:
        return gt_from_e5m2(((const uint8_t *)p)[i]);
    }
}

static inline void
gt_put(void *p, gemm_type t, size_t i, float x)
{
    switch (t) {
    case GT_F32:
        ((float *)p)[i] = x;
        break;
    case GT_F16:
        ((uint16_t *)p)[i] = gt_to_f16(x);
        break;
    case GT_BF16:
        ((uint16_t *)p)[i] = gt_to_bf16(x);
        break;
    case GT_E4M3:
        ((uint8_t *)p)[i] = gt_to_e4m3(x);
        break;
    default:
        ((uint8_t *)p)[i] = gt_to_e5m2(x);
        break;
    }
}

/* First byte of a tensor. */
static inline char *
gt_data(const attn_tensor *t)
{
    return (char *)t->data + t->byte_offset;
}

#endif /* ATTN_CPU_GEMM_TYPES_H */
