/* SPDX-License-Identifier: Apache-2.0 */
#include "step.h"

#include <stdlib.h>

uint32_t
step_columns(const struct limits *l, enum kind kind)
{
    if (kind == KIND_MAMBA)
        return 1 + l->max_drafts;
    return (l->max_len + l->block_size[kind] - 1) / l->block_size[kind];
}

static int
group_init(struct step *step, enum kind kind)
{
    const struct limits *l = &step->limits;
    struct step_group *g = &step->groups[kind];
    if (!l->num_blocks[kind])
        return 0;
    g->table =
        calloc((size_t)l->max_reqs * step_columns(l, kind), sizeof *g->table);
    g->slots = calloc(l->max_tokens, sizeof *g->slots);
    return g->table && g->slots ? 0 : -1;
}

int
step_init(struct step *step, const struct limits *l)
{
    *step = (struct step){.limits = *l};
    step->tokens = calloc(l->max_tokens, sizeof *step->tokens);
    step->positions = calloc(l->max_tokens, sizeof *step->positions);
    step->query_start_loc =
        calloc(l->max_reqs + 1, sizeof *step->query_start_loc);
    step->seq_lens = calloc(l->max_reqs, sizeof *step->seq_lens);
    step->has_state = calloc(l->max_reqs, sizeof *step->has_state);
    step->accepted = calloc(l->max_reqs, sizeof *step->accepted);
    int bad = !step->tokens || !step->positions || !step->query_start_loc ||
              !step->seq_lens || !step->has_state || !step->accepted;
    for (int kind = 0; kind < NUM_KINDS; kind++)
        bad |= group_init(step, (enum kind)kind);
    if (bad)
        step_destroy(step);
    return bad ? -1 : 0;
}

void
step_destroy(struct step *step)
{
    free(step->tokens);
    free(step->positions);
    free(step->query_start_loc);
    free(step->seq_lens);
    free(step->has_state);
    free(step->accepted);
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        free(step->groups[kind].table);
        free(step->groups[kind].slots);
    }
    *step = (struct step){0};
}

static void
describe_batch(struct step *step, uint32_t num_reqs)
{
    attn_batch *b = &step->batch;
    *b = (attn_batch){.struct_size = sizeof *b, .num_reqs = num_reqs};
    b->num_tokens = (uint32_t)step->query_start_loc[num_reqs];
    for (uint32_t r = 0; r < num_reqs; r++) {
        uint32_t q =
            (uint32_t)(step->query_start_loc[r + 1] - step->query_start_loc[r]);
        uint32_t len = (uint32_t)step->seq_lens[r];
        b->max_query_len = q > b->max_query_len ? q : b->max_query_len;
        b->max_seq_len = len > b->max_seq_len ? len : b->max_seq_len;
    }
    b->query_start_loc_state = b->seq_lens_state = ATTN_EXACT;
    b->query_start_loc = step->query_start_loc;
    b->seq_lens = step->seq_lens;
}

static void
describe_group(struct step *step, enum kind kind)
{
    const struct limits *l = &step->limits;
    struct step_group *g = &step->groups[kind];
    uint32_t cols = step_columns(l, kind);
    g->kv = (attn_kv_group){.struct_size = sizeof g->kv,
                            .num_blocks = l->num_blocks[kind],
                            .block_table_cols = cols,
                            .block_table_stride = cols,
                            .block_table = g->table};
    if (kind == KIND_MAMBA) {
        g->kv.flags = ATTN_KV_STATE;
        step->state = (attn_ext_state){
            .head = {.struct_size = sizeof step->state, .id = ATTN_EXT_STATE},
            .has_initial_state = step->has_state,
            .num_accepted_tokens = l->max_drafts ? step->accepted : NULL};
        g->kv.ext = &step->state.head;
    } else {
        g->kv.block_size = l->block_size[kind];
        g->kv.slot_mapping = g->slots;
    }
}

attn_status
step_finish(struct step *step, uint32_t num_reqs, attn_error *err)
{
    describe_batch(step, num_reqs);
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        struct step_group *g = &step->groups[kind];
        attn_status st = ATTN_OK;
        if (!g->table)
            continue;
        describe_group(step, (enum kind)kind);
        if (kind != KIND_MAMBA)
            st = attn_slot_mapping(&step->batch, &g->kv, g->slots, err);
        if (st)
            return st;
    }
    return ATTN_OK;
}

void
step_view(const struct step *step, struct view *view)
{
    *view = (struct view){.batch = step->batch,
                          .tokens = step->tokens,
                          .positions = step->positions};
    for (int kind = 0; kind < NUM_KINDS; kind++)
        if (step->groups[kind].table)
            view->groups[kind] = step->groups[kind].kv;
}
