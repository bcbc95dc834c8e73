/* SPDX-License-Identifier: Apache-2.0 */
/* Every code of both fp8 types, against the value its fields spell. */
#include "fp8_level.h"
#include "small_float.h"
#include "suite.h"

#include <math.h>

START_TEST(test_every_code)
{
    uint8_t codes[32];
    uint16_t out[32];

    for (unsigned first = 0; first < 256; first += 32) {
        for (unsigned i = 0; i < 32; i++)
            codes[i] = (uint8_t)(first + i);
        fp8_level_widen(codes, _i, out);
        for (unsigned i = 0; i < 32; i++) {
            const double want = fp8_value(first + i, _i);
            const double got = half_value(out[i], 1);
            ck_assert_msg(isnan(want)
                              ? isnan(got)
                              : got == want && !signbit(got) == !signbit(want),
                          "code 0x%02x: %g, want %g", first + i, got, want);
        }
    }
}
END_TEST

int
main(void)
{
    if (!__builtin_cpu_supports("avx512bw"))
        return 77;
    TCase *t = tcase_create("codes");
    tcase_add_loop_test(t, test_every_code, 0, 2);
    return unit_run_case("fp8", t);
}
