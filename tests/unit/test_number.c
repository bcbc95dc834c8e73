/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "verify/number.h"
#include "verify/support.h"

static const attn_dtype TYPES[] = {ATTN_F16, ATTN_BF16, ATTN_E4M3, ATTN_E5M2};
#define NUM_TYPES (sizeof TYPES / sizeof *TYPES)

static double
value(attn_dtype t, uint32_t code)
{
    const uint16_t wide = (uint16_t)code;
    const uint8_t narrow = (uint8_t)code;
    double v;
    attn_number_load(&v, t.bits == 16 ? (const void *)&wide : &narrow, t, 1);
    return v;
}

static uint32_t
code_of(attn_dtype t, double v)
{
    uint16_t wide = 0;
    uint8_t narrow = 0;
    attn_number_store(t.bits == 16 ? (void *)&wide : &narrow, &v, t, 1);
    return t.bits == 16 ? wide : narrow;
}

/* Every code of every type goes through double and back. */
START_TEST(codes_survive)
{
    const attn_dtype t = TYPES[_i];
    for (uint32_t c = 0; c < 1u << t.bits; c++) {
        const double v = value(t, c);
        if (isnan(v))
            ck_assert(isnan(value(t, code_of(t, v))));
        else if (isinf(v) && t.bits == 8)
            ck_assert_double_eq(value(t, code_of(t, v)),
                                copysign(57344.0, v)); /* saturates */
        else
            ck_assert_uint_eq(code_of(t, v), c);
    }
}
END_TEST

/* Between two neighbours: the nearer one, and in the middle the even code. */
START_TEST(rounds_to_nearest_even)
{
    const attn_dtype t = TYPES[_i];
    for (uint32_t c = 0; c + 1 < 1u << (t.bits - 1); c++) {
        const double a = value(t, c), b = value(t, c + 1);
        if (!isfinite(a) || !isfinite(b))
            continue;
        const double mid = a + (b - a) / 2;
        const uint32_t even = c % 2 ? c + 1 : c;
        ck_assert_uint_eq(code_of(t, mid), even);
        ck_assert_uint_eq(code_of(t, nextafter(mid, a)), c);
        ck_assert_uint_eq(code_of(t, nextafter(mid, b)), c + 1);
        ck_assert_double_eq(attn_number_round(mid, t), value(t, even));
        ck_assert_double_eq(attn_number_ulp(a, t), b - a);
    }
}
END_TEST

/* The fast rounding of the plain implementation is the same rounding. */
START_TEST(operands_round_alike)
{
    uint64_t x = 88172645463325252ull;
    for (int i = 0; i < 200000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        const uint32_t bits = (uint32_t)(x >> 16);
        float v;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        for (int k = 0; k < 2; k++) {
            const double want = attn_number_round((double)v, TYPES[k]);
            const float got = attn_operand_round(v, attn_operand_of(TYPES[k]));
            ck_assert_msg((double)got == want, "%a: %a, not %a", (double)v,
                          (double)got, want);
        }
    }
}
END_TEST

START_TEST(known_values)
{
    ck_assert_double_eq(value(TYPES[2], 0x7E), 448.0);
    ck_assert_double_eq(value(TYPES[2], 0x01), 0x1p-9);
    ck_assert(isnan(value(TYPES[2], 0x7F)));
    ck_assert(isnan(value(TYPES[2], 0xFF)));
    ck_assert_double_eq(value(TYPES[3], 0x7B), 57344.0);
    ck_assert(isinf(value(TYPES[3], 0x7C)));
    ck_assert_double_eq(value(TYPES[0], 0x7BFF), 65504.0);
    ck_assert_double_eq(value(TYPES[1], 0x3F80), 1.0);
    ck_assert_uint_eq(code_of(TYPES[2], 1e9), 0x7E);
    ck_assert_uint_eq(code_of(TYPES[2], -1e9), 0xFE);
    ck_assert_uint_eq(code_of(TYPES[0], 1e9), 0x7C00);
}
END_TEST

/* Four rows at once give each row's own bits, odd counts too. */
START_TEST(rows_grow_as_alone)
{
    enum { N = 37, COUNT = 9, STRIDE = 11 };
    float x[COUNT * N], w[4 * STRIDE], four[4 * N] = {0}, alone[4 * N] = {0};
    for (uint64_t i = 0; i < COUNT * N; i++)
        x[i] = (float)sin((double)i);
    for (uint64_t i = 0; i < 4 * STRIDE; i++)
        w[i] = (float)cos((double)i * 3);
    attn_axpy4_f32(four, x, w, STRIDE, COUNT, N);
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < COUNT; i++)
            attn_axpy_f32(alone + k * N, x + i * N, w[k * STRIDE + i], N);
    ck_assert_mem_eq(four, alone, sizeof four);
    ck_assert_float_ne(four[4 * N - 1], 0);
}
END_TEST

int
main(void)
{
    TCase *t = tcase_create("formats");
    tcase_add_loop_test(t, codes_survive, 0, NUM_TYPES);
    tcase_add_loop_test(t, rounds_to_nearest_even, 0, NUM_TYPES);
    tcase_add_test(t, operands_round_alike);
    tcase_add_test(t, known_values);
    tcase_add_test(t, rows_grow_as_alone);
    return unit_run_case("number", t);
}
