/* SPDX-License-Identifier: Apache-2.0 */
/* fp8_level.h - what common/cpu/fp8_bf16.h does, compiled for AVX-512. */
#ifndef FP8_LEVEL_H
#define FP8_LEVEL_H

#include <stdint.h>

/* 32 codes; needs AVX-512 F and BW. */
void fp8_level_widen(const uint8_t *codes, int e5m2, uint16_t *bf16);

#endif
