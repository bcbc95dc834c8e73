/* SPDX-License-Identifier: Apache-2.0 */
/* number.h - element types of the CPU kernels and exact scalar conversions.
 *
 * All roundings are to nearest even. fp8 stores saturate; NaN stays NaN. */
#ifndef CPU_NUMBER_H
#define CPU_NUMBER_H

#include <attn/plugin.h>
#include <math.h>
#include <string.h>

typedef enum cpu_type { CPU_F32, CPU_F16, CPU_BF16, CPU_E4M3, CPU_E5M2, CPU_NONE } cpu_type;

/* The element type of a DLPack dtype, or CPU_NONE. */
static inline cpu_type
cpu_type_of(attn_dtype t)
{
    if (t.lanes != 1)
        return CPU_NONE;
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
    return CPU_NONE;
}

static inline size_t
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
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float
cpu_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, em = h & 0x7fffu;
    if (em >= 0x7c00)
        return cpu_f32_from_bits(sign | 0x7f800000u | em << 13);
    const float x = cpu_f32_from_bits(em << 13) * 0x1p112f;
    return cpu_f32_from_bits(sign | cpu_f32_bits(x));
}

static inline uint16_t
cpu_f32_to_f16(float x)
{
    uint32_t u = cpu_f32_bits(x);
    const uint32_t sign = u >> 16 & 0x8000;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00);
    if (u >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000u)
        return (uint16_t)(sign | (cpu_f32_bits(cpu_f32_from_bits(u) + 0.5f) - 0x3f000000u));
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | (u - 0x38000000u) >> 13);
}

static inline float
cpu_e4m3_to_f32(uint8_t c)
{
    const uint32_t sign = (uint32_t)(c & 0x80) << 24, em = c & 0x7fu;
    if (em == 0x7f)
        return cpu_f32_from_bits(sign | 0x7fc00000u);
    return cpu_f32_from_bits(sign | cpu_f32_bits(cpu_f32_from_bits(em << 20) * 0x1p120f));
}

static inline uint8_t
cpu_f32_to_e4m3(float x)
{
    uint32_t u = cpu_f32_bits(x);
    const uint32_t sign = u >> 24 & 0x80;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint8_t)(sign | 0x7f);
    if (u < 0x3c800000u)
        return (uint8_t)(sign |
                         (cpu_f32_bits(cpu_f32_from_bits(u) + 16384.0f) - cpu_f32_bits(16384.0f)));
    if (u >= 0x43e80000u)
        return (uint8_t)(sign | 0x7e);
    u += 0x7ffff + (u >> 20 & 1);
    return (uint8_t)(sign | (u - 0x3c000000u) >> 20);
}

static inline float
cpu_e5m2_to_f32(uint8_t c)
{
    return cpu_f16_to_f32((uint16_t)(c << 8));
}

static inline uint8_t
cpu_f32_to_e5m2(float x)
{
    uint32_t u = cpu_f32_bits(x);
    const uint32_t sign = u >> 24 & 0x80;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint8_t)(sign | 0x7f);
    if (u < 0x38800000u)
        return (uint8_t)(sign |
                         (cpu_f32_bits(cpu_f32_from_bits(u) + 128.0f) - cpu_f32_bits(128.0f)));
    if (u >= 0x47600000u)
        return (uint8_t)(sign | 0x7b);
    u += 0xfffff + (u >> 21 & 1);
    return (uint8_t)(sign | (u - 0x38000000u) >> 21);
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

/* First byte of a tensor. */
static inline char *
cpu_data(const attn_tensor *t)
{
    return (char *)t->data + t->byte_offset;
}

#endif
