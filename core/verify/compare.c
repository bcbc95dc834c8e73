/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/number.h"

#define MAX_FACTOR 2.0
#define MEAN_FACTOR 1.5
#define LSE_ABSOLUTE 1e-5
#define LSE_RELATIVE 2e-6

/* What is summed over the elements of a block. */
typedef struct tally {
    double max, sum;             /* |got - exact| */
    double plain_max, plain_sum; /* |plain - exact| */
    double ulp_max, ulp_sum;     /* of the output at exact */
    double top;                  /* max |exact| */
    uint64_t finite, mask;
    int64_t mask_at;
    double mask_got, mask_want;
} tally;

static int
same_kind(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    return isinf(a) || isinf(b) ? a == b : 1;
}

static void
count_mask(tally *t, int64_t at, double got, double want)
{
    if (!t->mask++) {
        t->mask_at = at;
        t->mask_got = got;
        t->mask_want = want;
    }
}

static void
add(tally *t, attn_verdict *v, attn_dtype dtype, int64_t at, double got,
    double exact, double plain)
{
    if (!same_kind(got, exact)) {
        count_mask(t, at, got, exact);
        return;
    }
    if (!isfinite(exact))
        return;
    const double e = fabs(got - exact), ulp = attn_number_ulp(exact, dtype);
    const double pe = isfinite(plain) ? fabs(plain - exact) : 0;
    if (!t->finite++ || e > t->max) {
        v->worst = at;
        v->worst_got = got;
        v->worst_want = exact;
    }
    t->max = fmax(t->max, e);
    t->sum += e;
    t->plain_max = fmax(t->plain_max, pe);
    t->plain_sum += pe;
    t->ulp_max = fmax(t->ulp_max, ulp);
    t->ulp_sum += ulp;
    t->top = fmax(t->top, fabs(exact));
}

static void
bound(const tally *t, int is_lse, attn_verdict *v)
{
    const double n = t->finite ? (double)t->finite : 1;
    v->max_error = t->max;
    v->mean_error = t->sum / n;
    v->plain_max = fmax(t->plain_max, t->ulp_max / 2);
    v->plain_mean = fmax(t->plain_sum / n, t->ulp_sum / n / 4);
    v->bound_max = MAX_FACTOR * v->plain_max;
    v->bound_mean = MEAN_FACTOR * v->plain_mean;
    if (is_lse) {
        v->plain_max = t->plain_max;
        v->plain_mean = t->plain_sum / n;
        v->bound_max =
            fmax(fmax(LSE_ABSOLUTE, LSE_RELATIVE * t->top), 2 * t->plain_max);
        v->bound_mean = v->bound_max;
    }
}

static void
judge(const tally *t, attn_verdict *v)
{
    v->mask_errors = t->mask;
    v->pass = 0;
    if (t->mask) {
        v->worst = t->mask_at;
        v->worst_got = t->mask_got;
        v->worst_want = t->mask_want;
        snprintf(v->reason, sizeof v->reason,
                 "%s: %llu elements are %s; first at %lld: got %g, want %g",
                 v->name, (unsigned long long)t->mask,
                 isfinite(t->mask_want) ? "NaN or infinite"
                                        : "not the NaN or infinity wanted",
                 (long long)t->mask_at, t->mask_got, t->mask_want);
    } else if (v->max_error > v->bound_max)
        snprintf(v->reason, sizeof v->reason,
                 "%s: max error %.3g, allowed %.3g; at %lld: got %.9g, want "
                 "%.9g",
                 v->name, v->max_error, v->bound_max, (long long)v->worst,
                 v->worst_got, v->worst_want);
    else if (v->mean_error > v->bound_mean)
        snprintf(v->reason, sizeof v->reason,
                 "%s: mean error %.3g, allowed %.3g (%llu elements)", v->name,
                 v->mean_error, v->bound_mean, (unsigned long long)v->count);
    else
        v->pass = 1;
}

static attn_status
check_room(const attn_reference_block *b, const attn_call_tensor *t,
           attn_error *err)
{
    if (!t)
        return attn_error_set(err, ATTN_E_ARG, b->name,
                              "the result has no tensor '%s'", b->name);
    const int64_t last = b->num_rows ? b->rows[b->num_rows - 1] : -1;
    const uint64_t need = ((uint64_t)last + 1) * b->row_size;
    if (!attn_number_format(t->dtype) || need * t->dtype.bits / 8 > t->bytes)
        return attn_error_set(err, ATTN_E_ARG, b->name,
                              "tensor '%s' has %llu bytes, %llu elements are "
                              "needed",
                              b->name, (unsigned long long)t->bytes,
                              (unsigned long long)need);
    return ATTN_OK;
}

attn_status
attn_compare_block(const attn_reference_block *block, const attn_call *result,
                   attn_verdict *verdict, attn_error *err)
{
    const attn_call_tensor *t = attn_call_find(result, block->name);
    attn_status s = check_room(block, t, err);
    if (s)
        return s;
    double *got = malloc((block->row_size + 1) * sizeof *got);
    if (!got)
        return attn_error_nomem(err, block->name, block->row_size);
    attn_verdict v = {.struct_size = sizeof v, .worst = -1};
    tally sum = {0};
    snprintf(v.name, sizeof v.name, "%s", block->name);
    for (uint64_t r = 0; r < block->num_rows; r++) {
        const uint64_t first = (uint64_t)block->rows[r] * block->row_size;
        attn_number_load(got,
                         (const uint8_t *)t->data + first * t->dtype.bits / 8,
                         t->dtype, block->row_size);
        for (uint64_t i = 0; i < block->row_size; i++)
            add(&sum, &v, block->dtype, (int64_t)(first + i), got[i],
                block->exact[r * block->row_size + i],
                block->plain[r * block->row_size + i]);
    }
    free(got);
    v.count = block->num_rows * block->row_size;
    bound(&sum, (int)block->is_lse, &v);
    judge(&sum, &v);
    *verdict = v;
    return ATTN_OK;
}

/* lse is an optional output: what was not asked for is not compared. */
static int
optional_absent(const attn_reference_block *b, const attn_call *result)
{
    return b->is_lse && !attn_call_find(result, b->name);
}

attn_status
attn_compare(const attn_reference *reference, const attn_call *result,
             attn_verdict *verdicts, uint32_t *pass, attn_error *err)
{
    uint32_t all = 1;
    for (size_t i = 0; i < attn_reference_count(reference); i++) {
        const attn_reference_block *b = attn_reference_at(reference, i);
        attn_verdict v = {.struct_size = sizeof v, .pass = 1};
        snprintf(v.name, sizeof v.name, "%s", b->name);
        if (!optional_absent(b, result)) {
            attn_status s = attn_compare_block(b, result, &v, err);
            if (s)
                return s;
        }
        if (verdicts)
            verdicts[i] = v;
        all &= v.pass;
    }
    *pass = all;
    return ATTN_OK;
}
