/* SPDX-License-Identifier: Apache-2.0 */
/* fp8_vbmi.h - fp8 codes to bf16, 64 at a time (AVX-512 F, BW, VBMI): both bytes of a result are
 * looked up by the seven bits of the code's magnitude. Nothing is rounded, and NaN keeps its
 * sign. */
#ifndef CPU_FP8_VBMI_H
#define CPU_FP8_VBMI_H

#include <immintrin.h>

/* bf16 of a magnitude. */
#define FP8_SMALL(c, a, b, d, e, f, g, h) \
    ((c) == 0   ? 0                       \
     : (c) == 1 ? (a)                     \
     : (c) == 2 ? (b)                     \
     : (c) == 3 ? (d)                     \
     : (c) == 4 ? (e)                     \
     : (c) == 5 ? (f)                     \
     : (c) == 6 ? (g)                     \
                : (h))
#define FP8_E4M3(c)                                                                 \
    ((c) < 8 ? FP8_SMALL(c, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60) \
             : ((c) == 127 ? 0x7fc0 : ((c) << 4) + (120 << 7)))
#define FP8_E5M2(c)                                             \
    ((c) < 4 ? FP8_SMALL(c, 0x3780, 0x3800, 0x3840, 0, 0, 0, 0) \
             : ((c) > 124    ? 0x7fc0                           \
                : (c) == 124 ? 0x7f80                           \
                             : ((c) << 5) + (112 << 7)))

#define FP8_4(f, c) f(c), f((c) + 1), f((c) + 2), f((c) + 3)
#define FP8_16(f, c) FP8_4(f, c), FP8_4(f, (c) + 4), FP8_4(f, (c) + 8), FP8_4(f, (c) + 12)
#define FP8_64(f, c) FP8_16(f, c), FP8_16(f, (c) + 16), FP8_16(f, (c) + 32), FP8_16(f, (c) + 48)
#define FP8_E4M3_LOW(c) (FP8_E4M3(c) & 255)
#define FP8_E4M3_HIGH(c) (FP8_E4M3(c) >> 8)
#define FP8_E5M2_LOW(c) (FP8_E5M2(c) & 255)
#define FP8_E5M2_HIGH(c) (FP8_E5M2(c) >> 8)

/* Low bytes, then high bytes. */
static const unsigned char fp8_e4m3_bytes[256]
    __attribute__((aligned(64))) = {FP8_64(FP8_E4M3_LOW, 0), FP8_64(FP8_E4M3_LOW, 64),
                                    FP8_64(FP8_E4M3_HIGH, 0), FP8_64(FP8_E4M3_HIGH, 64)};
static const unsigned char fp8_e5m2_bytes[256]
    __attribute__((aligned(64))) = {FP8_64(FP8_E5M2_LOW, 0), FP8_64(FP8_E5M2_LOW, 64),
                                    FP8_64(FP8_E5M2_HIGH, 0), FP8_64(FP8_E5M2_HIGH, 64)};

/* Of each sixteen codes the first eight to x[0], the others to x[1]. */
static inline __attribute__((always_inline, unused)) void
fp8_to_bf16_wide(__m512i codes, const int e5m2, __m512i x[2])
{
    const unsigned char *t = e5m2 ? fp8_e5m2_bytes : fp8_e4m3_bytes;
    const __m512i low =
        _mm512_permutex2var_epi8(_mm512_load_si512(t), codes, _mm512_load_si512(t + 64));
    __m512i high =
        _mm512_permutex2var_epi8(_mm512_load_si512(t + 128), codes, _mm512_load_si512(t + 192));
    /* high | (codes & 0x80) */
    high = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8(-0x80), 0xf8);
    x[0] = _mm512_unpacklo_epi8(low, high);
    x[1] = _mm512_unpackhi_epi8(low, high);
}

#endif
