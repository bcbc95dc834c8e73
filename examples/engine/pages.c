/* SPDX-License-Identifier: Apache-2.0 */
#include "sched.h"

#define NO_PAGE 0x7FFFFFFF /* past a sequence: must never be used */

static uint32_t
pages_for(const struct sched *s, int kind, uint32_t tokens)
{
    uint32_t size = s->plan->block_size[kind];
    if (kind == KIND_MAMBA)
        return 1 + s->plan->max_drafts;
    return (tokens + size - 1) / size;
}

int
pages_reserve(struct sched *s, struct request *r, uint32_t tokens)
{
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        struct blocks *b = &s->blocks[kind];
        if (!b->num_blocks)
            continue;
        while (r->num_pages[kind] < pages_for(s, kind, tokens)) {
            int32_t page = blocks_take(b);
            if (page < 0)
                return -1;
            r->pages[kind][r->num_pages[kind]++] = page;
        }
    }
    return 0;
}

void
pages_release(struct sched *s, struct request *r)
{
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        for (uint32_t i = 0; i < r->num_pages[kind]; i++)
            blocks_release(&s->blocks[kind], r->pages[kind][i]);
        r->num_pages[kind] = 0;
    }
    r->computed = 0;
    r->draft_computed = 0;
    r->num_drafts = 0;
    r->accepted = 1;
}

/* Tokens of r that full pages of one kind already hold. */
static uint32_t
shared_tokens(struct sched *s, const struct request *r, int kind)
{
    struct blocks *b = &s->blocks[kind];
    uint32_t tokens = 0, wrong = s->fault == FAULT_BAD_SHARING;
    while (tokens + b->block_size < r->known) {
        uint32_t next = tokens + b->block_size;
        uint64_t key = blocks_key(r->script->tokens, next - wrong);
        int32_t page = blocks_share(b, key);
        if (page < 0)
            break;
        blocks_release(b, page);
        tokens = next;
    }
    return tokens;
}

void
pages_share(struct sched *s, struct request *r)
{
    uint32_t tokens = r->known, unit = 1;
    uint32_t wrong = s->fault == FAULT_BAD_SHARING;
    if (!s->plan->share || s->blocks[KIND_MAMBA].num_blocks)
        return;
    for (int kind = 0; kind < NUM_KINDS; kind++)
        if (s->blocks[kind].num_blocks) {
            uint32_t found = shared_tokens(s, r, kind);
            uint32_t size = s->blocks[kind].block_size;
            tokens = found < tokens ? found : tokens;
            unit = size > unit ? size : unit; /* powers of two */
        }
    tokens = tokens / unit * unit;
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        struct blocks *b = &s->blocks[kind];
        for (uint32_t end = b->block_size; b->num_blocks && end <= tokens;
             end += b->block_size)
            r->pages[kind][r->num_pages[kind]++] =
                blocks_share(b, blocks_key(r->script->tokens, end - wrong));
    }
    r->computed = tokens;
    s->tally->shared_tokens += tokens;
}

void
pages_publish(struct sched *s, const struct request *r)
{
    uint32_t wrong = s->fault == FAULT_BAD_SHARING;
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        struct blocks *b = &s->blocks[kind];
        if (!b->num_blocks || kind == KIND_MAMBA)
            continue;
        for (uint32_t i = 0; (i + 1) * b->block_size <= r->computed; i++)
            blocks_publish(
                b, r->pages[kind][i],
                blocks_key(r->script->tokens, (i + 1) * b->block_size - wrong));
    }
}

void
pages_table(const struct sched *s, const struct request *r, uint32_t row)
{
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        int32_t *table = s->step.groups[kind].table;
        uint32_t cols;
        if (!table)
            continue;
        cols = step_columns(&s->step.limits, (enum kind)kind);
        for (uint32_t c = 0; c < cols; c++)
            table[row * cols + c] =
                c < r->num_pages[kind] ? r->pages[kind][c] : NO_PAGE;
    }
}
