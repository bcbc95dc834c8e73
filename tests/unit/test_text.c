/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include "unit.h"

static attn_error err;

START_TEST(whole_numbers)
{
    int64_t v = 7;
    ck_assert_good(attn_text_parse_i64("-12", -20, 20, "n", &v, &err), err);
    ck_assert_int_eq(v, -12);
    ck_assert_error(attn_text_parse_i64("0x1F", 0, 31, "n", &v, &err), err,
                    ATTN_E_ARG, "n '0x1F': not a whole number");
    ck_assert_good(attn_text_parse_i64("010", 0, 31, "n", &v, &err), err);
    ck_assert_int_eq(v, 10);
    ck_assert_error(attn_text_parse_i64("12x", 0, 31, "n", &v, &err), err,
                    ATTN_E_ARG, "n '12x': not a whole number");
    ck_assert_error(attn_text_parse_i64("", 0, 31, "n", &v, &err), err,
                    ATTN_E_ARG, "not a whole number");
    ck_assert_error(attn_text_parse_i64(" 1", 0, 31, "n", &v, &err), err,
                    ATTN_E_ARG, "not a whole number");
    ck_assert_error(attn_text_parse_i64("32", 0, 31, "n", &v, &err), err,
                    ATTN_E_ARG, "n 32: outside 0 to 31");
    ck_assert_error(attn_text_parse_i64("99999999999999999999", 0, INT64_MAX,
                                        "n", &v, &err),
                    err, ATTN_E_ARG, "outside");
    ck_assert_int_eq(v, 10);
}
END_TEST

START_TEST(unsigned_numbers)
{
    uint32_t v = 0;
    ck_assert_good(
        attn_text_parse_u32("4294967295", 0, UINT32_MAX, "n", &v, &err), err);
    ck_assert_uint_eq(v, UINT32_MAX);
    ck_assert_error(
        attn_text_parse_u32("4294967296", 0, UINT32_MAX, "n", &v, &err), err,
        ATTN_E_ARG, "outside 0 to 4294967295");
    ck_assert_error(attn_text_parse_u32("-1", 0, UINT32_MAX, "n", &v, &err),
                    err, ATTN_E_ARG, "n -1: outside");
}
END_TEST

START_TEST(real_numbers)
{
    double v = 0;
    ck_assert_good(attn_text_parse_f64("1.5e-2", 0, 1, "f", &v, &err), err);
    ck_assert_double_eq(v, 0.015);
    ck_assert_error(attn_text_parse_f64("1,5", 0, 2, "f", &v, &err), err,
                    ATTN_E_ARG, "f '1,5': not a number");
    ck_assert_error(attn_text_parse_f64("nan", 0, 2, "f", &v, &err), err,
                    ATTN_E_ARG, "not a number");
    ck_assert_error(attn_text_parse_f64("1e999", 0, 2, "f", &v, &err), err,
                    ATTN_E_ARG, "f 1e999: outside 0 to 2");
}
END_TEST

START_TEST(words_sizes_ranges)
{
    uint32_t a = 9, b = 9;
    uint64_t bytes = 0;
    ck_assert_good(attn_text_parse_bool("on", "b", &a, &err), err);
    ck_assert_uint_eq(a, 1);
    ck_assert_error(attn_text_parse_bool("maybe", "b", &a, &err), err,
                    ATTN_E_ARG, "b 'maybe': neither yes nor no");
    ck_assert_good(attn_text_parse_size("64k", "s", &bytes, &err), err);
    ck_assert_uint_eq(bytes, 65536);
    ck_assert_error(attn_text_parse_size("64kB", "s", &bytes, &err), err,
                    ATTN_E_ARG, "s '64kB': not a size");
    ck_assert_error(attn_text_parse_size("9999999999G", "s", &bytes, &err), err,
                    ATTN_E_ARG, "outside");
    ck_assert_good(attn_text_parse_range("4-9", "r", &a, &b, &err), err);
    ck_assert_uint_eq(a, 4);
    ck_assert_uint_eq(b, 9);
    ck_assert_good(attn_text_parse_range("3", "r", &a, &b, &err), err);
    ck_assert_uint_eq(b, 3);
    static const char *const bad[] = {"9-4", "4-", "-4", "a-b", "1-2-3", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_error(attn_text_parse_range(bad[i], "r", &a, &b, &err), err,
                        ATTN_E_ARG, "not a range");
    ck_assert_good(attn_text_parse_choice("no", "auto|yes|no", "c", &a, &err),
                   err);
    ck_assert_uint_eq(a, 2);
    ck_assert_error(attn_text_parse_choice("n", "auto|yes|no", "c", &a, &err),
                    err, ATTN_E_ARG, "c 'n': must be one of auto|yes|no");
}
END_TEST

START_TEST(nearest_names)
{
    ck_assert_uint_eq(attn_text_distance("priority", "priority"), 0);
    ck_assert_uint_eq(attn_text_distance("priorty", "priority"), 1);
    ck_assert_uint_eq(attn_text_distance("prioirty", "priority"), 1);
    ck_assert_uint_eq(attn_text_distance("", "abc"), 3);
    ck_assert_uint_eq(attn_text_distance("kitten", "sitting"), 3);
    attn_nearest n = {.text = "librray"};
    attn_nearest_offer(&n, "enabled");
    attn_nearest_offer(&n, "library");
    attn_nearest_offer(&n, "log");
    ck_assert_str_eq(n.name, "library");
    char buf[64];
    ck_assert_str_eq(attn_nearest_hint(&n, buf, sizeof buf),
                     ": did you mean 'library'?");
    attn_nearest none = {.text = "zzzzzz"};
    attn_nearest_offer(&none, "library");
    ck_assert_ptr_null(none.name);
    ck_assert_str_eq(attn_nearest_hint(&none, buf, sizeof buf), "");
    attn_nearest short_one = {.text = "xyz"};
    attn_nearest_offer(&short_one, "log");
    ck_assert_ptr_null(short_one.name);
}
END_TEST

UNIT_MAIN("text", 10, whole_numbers, unsigned_numbers, real_numbers,
          words_sizes_ranges, nearest_names)
