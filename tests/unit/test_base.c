/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/base.h>

#include "alloc_fail.h"
#include "base/array.h"
#include "base/dtype.h"
#include "unit.h"

static attn_error err;

START_TEST(status_names)
{
    ck_assert_str_eq(attn_status_str(ATTN_OK), "ok");
    ck_assert_str_eq(attn_status_str(ATTN_E_UNSUPPORTED), "unsupported");
    ck_assert_str_eq(attn_status_str(ATTN_E_FORMAT), "malformed file");
    ck_assert_str_eq(attn_status_str(15), "unknown status");
    ck_assert_str_eq(attn_status_str(-1), "unknown status");
    for (attn_status s = 0; s <= ATTN_E_FORMAT; s++)
        ck_assert_ptr_nonnull(attn_status_str(s));
}
END_TEST

START_TEST(dtype_names)
{
    static const char *const names[] = {"bf16", "f16", "f32", "f64", "e4m3",
                                        "e5m2", "i32", "i64", "u8"};
    static const uint32_t bytes[] = {2, 2, 4, 8, 1, 1, 4, 8, 1};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        attn_dtype t;
        ck_assert_good(attn_dtype_parse(names[i], &t, &err), err);
        ck_assert_str_eq(attn_dtype_str(t), names[i]);
        ck_assert_uint_eq(attn_dtype_bytes(t), bytes[i]);
        ck_assert_ptr_nonnull(attn_dtype_safetensors(t));
        ck_assert_int_eq(attn_dtype_is_float(t), i < 6);
    }
    attn_dtype odd = {ATTN_CODE_FLOAT, 24, 1};
    ck_assert_str_eq(attn_dtype_str(odd), "?");
    ck_assert_uint_eq(attn_dtype_bytes(odd), 0);
    ck_assert_ptr_null(attn_dtype_safetensors(odd));
    ck_assert_error(attn_dtype_parse("fp16", &odd, &err), err, ATTN_E_ARG,
                    "unknown dtype 'fp16': known are bf16");
}
END_TEST

START_TEST(errors_are_one_line)
{
    ck_assert_error(attn_error_set(&err, ATTN_E_ARG, "a.b", "x\ny %d", 3), err,
                    ATTN_E_ARG, "x?y 3");
    ck_assert_str_eq(err.where, "a.b");
    char longer[500];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    attn_error_set(&err, ATTN_E_ARG, longer, "%s", longer);
    ck_assert_uint_eq(strlen(err.where), sizeof err.where - 1);
    ck_assert_uint_eq(strlen(err.message), sizeof err.message - 1);
    ck_assert_str_eq(err.message + sizeof err.message - 5, "x...");
    ck_assert_int_eq(attn_error_set(NULL, ATTN_E_ARG, NULL, "x"), ATTN_E_ARG);
    ck_assert_error(attn_error_io(&err, 2, "path", "cannot open %s", "/nix"),
                    err, ATTN_E_IO, "cannot open /nix: No such file");
    ck_assert_int_eq(err.native, 2);
    ck_assert_error(attn_error_nomem(&err, "x", 12), err, ATTN_E_NOMEM,
                    "no 12 bytes");
    attn_error older = {.struct_size = 8, .status = 77};
    attn_error_set(&older, ATTN_E_ARG, "x", "y");
    ck_assert_int_eq(older.status, 77);
}
END_TEST

START_TEST(arrays_grow)
{
    int *data = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        int *grown = attn_array_reserve(data, &capacity, i + 1, sizeof *data);
        ck_assert_ptr_nonnull(grown);
        data = grown;
        data[i] = (int)i;
    }
    for (size_t i = 0; i < 1000; i++)
        ck_assert_int_eq(data[i], (int)i);
    ck_assert_ptr_null(attn_array_reserve(data, &capacity, SIZE_MAX, 4));
    free(data);
}
END_TEST

static char *
build_text(void)
{
    attn_strbuf b = {0};
    for (int i = 0; i < 100; i++) {
        attn_strbuf_addf(&b, "%d", i % 10);
        attn_strbuf_add(&b, ",");
    }
    return attn_strbuf_take(&b);
}

START_TEST(text_grows)
{
    attn_strbuf b = {0};
    char *empty = attn_strbuf_take(&b);
    ck_assert_str_eq(empty, "");
    free(empty);
    alloc_fail_start(ALLOC_FAIL_NEVER);
    char *text = build_text();
    size_t n = alloc_fail_stop();
    ck_assert_uint_eq(strlen(text), 200);
    ck_assert_int_eq(strncmp(text, "0,1,2,", 6), 0);
    free(text);
    ck_assert_uint_gt(n, 2);
    for (size_t i = 0; i < n; i++) {
        alloc_fail_start(i);
        text = build_text();
        alloc_fail_stop();
        ck_assert_ptr_null(text);
    }
}
END_TEST

UNIT_MAIN("base", 10, status_names, dtype_names, errors_are_one_line,
          arrays_grow, text_grows)
