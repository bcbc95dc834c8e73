/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <string.h>

static const char *const names[NUM_FAULTS] = {
    "none",        "wrong-slot",     "stale-length",   "swapped-request",
    "block-off",   "wrong-position", "skipped-update", "kept-rejected",
    "lost-resume", "bad-sharing",    "freed-page",     "swapped-tokens",
};

const char *
fault_name(enum fault fault)
{
    return fault < NUM_FAULTS ? names[fault] : NULL;
}

enum fault
fault_find(const char *name)
{
    int fault = 0;
    while (fault < NUM_FAULTS && strcmp(names[fault], name))
        fault++;
    return (enum fault)fault;
}

/* A kind whose cache is addressed by block table and slots, or NUM_KINDS. */
static enum kind
paged_kind(const struct step *step)
{
    int kind = 0;
    while (kind < NUM_KINDS &&
           (kind == KIND_MAMBA || !step->groups[kind].table))
        kind++;
    return (enum kind)kind;
}

static void
exchange_pages(struct step *step, enum kind kind)
{
    struct step_group *g = &step->groups[kind];
    uint32_t cols = g->kv.block_table_cols;
    for (uint32_t r = 0; r + 1 < step->batch.num_reqs; r += 2) {
        int32_t block = g->table[r * cols];
        g->table[r * cols] = g->table[(r + 1) * cols];
        g->table[(r + 1) * cols] = block;
    }
}

/* The page before the one that is written now. */
static void
shift_block(struct step *step, enum kind kind)
{
    struct step_group *g = &step->groups[kind];
    uint32_t bs = g->kv.block_size;
    for (uint32_t r = 0; r < step->batch.num_reqs; r++) {
        uint32_t page = ((uint32_t)step->seq_lens[r] - 1) / bs;
        int32_t *entry = &g->table[r * g->kv.block_table_cols + page];
        if (page)
            entry[-1] = (entry[-1] + 1) % (int32_t)g->kv.num_blocks;
    }
}

static void
exchange_slots(struct step *step, enum kind kind)
{
    int64_t *slots = step->groups[kind].slots;
    uint32_t last = step->batch.num_tokens - 1;
    int64_t first = slots[0];
    slots[0] = slots[last];
    slots[last] = first;
}

static void
exchange_tokens(struct step *step)
{
    for (uint32_t r = 0; r < step->batch.num_reqs; r++) {
        int32_t at = step->query_start_loc[r];
        if (step->query_start_loc[r + 1] - at >= 2) {
            int32_t token = step->tokens[at];
            step->tokens[at] = step->tokens[at + 1];
            step->tokens[at + 1] = token;
        }
    }
}

void
fault_apply(enum fault fault, struct step *step)
{
    enum kind kind = paged_kind(step);
    if (fault == FAULT_SWAPPED_TOKENS)
        exchange_tokens(step);
    for (uint32_t t = 0;
         fault == FAULT_WRONG_POSITION && t < step->batch.num_tokens; t++)
        step->positions[t] += step->positions[t] % 7 == 3;
    for (uint32_t r = 0;
         fault == FAULT_STALE_LENGTH && r < step->batch.num_reqs; r++) {
        int32_t q = step->query_start_loc[r + 1] - step->query_start_loc[r];
        step->seq_lens[r] -= step->seq_lens[r] > q;
    }
    if (kind == NUM_KINDS)
        return;
    if (fault == FAULT_SWAPPED_REQUEST)
        exchange_pages(step, kind);
    if (fault == FAULT_BLOCK_OFF)
        shift_block(step, kind);
    if (fault == FAULT_WRONG_SLOT)
        exchange_slots(step, kind);
}
