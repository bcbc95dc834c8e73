/* SPDX-License-Identifier: Apache-2.0 */
#include "fp8_level.h"

#include "common/cpu/fp8_bf16.h"

void
fp8_level_widen(const uint8_t *codes, int e5m2, uint16_t *bf16)
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)codes);

    _mm512_storeu_si512(bf16, e5m2 ? fp8_to_bf16(x, 1) : fp8_to_bf16(x, 0));
}
