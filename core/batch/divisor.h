/* SPDX-License-Identifier: Apache-2.0 */
/* Division by a number that is fixed for a loop, as one multiplication.
 *
 * For 1 <= d < 2^31 let l = ceil(log2 d) and m = ceil(2^(31+l) / d), which
 * fits in 32 bits. Then n / d == (n * m) >> (31 + l) for every n < 2^31,
 * since n * (m * d - 2^(31+l)) < 2^31 * 2^l. */
#ifndef ATTN_BATCH_DIVISOR_H
#define ATTN_BATCH_DIVISOR_H

#include <stdint.h>

typedef struct divisor {
    uint32_t value;
    uint32_t multiplier;
    uint32_t shift;
} divisor;

static inline divisor
divisor_of(uint32_t d)
{
    uint32_t log = d > 1 ? 32u - (uint32_t)__builtin_clz(d - 1) : 0;
    uint64_t power = UINT64_C(1) << (31 + log);
    divisor result = {d, (uint32_t)((power + d - 1) / d), 31 + log};

    return result;
}

/* n / d, for n < 2^31. */
static inline uint32_t
divisor_div(divisor d, uint32_t n)
{
    return (uint32_t)(((uint64_t)n * d.multiplier) >> d.shift);
}

/* The slot of a position of the request whose row of a block table this is;
 * d: the block size. */
static inline int64_t
divisor_slot(divisor d, const int32_t *row, uint32_t position)
{
    uint32_t page = divisor_div(d, position);

    return (int64_t)row[page] * d.value + (position - page * d.value);
}

/* ceil(n / d), for n < 2^31. */
static inline uint32_t
divisor_ceil(divisor d, uint32_t n)
{
    uint32_t floor = divisor_div(d, n);

    return floor + (floor * d.value != n);
}

#endif /* ATTN_BATCH_DIVISOR_H */
