/* SPDX-License-Identifier: Apache-2.0 */
/* verify/problem.h - a call, checked and taken apart: what the oracle, the
 * account and the runner read. */
#ifndef ATTN_VERIFY_PROBLEM_H
#define ATTN_VERIFY_PROBLEM_H

#include <attn/verify.h>

#define ATTN_PROBLEM_MAX_REQS (1u << 24) /* entries of query_start_loc */

typedef enum attn_kind {
    ATTN_KIND_FLASH,
    ATTN_KIND_MLA,
    ATTN_KIND_MAMBA2,
    ATTN_KIND_MAMBA1
} attn_kind;

/* Pointers into the call's tensors, NULL where absent. */
typedef struct attn_problem {
    const attn_call *call;
    const attn_layer *layer;
    attn_kind kind;
    uint32_t num_reqs;   /* R */
    uint32_t num_tokens; /* T, padding included */
    uint32_t max_query_len, max_seq_len;
    const int32_t *query_start_loc; /* [R+1] */
    const int32_t *seq_lens;        /* [R]; in `owned` when derived */
    int32_t *owned;
    const uint8_t *causal; /* [R] */
    const int32_t *ranges; /* [R, max_ranges, 2] */
    uint32_t max_ranges;
    const int32_t *block_table; /* [R, cols]; Mamba: state_indices */
    uint32_t cols, block_size;
    uint32_t num_blocks;         /* Mamba: state slots */
    const int64_t *slot_mapping; /* [T] */
    uint32_t has_new;            /* k, v (latent, k_pe) are to be written */
    const uint8_t *has_initial;  /* [R] */
    const int32_t *num_accepted; /* [R] */
    const int32_t *checkpoints;  /* [R, max_checkpoints] */
    uint32_t max_checkpoints, checkpoint_interval;
} attn_problem;

/* [any] Checks every tensor of the call against its layer, and every index;
 * ATTN_E_FORMAT names the tensor. attn_problem_clear afterwards. */
attn_status attn_problem_read(attn_problem *p, const attn_call *call,
                              attn_error *err);
void attn_problem_clear(attn_problem *p);

/* [any] Whether the query at position `pos` of request r sees key j. */
int attn_problem_visible(const attn_problem *p, uint32_t r, int64_t pos,
                         int64_t j);

/* [any] A superset [*first, *last) of the keys that this query sees. */
void attn_problem_span(const attn_problem *p, uint32_t r, int64_t pos,
                       int64_t *first, int64_t *last);

/* [any] How many keys it sees. */
int64_t attn_problem_count(const attn_problem *p, uint32_t r, int64_t pos);

static inline const attn_flash_layer *
attn_problem_flash(const attn_problem *p)
{
    return (const attn_flash_layer *)p->layer;
}

static inline const attn_mla_layer *
attn_problem_mla(const attn_problem *p)
{
    return (const attn_mla_layer *)p->layer;
}

static inline const attn_mamba2_layer *
attn_problem_mamba2(const attn_problem *p)
{
    return (const attn_mamba2_layer *)p->layer;
}

static inline const attn_mamba1_layer *
attn_problem_mamba1(const attn_problem *p)
{
    return (const attn_mamba1_layer *)p->layer;
}

/* Query length, and position of token i of request r. */
static inline uint32_t
attn_problem_query(const attn_problem *p, uint32_t r)
{
    return (uint32_t)(p->query_start_loc[r + 1] - p->query_start_loc[r]);
}

static inline int64_t
attn_problem_position(const attn_problem *p, uint32_t r, uint32_t i)
{
    return (int64_t)p->seq_lens[r] - attn_problem_query(p, r) + i;
}

#endif
