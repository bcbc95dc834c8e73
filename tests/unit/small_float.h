/* SPDX-License-Identifier: Apache-2.0 */
/* small_float.h - numbers of 16 and 8 bits, from the fields of their codes. */
#ifndef SMALL_FLOAT_H
#define SMALL_FLOAT_H

#include <stdint.h>

/* bf16, or f16. */
double half_value(uint16_t h, int bf16);
uint16_t half_of(double v, int bf16); /* rounds toward zero */
/* e5m2, or e4m3. */
double fp8_value(uint32_t code, int e5m2);

#endif
