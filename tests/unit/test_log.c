/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/base.h>
#include <stdio.h>

#include "base/log.h"
#include "unit.h"

static attn_error err;
static char last[1200];
static int lines;

static void
remember(void *arg, int32_t level, const char *subsystem, const char *text)
{
    (*(int *)arg)++;
    snprintf(last, sizeof last, "%s/%s/%s", attn_log_level_str(level),
             subsystem, text);
}

START_TEST(filter_by_subsystem)
{
    attn_log_set_sink(remember, &lines);
    attn_log_write(ATTN_LOG_INFO, "select", "not shown");
    ck_assert_int_eq(lines, 0);
    ck_assert_good(attn_log_configure("warn, select:debug", &err), err);
    attn_log_write(ATTN_LOG_DEBUG, "select", "value %d", 3);
    ck_assert_str_eq(last, "debug/select/value 3");
    attn_log_write(ATTN_LOG_INFO, "plugin", "not shown");
    attn_log_write(ATTN_LOG_TRACE, "select", "not shown");
    ck_assert_int_eq(lines, 1);
    attn_log_write(ATTN_LOG_PLUGIN_MISBEHAVING, "other", "bad");
    ck_assert_str_eq(last, "warn/other/bad");
    ck_assert_good(attn_log_configure("error", &err), err);
    ck_assert_int_eq(attn_log_wants(ATTN_LOG_WARN, "select"), 0);
    ck_assert_int_eq(attn_log_wants(ATTN_LOG_ERROR, "select"), 1);
}
END_TEST

START_TEST(bad_specs_keep_the_old_filter)
{
    ck_assert_good(attn_log_configure("info", &err), err);
    ck_assert_error(attn_log_configure("warm", &err), err, ATTN_E_ARG,
                    "unknown log level 'warm': did you mean 'warn'?");
    ck_assert_error(attn_log_configure("warn,plugins:debug", &err), err,
                    ATTN_E_ARG,
                    "unknown log subsystem 'plugins': did you mean 'plugin'?");
    ck_assert_error(attn_log_configure("", &err), err, ATTN_E_ARG,
                    "unknown log level ''");
    char longer[200];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    ck_assert_error(attn_log_configure(longer, &err), err, ATTN_E_ARG,
                    "log word of 199 bytes: at most 63");
    ck_assert_int_eq(attn_log_wants(ATTN_LOG_INFO, "plugin"), 1);
}
END_TEST

START_TEST(lines_stay_lines)
{
    attn_log_set_sink(remember, &lines);
    attn_log_write(ATTN_LOG_ERROR, "base", "a\nb\x1b[31m");
    ck_assert_str_eq(last, "error/base/a?b?[31m");
    char longer[3000];
    memset(longer, 'y', sizeof longer);
    longer[sizeof longer - 1] = 0;
    attn_log_write(ATTN_LOG_ERROR, "base", "%s", longer);
    ck_assert_uint_eq(strlen(last), 1000 + strlen("error/base/"));
}
END_TEST

UNIT_MAIN("log", 10, filter_by_subsystem, bad_specs_keep_the_old_filter,
          lines_stay_lines)
