/* SPDX-License-Identifier: Apache-2.0 */
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <attn/verify.h>

#include "base/error.h"
#include "suite.h"

/* Recorded values were computed in double precision by other code from the
 * same stored inputs: what remains is the order of summation, and where the
 * recorded scale is no float, its rounding. */
#define FP64_BOUND 2e-11
#define SCALE_BOUND 1e-7

static size_t files, blocks;

static double
bound_of(const attn_call *call)
{
    const attn_layer *l = attn_call_layer(call);
    int e;
    float scale = 1;
    if (!strcmp(l->family, ATTN_FAMILY_FLASH))
        scale = ((const attn_flash_layer *)l)->scale;
    else if (!strcmp(l->family, ATTN_FAMILY_MLA))
        scale = ((const attn_mla_layer *)l)->scale;
    const double m = frexp((double)scale, &e);
    return m == 0.5 || m == 1 ? FP64_BOUND : SCALE_BOUND;
}

static void
check_block(const char *path, const attn_reference_block *b,
            const attn_call *call)
{
    const double bound = bound_of(call);
    char name[48];
    snprintf(name, sizeof name, "expected.%s", b->name);
    const attn_call_tensor *t = attn_call_find(call, name);
    ck_assert_msg(t != NULL, "%s lacks %s", path, name);
    ck_assert_uint_eq(t->dtype.bits, 64);
    const double *want = t->data;
    ck_assert_uint_eq(b->num_rows * b->row_size * sizeof *want, t->bytes);
    for (uint64_t i = 0; i < b->num_rows * b->row_size; i++) {
        const double w = want[i], g = b->exact[i];
        if (isnan(w) || isinf(w))
            ck_assert_msg(isnan(w) ? isnan(g) : w == g, "%s %s[%llu] %g %g",
                          path, b->name, (unsigned long long)i, g, w);
        else
            ck_assert_msg(fabs(w - g) <= bound * (1 + fabs(w)),
                          "%s %s[%llu] = %.17g, recorded %.17g", path, b->name,
                          (unsigned long long)i, g, w);
    }
    blocks++;
}

/* The plain implementation, taken as a backend, is within its own rule, and
 * not exact where the output is rounded. */
static void
check_plain(const char *path, const attn_reference_block *b)
{
    double worst = 0;
    for (uint64_t i = 0; i < b->num_rows * b->row_size; i++)
        if (isfinite(b->exact[i]))
            worst = fmax(worst, fabs(b->plain[i] - b->exact[i]) /
                                    fmax(1, fabs(b->exact[i])));
    ck_assert_msg(worst < 0.05, "%s: plain %s is off by %g", path, b->name,
                  worst);
}

static void
check_file(const char *path)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    attn_reference *ref = NULL;
    ck_assert_msg(attn_call_load(path, &call, &err) == ATTN_OK, "%s",
                  err.message);
    ck_assert_msg(attn_reference_create(call, 0, 0, &ref, &err) == ATTN_OK,
                  "%s: %s", path, err.message);
    for (size_t i = 0; i < attn_reference_count(ref); i++) {
        check_block(path, attn_reference_at(ref, i), call);
        check_plain(path, attn_reference_at(ref, i));
    }
    attn_reference_free(ref);
    attn_call_free(call);
    files++;
}

START_TEST(recorded_calls)
{
    glob_t found;
    char pattern[512];
    const char *dir = getenv("shared_dir");
    snprintf(pattern, sizeof pattern, "%s/cases/*.safetensors",
             dir ? dir : "../shared");
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_file(found.gl_pathv[i]);
    globfree(&found);
}
END_TEST

int
main(void)
{
    TCase *t = tcase_create("recorded");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, recorded_calls);
    const int status = unit_run_as(CK_NOFORK, "oracle", t);
    printf("%zu recorded calls, %zu outputs\n", files, blocks);
    return status || files ? status : 77;
}
