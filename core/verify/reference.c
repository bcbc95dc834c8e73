/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/oracle.h"

#define MAX_BLOCKS 4

struct attn_reference {
    attn_reference_block blocks[MAX_BLOCKS];
    size_t count;
};

static const attn_dtype FLOAT32 = ATTN_F32;

attn_status
attn_reference_add(attn_reference *reference, const char *name,
                   attn_dtype dtype, size_t num_rows, size_t row_size,
                   const int64_t *rows, double **exact, double **plain,
                   attn_error *err)
{
    attn_reference_block *b = &reference->blocks[reference->count];
    const size_t n = num_rows * row_size + 1;
    int64_t *copy = malloc((num_rows + 1) * sizeof *copy);
    *exact = calloc(n, sizeof **exact);
    *plain = calloc(n, sizeof **plain);
    *b = (attn_reference_block){name,     dtype,    !strcmp(name, "lse"),
                                num_rows, row_size, copy,
                                *exact,   *plain};
    reference->count++;
    if (!copy || !*exact || !*plain)
        return attn_error_nomem(err, name, n * sizeof **exact);
    if (num_rows)
        memcpy(copy, rows, num_rows * sizeof *copy);
    return ATTN_OK;
}

static attn_status
attention_shape(const attn_problem *p, uint32_t *heads, size_t *dv,
                attn_dtype *out)
{
    if (p->kind == ATTN_KIND_FLASH) {
        *heads = attn_problem_flash(p)->num_heads;
        *dv = attn_problem_flash(p)->head_dim_v;
        *out = attn_problem_flash(p)->out_dtype;
    } else {
        *heads = attn_problem_mla(p)->num_heads;
        *dv = attn_problem_mla(p)->v_head_dim;
        *out = attn_problem_mla(p)->out_dtype;
    }
    return ATTN_OK;
}

static attn_status
make_attention(attn_reference *to, const attn_problem *p, uint32_t max_rows,
               uint32_t flags, attn_error *err)
{
    uint32_t heads;
    size_t dv;
    attn_dtype out;
    attn_sample s;
    attention_shape(p, &heads, &dv, &out);
    attn_status status = attn_sample_create(&s, p, heads, max_rows,
                                            p->kind == ATTN_KIND_MLA, err);
    if (status)
        return status;
    attn_results results = {.want_plain = !(flags & ATTN_REFERENCE_EXACT_ONLY)};
    int64_t *rows = malloc((s.count + 1) * sizeof *rows);
    for (size_t i = 0; rows && i < s.count; i++)
        rows[i] = (int64_t)s.rows[i].token * heads + s.rows[i].head;
    status = rows ? attn_reference_add(to, "out", out, s.count, dv, rows,
                                       &results.out, &results.plain_out, err)
                  : attn_error_nomem(err, "reference", s.count);
    if (!status)
        status = attn_reference_add(to, "lse", FLOAT32, s.count, 1, rows,
                                    &results.lse, &results.plain_lse, err);
    if (!status)
        status = p->kind == ATTN_KIND_FLASH
                     ? attn_oracle_flash(p, &s, &results, err)
                     : attn_oracle_mla(p, &s, &results, err);
    free(rows);
    attn_sample_clear(&s);
    return status;
}

/* Recorded values in double precision replace the oracle's. */
static attn_status
use_expected(attn_reference *reference, const attn_call *call, attn_error *err)
{
    for (size_t i = 0; i < reference->count; i++) {
        const attn_reference_block *b = &reference->blocks[i];
        char name[48];
        snprintf(name, sizeof name, "expected.%s", b->name);
        const attn_call_tensor *t = attn_call_find(call, name);
        if (!t || t->dtype.code != ATTN_CODE_FLOAT || t->dtype.bits != 64)
            continue;
        for (uint64_t k = 0; k < b->num_rows; k++) {
            const uint64_t at = (uint64_t)b->rows[k] * b->row_size;
            if ((at + b->row_size) * sizeof(double) > t->bytes)
                return attn_error_set(err, ATTN_E_FORMAT, "expected",
                                      "tensor '%s' is too small", name);
            memcpy((double *)(uintptr_t)b->exact + k * b->row_size,
                   (const double *)t->data + at, b->row_size * sizeof(double));
        }
    }
    return ATTN_OK;
}

static attn_status
fill(attn_reference *to, const attn_problem *p, uint32_t max_rows,
     uint32_t flags, attn_error *err)
{
    const int recurrent =
        p->kind == ATTN_KIND_MAMBA2 || p->kind == ATTN_KIND_MAMBA1;
    attn_status status = recurrent
                             ? attn_oracle_mamba(p, max_rows, to, err)
                             : make_attention(to, p, max_rows, flags, err);
    if (!status && (flags & ATTN_REFERENCE_USE_EXPECTED))
        status = use_expected(to, p->call, err);
    for (size_t i = 0; !status && i < to->count; i++)
        if (flags & ATTN_REFERENCE_EXACT_ONLY)
            memcpy((double *)(uintptr_t)to->blocks[i].plain,
                   to->blocks[i].exact,
                   to->blocks[i].num_rows * to->blocks[i].row_size *
                       sizeof(double));
    return status;
}

attn_status
attn_reference_create(const attn_call *call, uint32_t max_rows, uint32_t flags,
                      attn_reference **reference, attn_error *err)
{
    attn_problem p;
    attn_status status = attn_problem_read(&p, call, err);
    if (status)
        return status;
    attn_reference *made = calloc(1, sizeof *made);
    status = made ? fill(made, &p, max_rows, flags, err)
                  : attn_error_nomem(err, "reference", sizeof *made);
    attn_problem_clear(&p);
    if (status)
        attn_reference_free(made);
    else
        *reference = made;
    return status;
}

void
attn_reference_free(attn_reference *reference)
{
    if (!reference)
        return;
    for (size_t i = 0; i < reference->count; i++) {
        free((void *)(uintptr_t)reference->blocks[i].rows);
        free((void *)(uintptr_t)reference->blocks[i].exact);
        free((void *)(uintptr_t)reference->blocks[i].plain);
    }
    free(reference);
}

size_t
attn_reference_count(const attn_reference *reference)
{
    return reference->count;
}

const attn_reference_block *
attn_reference_at(const attn_reference *reference, size_t index)
{
    return index < reference->count ? &reference->blocks[index] : NULL;
}
