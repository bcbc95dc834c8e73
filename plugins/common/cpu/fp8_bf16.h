/* SPDX-License-Identifier: Apache-2.0 */
/* fp8_bf16.h - fp8 codes to bf16, 32 at a time (AVX-512 F, BW). All values of
 * both types are bf16 values, so nothing is rounded. */
#ifndef CPU_FP8_BF16_H
#define CPU_FP8_BF16_H

#include <immintrin.h>

/* bf16 of what shifting and adding does not give: subnormals in front, what
 * is not finite at the end. */
static const unsigned short fp8_e4m3_special[32] = {0,      0x3b00, 0x3b80, 0x3bc0,       0x3c00,
                                                    0x3c20, 0x3c40, 0x3c60, [31] = 0x7fc0};
static const unsigned short fp8_e5m2_special[32] = {0,      0x3780, 0x3800, 0x3840, [28] = 0x7f80,
                                                    0x7fc0, 0x7fc0, 0x7fc0};

/* Codes of e4m3 (with infinities: e5m2), in their order. Exponent and mantissa
 * move into place and the bias is added; codes below the first normal one and
 * above the last finite one come from the table. NaN keeps its sign. */
static inline __attribute__((always_inline, unused)) __m512i
fp8_to_bf16(__m256i codes, const int e5m2)
{
    const __m512i table = _mm512_loadu_si512(e5m2 ? fp8_e5m2_special : fp8_e4m3_special);
    const short first = e5m2 ? 4 : 8, finite = e5m2 ? 0x77 : 0x76;
    const short bias = e5m2 ? 112 << 7 : 120 << 7;
    const __m512i w = _mm512_cvtepu8_epi16(codes);
    const __m512i em = _mm512_and_si512(w, _mm512_set1_epi16(0x7f));
    const __mmask32 special = _mm512_cmpgt_epu16_mask(
        _mm512_sub_epi16(em, _mm512_set1_epi16(first)), _mm512_set1_epi16(finite));
    __m512i x = _mm512_slli_epi16(em, e5m2 ? 5 : 4);
    x = _mm512_add_epi16(x, _mm512_set1_epi16(bias));
    x = _mm512_mask_permutexvar_epi16(x, special, em, table);
    /* x | (w << 8 & 0x8000) */
    return _mm512_ternarylogic_epi32(x, _mm512_slli_epi16(w, 8), _mm512_set1_epi16(-0x8000), 0xf8);
}

#endif
