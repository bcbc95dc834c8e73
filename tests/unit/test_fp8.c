/* SPDX-License-Identifier: Apache-2.0 */
/* Every code of both fp8 types, against the value its fields spell. */
#include "fp8_level.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double
value_of(unsigned code, int e5m2)
{
    const int mbits = e5m2 ? 2 : 3, bias = e5m2 ? 15 : 7;
    const unsigned m = code & ((1u << mbits) - 1);
    const int e = (int)((code & 0x7f) >> mbits);
    double x = e ? ldexp(1.0 + ldexp(m, -mbits), e - bias)
                 : ldexp(m, 1 - bias - mbits);
    if (!e5m2 && (code & 0x7f) == 0x7f)
        x = NAN;
    if (e5m2 && e == 31)
        x = m ? NAN : INFINITY;
    return code & 0x80 ? -x : x;
}

START_TEST(test_every_code)
{
    uint8_t codes[32];
    uint16_t out[32];

    for (unsigned first = 0; first < 256; first += 32) {
        for (unsigned i = 0; i < 32; i++)
            codes[i] = (uint8_t)(first + i);
        fp8_level_widen(codes, _i, out);
        for (unsigned i = 0; i < 32; i++) {
            const uint32_t bits = (uint32_t)out[i] << 16;
            const double want = value_of(first + i, _i);
            float got;
            memcpy(&got, &bits, sizeof got);
            ck_assert_msg(isnan(want) ? isnan(got)
                                      : (double)got == want &&
                                            !signbit(got) == !signbit(want),
                          "code 0x%02x: %g, want %g", first + i, (double)got,
                          want);
        }
    }
}
END_TEST

int
main(void)
{
    if (!__builtin_cpu_supports("avx512bw"))
        return 77;
    Suite *s = suite_create("fp8");
    TCase *t = tcase_create("codes");
    tcase_add_loop_test(t, test_every_code, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
