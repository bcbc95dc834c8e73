/* SPDX-License-Identifier: Apache-2.0 */
/* suite.h - the main of a test program; needs Check alone. */
#ifndef ATTN_TESTS_SUITE_H
#define ATTN_TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Runs a suite of this one case, each test in a child or, with CK_NOFORK, in
 * this process; the exit status of the program. */
static inline int
unit_run_as(enum fork_status how, const char *name, TCase *tests)
{
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, how);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The same in children, unless the environment's CK_FORK says no. */
static inline int
unit_run_case(const char *name, TCase *tests)
{
    return unit_run_as(CK_FORK_GETENV, name, tests);
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

#endif /* ATTN_TESTS_SUITE_H */
