/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/oracle.h"

#include <stdlib.h>

#include "base/error.h"
#include "verify/support.h"

#define LEAST_ROWS 64
#define FEW_HEADS 8

/* Marks the tokens of request r to be checked; returns how many. */
static uint32_t
pick_tokens(const attn_problem *p, uint32_t r, uint32_t want, uint8_t *mark,
            attn_random *rng)
{
    const uint32_t q = attn_problem_query(p, r);
    uint32_t n = 0;
    if (!want || q <= want) {
        for (uint32_t i = 0; i < q; i++)
            mark[i] = 1;
        return q;
    }
    for (uint32_t i = 0; i < q; i++)
        mark[i] = 0;
    mark[0] = mark[q - 1] = 1;
    n = q > 1 ? 2 : 1;
    for (uint32_t tries = 0; p->block_size && tries < 8 * want; tries++) {
        const uint32_t i = attn_random_below(rng, q);
        const int64_t off = attn_problem_position(p, r, i) % p->block_size;
        if (n < want / 2 && !mark[i] && (off == 0 || off == p->block_size - 1))
            n += mark[i] = 1;
    }
    while (n < want) {
        const uint32_t i = attn_random_below(rng, q);
        if (!mark[i])
            n += mark[i] = 1;
    }
    return n;
}

/* Whether head h is checked: `few` of all, spread over all, moving with k. */
static int
head_picked(uint32_t h, uint32_t num_heads, uint32_t few, uint32_t k)
{
    if (few >= num_heads)
        return 1;
    const uint32_t x = (h + k) % num_heads;
    return (uint64_t)x * few % num_heads < few;
}

static uint32_t
few_heads(uint32_t num_heads, uint32_t tokens, uint32_t max_rows,
          int same_heads)
{
    if (!max_rows || num_heads <= FEW_HEADS)
        return num_heads;
    if (same_heads)
        return FEW_HEADS;
    const uint32_t n = LEAST_ROWS * FEW_HEADS / (tokens ? tokens : 1);
    return n < FEW_HEADS ? FEW_HEADS : n;
}

static void
pick_rows(attn_sample *s, const attn_problem *p, uint32_t r, uint32_t num_heads,
          uint32_t max_rows, int same_heads, uint8_t *mark)
{
    attn_random rng = {r + 1};
    const uint32_t want =
        max_rows && max_rows < LEAST_ROWS ? LEAST_ROWS : max_rows;
    const uint32_t n = pick_tokens(p, r, want, mark, &rng);
    const uint32_t few = few_heads(num_heads, n, max_rows, same_heads);
    const uint32_t q = attn_problem_query(p, r);
    for (uint32_t i = 0; i < q; i++)
        for (uint32_t h = 0; mark[i] && h < num_heads; h++)
            if (head_picked(h, num_heads, few, same_heads ? r : r + i))
                s->rows[s->count++] =
                    (attn_row){(uint32_t)p->query_start_loc[r] + i, h};
}

attn_status
attn_sample_create(attn_sample *s, const attn_problem *p, uint32_t num_heads,
                   uint32_t max_rows, int same_heads, attn_error *err)
{
    const size_t room = (size_t)p->num_tokens * num_heads + 1;
    uint8_t *mark = malloc(p->max_query_len + 1);
    *s = (attn_sample){malloc(room * sizeof *s->rows),
                       malloc((p->num_reqs + 1) * sizeof *s->first), 0};
    if (!mark || !s->rows || !s->first) {
        free(mark);
        attn_sample_clear(s);
        return attn_error_nomem(err, "sample", room * sizeof *s->rows);
    }
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        s->first[r] = s->count;
        pick_rows(s, p, r, num_heads, max_rows, same_heads, mark);
    }
    s->first[p->num_reqs] = s->count;
    free(mark);
    return ATTN_OK;
}

void
attn_sample_clear(attn_sample *s)
{
    free(s->rows);
    free(s->first);
    *s = (attn_sample){0};
}
