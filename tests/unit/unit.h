/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - what every unit test starts with. */
#ifndef ATTN_TESTS_UNIT_H
#define ATTN_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <attn/plugin.h>

#include "base/error.h"

/* Runs a suite of this one case; the exit status of the program. */
static inline int
unit_run_case(const char *name, TCase *tests)
{
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The same from a NULL-terminated list of tests. */
static inline int
unit_run(const char *name, const TTest *const *tests, double seconds)
{
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, seconds);
    for (size_t i = 0; tests[i]; i++)
        tcase_add_test(all, tests[i]);
    return unit_run_case(name, all);
}

/* main of a test program: UNIT_MAIN("text", 10, first_test, second_test) */
#define UNIT_MAIN(name, seconds, ...)                      \
    int main(void)                                         \
    {                                                      \
        const TTest *const tests_[] = {__VA_ARGS__, NULL}; \
        return unit_run(name, tests_, seconds);            \
    }

/* expr fails with this status and this text somewhere in the message. */
#define ck_assert_error(expr, err, wanted, text)                       \
    do {                                                               \
        (err) = ATTN_ERROR_INIT;                                       \
        ck_assert_int_eq((expr), (wanted));                            \
        ck_assert_int_eq((err).status, (wanted));                      \
        ck_assert_msg(strstr((err).message, (text)) != NULL,           \
                      "'%s' does not hold '%s'", (err).message, text); \
    } while (0)

/* expr succeeds; its message is shown otherwise. */
#define ck_assert_good(expr, err)                                         \
    do {                                                                  \
        (err) = ATTN_ERROR_INIT;                                          \
        attn_status s_ = (expr);                                          \
        ck_assert_msg(s_ == ATTN_OK, "status %d: %s", s_, (err).message); \
    } while (0)

#endif /* ATTN_TESTS_UNIT_H */
