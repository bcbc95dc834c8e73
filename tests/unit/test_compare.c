/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <attn/verify.h>

#include "unit.h"

#define N 4

static const attn_dtype FLOAT32 = ATTN_F32, BFLOAT = ATTN_BF16;
static const int64_t ROWS[] = {0, 1};

/* The verdict on two rows of two elements. */
static attn_verdict
judge(attn_dtype dtype, int is_lse, const double *exact, const double *plain,
      const float *got)
{
    static const attn_flash_layer LAYER = {
        .head = {sizeof LAYER, 0, ATTN_FAMILY_FLASH, 0}};
    attn_reference_block b = {.name = is_lse ? "lse" : "out",
                              .dtype = dtype,
                              .is_lse = (uint32_t)is_lse,
                              .num_rows = 2,
                              .row_size = 2,
                              .rows = ROWS,
                              .exact = exact,
                              .plain = plain};
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    attn_verdict v = {0};
    const int64_t shape[] = {N};
    ck_assert(!attn_call_create(&LAYER.head, &call, &err));
    ck_assert(!attn_call_add(call, b.name, FLOAT32, 1, shape, got, NULL, &err));
    ck_assert(!attn_compare_block(&b, call, &v, &err));
    attn_call_free(call);
    return v;
}

/* Plain is off by 1/64 at one element: twice that passes, more does not. */
START_TEST(max_is_twice_plain)
{
    const double exact[N] = {1, 1, 1, 1};
    const double plain[N] = {1 + 1.0 / 64, 1 - 1.0 / 64, 1, 1};
    const float good[N] = {1 + 2.0f / 64, 1, 1, 1};
    const float bad[N] = {1 + 2.1f / 64, 1, 1, 1};
    attn_verdict v = judge(FLOAT32, 0, exact, plain, good);
    ck_assert_msg(v.pass, "%s", v.reason);
    ck_assert_double_eq(v.bound_max, 2.0 / 64);
    v = judge(FLOAT32, 0, exact, plain, bad);
    ck_assert(!v.pass);
    ck_assert_int_eq(v.worst, 0);
    ck_assert_ptr_nonnull(strstr(v.reason, "max error"));
}
END_TEST

START_TEST(mean_is_one_and_a_half_plain)
{
    const double exact[N] = {1, 1, 1, 1};
    const double plain[N] = {1 + 1.0 / 64, 1, 1, 1};
    const float good[N] = {1 + 1.5f / 64, 1, 1, 1};
    const float bad[N] = {1 + 1.5f / 64, 1 + 0.1f / 64, 1, 1};
    ck_assert(judge(FLOAT32, 0, exact, plain, good).pass);
    const attn_verdict v = judge(FLOAT32, 0, exact, plain, bad);
    ck_assert(!v.pass);
    ck_assert_ptr_nonnull(strstr(v.reason, "mean error"));
}
END_TEST

/* A plain result without any error counts as one rounding of the output. */
START_TEST(plain_counts_as_one_rounding)
{
    const double exact[N] = {1, 1, 1, 1};
    const float one[N] = {1 + 0x1p-7f, 1, 1, 1}; /* one bf16 ulp */
    const float two[N] = {1 + 0x1p-6f, 1, 1, 1};
    const float all[N] = {1 + 0x1p-8f, 1 + 0x1p-8f, 1 + 0x1p-8f, 1};
    attn_verdict v = judge(BFLOAT, 0, exact, exact, one);
    ck_assert_msg(v.pass, "%s", v.reason);
    ck_assert_double_eq(v.plain_max, 0x1p-8);
    ck_assert_double_eq(v.plain_mean, 0x1p-9);
    ck_assert(!judge(BFLOAT, 0, exact, exact, two).pass);
    ck_assert(!judge(FLOAT32, 0, exact, exact, one).pass);
    ck_assert(judge(BFLOAT, 0, exact, exact, all).pass);
}
END_TEST

START_TEST(masks_are_identical)
{
    const double exact[N] = {1, -INFINITY, 0, 1};
    const float good[N] = {1, -INFINITY, 0, 1};
    const float sign[N] = {1, INFINITY, 0, 1};
    const float nan[N] = {1, -INFINITY, NAN, 1};
    const float finite[N] = {1, -1e30f, 0, 1};
    ck_assert(judge(FLOAT32, 1, exact, exact, good).pass);
    ck_assert(!judge(FLOAT32, 1, exact, exact, sign).pass);
    ck_assert(!judge(FLOAT32, 1, exact, exact, nan).pass);
    const attn_verdict v = judge(FLOAT32, 1, exact, exact, finite);
    ck_assert(!v.pass);
    ck_assert_uint_eq(v.mask_errors, 1);
    ck_assert_int_eq(v.worst, 1);
}
END_TEST

START_TEST(lse_has_its_own_bound)
{
    const double exact[N] = {1, 2, 3, 4}, big[N] = {1, 2, 3, 100};
    const float near[N] = {1 + 8e-6f, 2, 3, 4}, far[N] = {1 + 13e-6f, 2, 3, 4};
    const float wide[N] = {1 + 150e-6f, 2, 3, 100};
    ck_assert(judge(FLOAT32, 1, exact, exact, near).pass);
    ck_assert(!judge(FLOAT32, 1, exact, exact, far).pass);
    ck_assert(judge(FLOAT32, 1, big, big, wide).pass);
}
END_TEST

UNIT_MAIN("compare", 10, max_is_twice_plain, mean_is_one_and_a_half_plain,
          plain_counts_as_one_rounding, masks_are_identical,
          lse_has_its_own_bound)
