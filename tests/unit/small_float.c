/* SPDX-License-Identifier: Apache-2.0 */
#include "small_float.h"

#include <math.h>
#include <string.h>

static double
bf16_value(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return (double)f;
}

double
half_value(uint16_t h, int bf16)
{
    if (bf16)
        return bf16_value(h);
    const int e = h >> 10 & 31, m = h & 1023;
    const double v = e == 31 ? (m ? NAN : INFINITY)
                     : e     ? ldexp(1024 + m, e - 25)
                             : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

uint16_t
half_of(double v, int bf16)
{
    const float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (bf16)
        return (uint16_t)(u >> 16);
    if (fabsf(f) < 0x1p-14f)
        return (uint16_t)((u >> 16 & 0x8000) | (uint32_t)ldexp(fabs(v), 24));
    return (uint16_t)((u >> 16 & 0x8000) |
                      (((u & 0x7FFFFFFF) >> 13) - (112u << 10)));
}

double
fp8_value(uint32_t code, int e5m2)
{
    const int bits = e5m2 ? 2 : 3, bias = e5m2 ? 15 : 7;
    const int e = (int)(code & 127) >> bits, m = (int)code & ((1 << bits) - 1);
    double v =
        e ? ldexp((1 << bits) + m, e - bias - bits) : ldexp(m, 1 - bias - bits);
    if (e5m2 && e == 31)
        v = m ? NAN : INFINITY;
    if (!e5m2 && (code & 127) == 127)
        v = NAN;
    return code & 128 ? -v : v;
}
