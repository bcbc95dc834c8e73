/* SPDX-License-Identifier: Apache-2.0 */
/* batch_case.h - a batch and its KV group with room of their own, for tests.
 *
 * case_make(q, S, R, block_size) gives R requests whose pages are numbered
 * 100 r + column + 1, and table entries past a sequence poisoned. */
#ifndef ATTN_TESTS_BATCH_CASE_H
#define ATTN_TESTS_BATCH_CASE_H

#include <attn/batch.h>

#include "unit.h"

#define CASE_REQS 64
#define CASE_COLS 64
#define CASE_TOKENS 4096
#define CASE_POISON 0x7fffffff

typedef struct batch_case {
    attn_batch batch;
    attn_kv_group group;
    int32_t start[CASE_REQS + 1];
    int32_t lens[CASE_REQS];
    uint8_t prefilling[CASE_REQS];
    uint8_t causal[CASE_REQS];
    int32_t prompt[CASE_REQS];
    int32_t table[CASE_REQS * CASE_COLS];
    int64_t slots[CASE_TOKENS];
} batch_case;

static inline void
case_lengths(batch_case *c, const int32_t *q, const int32_t *lens, uint32_t n)
{
    attn_batch *b = &c->batch;

    *b = (attn_batch){.struct_size = sizeof *b,
                      .num_reqs = n,
                      .query_start_loc_state = ATTN_EXACT,
                      .seq_lens_state = ATTN_EXACT,
                      .query_start_loc = c->start,
                      .seq_lens = c->lens};
    for (uint32_t r = 0; r < n; r++) {
        c->start[r + 1] = c->start[r] + q[r];
        c->lens[r] = lens[r];
        c->prompt[r] = lens[r];
        c->prefilling[r] = q[r] > 0;
        c->causal[r] = 1;
        if ((uint32_t)q[r] > b->max_query_len)
            b->max_query_len = (uint32_t)q[r];
        if ((uint32_t)lens[r] > b->max_seq_len)
            b->max_seq_len = (uint32_t)lens[r];
    }
    b->num_tokens = (uint32_t)c->start[n];
}

static inline batch_case *
case_make(const int32_t *q, const int32_t *lens, uint32_t n,
          uint32_t block_size)
{
    batch_case *c = calloc(1, sizeof *c);
    attn_kv_group *g;
    attn_error err = ATTN_ERROR_INIT;

    ck_assert_uint_le(n, CASE_REQS);
    case_lengths(c, q, lens, n);
    ck_assert_uint_le(c->batch.num_tokens, CASE_TOKENS);
    g = &c->group;
    *g = (attn_kv_group){.struct_size = sizeof *g,
                         .block_size = block_size,
                         .num_blocks = 100 * CASE_REQS + 1,
                         .block_table_cols = CASE_COLS,
                         .block_table_stride = CASE_COLS,
                         .block_table = c->table,
                         .slot_mapping = c->slots};
    for (uint32_t i = 0; i < CASE_REQS * CASE_COLS; i++)
        c->table[i] = CASE_POISON;
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t j = 0; (int64_t)j * block_size < lens[r]; j++)
            c->table[r * CASE_COLS + j] = (int32_t)(100 * r + j + 1);
    ck_assert_int_eq(attn_slot_mapping(&c->batch, g, c->slots, &err), ATTN_OK);
    return c;
}

#define CASE(q_, lens_, bs_)                                             \
    case_make((const int32_t[])CASE_P q_, (const int32_t[])CASE_P lens_, \
              sizeof((int32_t[])CASE_P q_) / sizeof(int32_t), bs_)
#define CASE_P(...) \
    {               \
        __VA_ARGS__ \
    }

#define ck_assert_i32_array(got, n, ...)                                      \
    do {                                                                      \
        const int32_t want_[] = {__VA_ARGS__};                                \
        ck_assert_uint_eq(n, sizeof want_ / sizeof *want_);                   \
        for (size_t i_ = 0; i_ < (size_t)(n); i_++)                           \
            ck_assert_msg((got)[i_] == want_[i_], "[%zu] is %d, expected %d", \
                          i_, (int)(got)[i_], (int)want_[i_]);                \
    } while (0)

#endif /* ATTN_TESTS_BATCH_CASE_H */
