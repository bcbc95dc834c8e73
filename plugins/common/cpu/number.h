/* SPDX-License-Identifier: Apache-2.0 */
/* number.h - element types of the CPU kernels and exact scalar conversions.
 *
 * All roundings are to nearest even. fp8 stores saturate; NaN stays NaN. */
#ifndef CPU_NUMBER_H
#define CPU_NUMBER_H

#include <attn/plugin.h>
#include <math.h>
#include <string.h>

typedef enum cpu_type { CPU_F32, CPU_F16, CPU_BF16, CPU_E4M3, CPU_E5M2, CPU_TYPE_COUNT } cpu_type;

/* The element type of a DLPack dtype, or -1. */
static inline int
cpu_type_of(attn_dtype t)
{
    if (t.lanes != 1)
        return -1;
    switch (t.code << 8 | t.bits) {
    case ATTN_CODE_FLOAT << 8 | 32:
        return CPU_F32;
    case ATTN_CODE_FLOAT << 8 | 16:
        return CPU_F16;
    case ATTN_CODE_BFLOAT << 8 | 16:
        return CPU_BF16;
    case ATTN_CODE_FP8_E4M3FN << 8 | 8:
        return CPU_E4M3;
    case ATTN_CODE_FP8_E5M2 << 8 | 8:
        return CPU_E5M2;
    }
    return -1;
}

static inline unsigned
cpu_type_size(cpu_type t)
{
    return t == CPU_F32 ? 4 : t == CPU_E4M3 || t == CPU_E5M2 ? 1 : 2;
}

static inline uint32_t
cpu_f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static inline float
cpu_f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

static inline float
cpu_bf16_to_f32(uint16_t h)
{
    return cpu_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t
cpu_f32_to_bf16(float x)
{
    const uint32_t u = cpu_f32_bits(x);
    if (x != x)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float
cpu_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
    if (mag >= 0x7c00)
        return cpu_f32_from_bits(sign | 0x7f800000 | (mag & 0x3ff) << 13);
    /* as a scaled f32: the multiplication also makes subnormals right */
    const float x = cpu_f32_from_bits(mag << 13) * 0x1p112f;
    return cpu_f32_from_bits(sign | cpu_f32_bits(x));
}

/* |x| rounded to `bits` mantissa bits with least exponent `emin`: its magnitude code. */
static inline uint32_t
cpu_round_code(float x, int bits, int emin)
{
    int e;
    if (x == 0)
        return 0;
    (void)frexpf(x, &e);
    e = e - 1 < emin ? emin : e - 1;
    const float ulps = rintf(ldexpf(x, bits - e));
    return ((uint32_t)(e - emin) << bits) + (uint32_t)ulps;
}

static inline uint16_t
cpu_f32_to_f16(float x)
{
    const uint32_t sign = cpu_f32_bits(x) >> 16 & 0x8000;
    const float a = fabsf(x);
    if (x != x)
        return (uint16_t)(sign | 0x7e00);
    if (a >= 65520.0f)
        return (uint16_t)(sign | 0x7c00);
    return (uint16_t)(sign | cpu_round_code(a, 10, -14));
}

static inline float
cpu_e4m3_to_f32(uint8_t c)
{
    const uint32_t sign = (uint32_t)(c & 0x80) << 24, mag = c & 0x7f;
    const float x = mag == 0x7f ? NAN : cpu_f32_from_bits(mag << 20) * 0x1p120f;
    return cpu_f32_from_bits(sign | cpu_f32_bits(x));
}

static inline uint8_t
cpu_f32_to_e4m3(float x)
{
    const uint32_t sign = cpu_f32_bits(x) >> 24 & 0x80;
    const float a = fabsf(x);
    if (x != x)
        return (uint8_t)(sign | 0x7f);
    if (a >= 448.0f)
        return (uint8_t)(sign | 0x7e);
    return (uint8_t)(sign | cpu_round_code(a, 3, -6));
}

static inline float
cpu_e5m2_to_f32(uint8_t c)
{
    return cpu_f16_to_f32((uint16_t)(c << 8));
}

static inline uint8_t
cpu_f32_to_e5m2(float x)
{
    const uint32_t sign = cpu_f32_bits(x) >> 24 & 0x80;
    const float a = fabsf(x);
    if (x != x)
        return (uint8_t)(sign | 0x7e);
    if (a >= 57344.0f)
        return (uint8_t)(sign | 0x7b);
    return (uint8_t)(sign | cpu_round_code(a, 2, -14));
}

/* Element i of an array of this type, as f32. */
static inline float
cpu_get(cpu_type t, const void *p, size_t i)
{
    uint16_t h;
    if (t == CPU_F32)
        return cpu_f32_from_bits(*(const uint32_t *)((const char *)p + 4 * i));
    if (t == CPU_E4M3)
        return cpu_e4m3_to_f32(((const uint8_t *)p)[i]);
    if (t == CPU_E5M2)
        return cpu_e5m2_to_f32(((const uint8_t *)p)[i]);
    memcpy(&h, (const char *)p + 2 * i, 2);
    return t == CPU_BF16 ? cpu_bf16_to_f32(h) : cpu_f16_to_f32(h);
}

/* Stores x as element i, rounded. */
static inline void
cpu_put(cpu_type t, void *p, size_t i, float x)
{
    uint16_t h;
    switch (t) {
    case CPU_F32:
        memcpy((char *)p + 4 * i, &x, 4);
        return;
    case CPU_E4M3:
        ((uint8_t *)p)[i] = cpu_f32_to_e4m3(x);
        return;
    case CPU_E5M2:
        ((uint8_t *)p)[i] = cpu_f32_to_e5m2(x);
        return;
    default:
        h = t == CPU_BF16 ? cpu_f32_to_bf16(x) : cpu_f32_to_f16(x);
        memcpy((char *)p + 2 * i, &h, 2);
    }
}

#endif
