/* SPDX-License-Identifier: Apache-2.0 */
/* types.h - element types of the kernels: storage only, and their conversions. */
#ifndef ATTN_GPU_TYPES_H
#define ATTN_GPU_TYPES_H

#include "common/gpu/target.h"

#include <cstdint>

namespace gpu
{

struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};

/* How a cache stores its elements. */
enum : int32_t { kKv16 = 0, kKvE4M3 = 1, kKvE5M2 = 2 };

struct alignas(8) u32x2 {
    uint32_t x, y;
};
struct alignas(16) u32x4 {
    uint32_t x, y, z, w;
};

GPU_HOST_FN float
bits_to_float(uint32_t bits)
{
    float f;
    __builtin_memcpy(&f, &bits, sizeof f);
    return f;
}

GPU_HOST_FN uint32_t
float_to_bits(float f)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &f, sizeof bits);
    return bits;
}

GPU_HOST_FN float
to_float(bf16 v)
{
    return bits_to_float(uint32_t{v.bits} << 16);
}

GPU_HOST_FN bf16
to_bf16(float f)
{
    const uint32_t bits = float_to_bits(f), near = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return {uint16_t(f != f ? bits >> 16 | 0x40u : near)};
}

GPU_HOST_FN float
to_float(f16 v)
{
    const uint32_t sign = (v.bits & 0x8000u) << 16, e = v.bits >> 10 & 31u, m = v.bits & 1023u;
    if (e == 0) /* m * 2^-24, exact */
        return bits_to_float(float_to_bits(float(m) * 5.9604644775390625e-8f) | sign);
    if (e == 31)
        return bits_to_float(sign | 0x7F800000u | m << 13);
    return bits_to_float(sign | (e + 112u) << 23 | m << 13);
}

/* To nearest, ties to even. */
GPU_HOST_FN f16
to_f16(float f)
{
    const uint32_t bits = float_to_bits(f), sign = bits >> 16 & 0x8000u;
    const uint32_t abs = bits & 0x7FFFFFFFu;
    if (abs > 0x7F800000u)
        return {uint16_t(sign | 0x7E00u)};
    if (abs >= 0x477FF000u)
        return {uint16_t(sign | 0x7C00u)};
    if (abs < 0x38800000u) /* adding 0.5 rounds to multiples of 2^-24 */
        return {uint16_t(sign | (float_to_bits(bits_to_float(abs) + 0.5f) - 0x3F000000u))};
    return {uint16_t(sign | (abs - 0x38000000u + 0xFFFu + (abs >> 13 & 1u)) >> 13)};
}

/* fp8 of `mantissa` bits (3: e4m3fn, 2: e5m2) to float, exact and without a branch: the code's
 * exponent and mantissa in float's place, subnormal codes as subnormal floats, times the difference
 * of the biases. */
GPU_HOST_FN float
fp8_to_float(uint32_t code, uint32_t mantissa)
{
    const uint32_t abs = code & 0x7Fu, infinite = mantissa == 3 ? 0x7Fu : 0x7Cu;
    const float scale = mantissa == 3 ? 0x1p120f : 0x1p112f;
    uint32_t bits = float_to_bits(bits_to_float(abs << (23u - mantissa)) * scale);
    bits = abs >= infinite ? 0x7F800000u : bits;
    bits = abs > infinite - (mantissa == 3) ? 0x7FC00000u : bits;
    return bits_to_float(bits | (code & 0x80u) << 24);
}

/* Float to fp8, to nearest even, saturating; NaN stays NaN. */
GPU_HOST_FN uint8_t
float_to_fp8(float f, uint32_t mantissa)
{
    const uint32_t bits = float_to_bits(f), sign = bits >> 24 & 0x80u;
    const uint32_t abs = bits & 0x7FFFFFFFu;
    const uint32_t bias = mantissa == 3 ? 7u : 15u, drop = 23u - mantissa;
    const uint32_t largest = mantissa == 3 ? 0x7Eu : 0x7Bu;
    if (abs > 0x7F800000u)
        return uint8_t(sign | (mantissa == 3 ? 0x7Fu : 0x7Eu));
    if (abs < (128u - bias) << 23) { /* subnormal: round to the unit */
        const float unit = mantissa == 3 ? 0.001953125f : 1.52587890625e-5f;
        const float magic = 8388608.0f * unit;
        return uint8_t(sign | (float_to_bits(bits_to_float(abs) + magic) - float_to_bits(magic)));
    }
    const uint32_t rounded = abs + (1u << (drop - 1)) - 1u + (abs >> drop & 1u);
    const uint32_t code = (rounded >> drop) - ((127u - bias) << mantissa);
    return uint8_t(sign | (code > largest ? largest : code));
}

template <class T> struct Element;
template <> struct Element<bf16> {
    static constexpr bool is_bf16 = true;
    static GPU_HOST_FN bf16 from(float f)
    {
        return to_bf16(f);
    }
};
template <> struct Element<f16> {
    static constexpr bool is_bf16 = false;
    static GPU_HOST_FN f16 from(float f)
    {
        return to_f16(f);
    }
};

} // namespace gpu

#endif /* ATTN_GPU_TYPES_H */
