/* SPDX-License-Identifier: Apache-2.0 */
/* verify/oracle.h - inside the reference: which rows are checked, and the
 * families' definitions in double precision beside their plain
 * implementation. */
#ifndef ATTN_VERIFY_ORACLE_H
#define ATTN_VERIFY_ORACLE_H

#include "verify/number.h"
#include "verify/problem.h"

/* One output row: a token and a head. */
typedef struct attn_row {
    uint32_t token, head;
} attn_row;

/* The rows of all requests, ascending; those of request r are first[r] to
 * first[r + 1] - 1. */
typedef struct attn_sample {
    attn_row *rows;
    size_t *first; /* [R+1] */
    size_t count;
} attn_sample;

/* [any] max_rows 0: every token and head. Otherwise tokens first, last, at
 * page edges and at random, and of many heads a few for each token (one set
 * a request when same_heads). */
attn_status attn_sample_create(attn_sample *s, const attn_problem *p,
                               uint32_t num_heads, uint32_t max_rows,
                               int same_heads, attn_error *err);
void attn_sample_clear(attn_sample *s);

/* Where a family writes what it computed: row i of the sample. */
typedef struct attn_results {
    double *out, *lse;             /* from the definition */
    double *plain_out, *plain_lse; /* by the plain implementation */
    int want_plain;
} attn_results;

/* [any] */
attn_status attn_oracle_flash(const attn_problem *p, const attn_sample *s,
                              const attn_results *to, attn_error *err);
attn_status attn_oracle_mla(const attn_problem *p, const attn_sample *s,
                            const attn_results *to, attn_error *err);

/* [any] Both Mamba families fill whole blocks of their own; with max_rows a
 * few heads (channels) of all. */
attn_status attn_oracle_mamba(const attn_problem *p, uint32_t max_rows,
                              attn_reference *to, attn_error *err);

/* [any] Adds a block with room for its values, all 0; rows are copied. */
attn_status attn_reference_add(attn_reference *reference, const char *name,
                               attn_dtype dtype, size_t num_rows,
                               size_t row_size, const int64_t *rows,
                               double **exact, double **plain, attn_error *err);

/* [any] Scores to unnormalised weights, in place; returns their sum with the
 * sink (NULL: none) and *lse. n > 0. */
double attn_softmax_f64(double *s, size_t n, const double *sink, double *lse);
float attn_softmax_f32(float *s, size_t n, const double *sink,
                       attn_operand round, double *lse);

/* [any] The cache as update_cache must leave it: `cache` itself when the call
 * has no new tokens, else a copy that the caller frees (*owned). part 0: k, or
 * the latent row; part 1: v. */
attn_status attn_cache_updated(const attn_problem *p, int part,
                               const void **cache, void **owned,
                               attn_error *err);

/* [any] Elements of one cache row (all heads of one token), and its type. */
size_t attn_cache_row(const attn_problem *p, int part, attn_dtype *dtype);

#endif
