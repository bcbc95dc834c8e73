/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/probe.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "plugin/trust.h"
#include "unit.h"

static attn_error err;

static void
open_plugin(attn_file *file)
{
    char path[PATH_MAX];
    const char *top = getenv("top_builddir");
    snprintf(path, sizeof path, "%s/tests/unit/.libs/slow_once.so",
             top ? top : ".");
    ck_assert_good(attn_file_open(path, file, &err), err);
}

static attn_status
probe(const attn_file *file, uint32_t limit_ms, uint32_t *harmful)
{
    const attn_probe_params params = {.limit_ms = limit_ms, .label = "test"};
    return attn_probe_run(file, &params, harmful, &err);
}

START_TEST(a_good_plugin)
{
    attn_file file;
    uint32_t harmful = 7;
    unsetenv("PROBE_TEST_MARK");
    open_plugin(&file);
    ck_assert_good(probe(&file, 20000, &harmful), err);
    ck_assert_uint_eq(harmful, 0);
    attn_file_close(&file);
}
END_TEST

/* What the machine lost in the meantime is not the plugin's doing. */
START_TEST(a_file_that_went_away)
{
    attn_file file = {.path = "/nonexistent/gone.so"};
    uint32_t harmful = 7;
    ck_assert_error(probe(&file, 20000, &harmful), err, ATTN_E_REFUSED,
                    "/nonexistent/gone.so: No such file or directory");
    ck_assert_uint_eq(harmful, 0);
}
END_TEST

static void
mark(char *path)
{
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    setenv("PROBE_TEST_MARK", path, 1);
}

/* Slow once, on a cold disk, then good: nothing harmful is left of it. */
START_TEST(a_second_chance)
{
    char path[] = "/tmp/attn-probe-XXXXXX";
    attn_file file;
    uint32_t harmful = 7;
    mark(path);
    open_plugin(&file);
    ck_assert_good(probe(&file, 3000, &harmful), err);
    ck_assert_int_ne(access(path, F_OK), 0); /* it did hang at first */
    ck_assert_uint_eq(harmful, 0);
    attn_file_close(&file);
}
END_TEST

START_TEST(a_hang)
{
    attn_file file;
    uint32_t harmful = 0;
    setenv("PROBE_TEST_MARK", "/tmp", 1);
    open_plugin(&file);
    ck_assert_error(probe(&file, 50, &harmful), err, ATTN_E_REFUSED,
                    "no answer in 250 ms while loading (killed)");
    ck_assert_uint_eq(harmful, 1);
    attn_probe_set_limit(20);
    ck_assert_error(probe(&file, 20000, &harmful), err, ATTN_E_REFUSED,
                    "no answer in 100 ms");
    attn_probe_set_limit(0);
    attn_file_close(&file);
}
END_TEST

/* In a tree that others may write to, attn-probe is not run at all. */
static bool
probe_is_distrusted(void)
{
    char path[PATH_MAX], program[PATH_MAX];
    const char *top = getenv("top_builddir");
    snprintf(path, sizeof path, "%s/attn-probe", top ? top : ".");
    return realpath(path, program) && access(program, X_OK) == 0 &&
           attn_trust_check(program, &err) != ATTN_OK;
}

int
main(void)
{
    err = ATTN_ERROR_INIT;
    if (probe_is_distrusted()) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    const TTest *const tests[] = {a_good_plugin, a_file_that_went_away,
                                  a_second_chance, a_hang, NULL};
    return unit_run("probe", tests, 120);
}
