/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/trial.h"

#include <string.h>

static const void *
host(const attn_trial *t, const char *name)
{
    const attn_buffer *b = attn_trial_find(t, name);
    return b ? b->host->data : NULL;
}

static const attn_tensor *
mirror(const attn_trial *t, const char *name)
{
    for (uint32_t i = 0; i < t->num_buffers; i++)
        if (t->mirrors[i] && !strcmp(t->buffers[i]->name, name))
            return &t->mirrors[i]->tensor;
    return NULL;
}

static void
set_batch(attn_trial *t, const attn_problem *p)
{
    t->batch = (attn_batch){
        .struct_size = sizeof t->batch,
        .flags = p->layer->features & ATTN_F_CROSS ? ATTN_BATCH_CROSS : 0,
        .num_reqs = p->num_reqs,
        .num_tokens = p->num_tokens,
        .max_query_len = p->max_query_len,
        .max_seq_len = p->max_seq_len,
        .query_start_loc_state = ATTN_EXACT,
        .seq_lens_state = ATTN_EXACT,
        .query_start_loc = host(t, "query_start_loc"),
        .seq_lens = host(t, "seq_lens"),
        .causal = host(t, "causal"),
        .query_start_loc_device = mirror(t, "query_start_loc"),
        .seq_lens_device = mirror(t, "seq_lens"),
        .causal_device = mirror(t, "causal"),
    };
    if (!p->ranges)
        return;
    t->ranges = (attn_ext_prefix_ranges){
        .head = {sizeof t->ranges, 0, ATTN_EXT_PREFIX_RANGES, NULL},
        .max_ranges = p->max_ranges,
        .ranges = host(t, "prefix_ranges"),
        .ranges_device = mirror(t, "prefix_ranges"),
    };
    t->batch.ext = &t->ranges.head;
}

static void
set_pages(attn_trial *t, const attn_problem *p)
{
    const attn_buffer *table = attn_trial_find(t, "block_table");
    t->group = (attn_kv_group){
        .struct_size = sizeof t->group,
        .block_size = p->block_size,
        .num_blocks = p->num_blocks,
        .block_table_cols = (uint32_t)table->shape[1],
        .block_table_stride = table->shape[1],
        .block_table = (const int32_t *)table->host->data,
        .slot_mapping = host(t, "slot_mapping"),
        .block_table_device = mirror(t, "block_table"),
        .slot_mapping_device = mirror(t, "slot_mapping"),
    };
}

static void
set_states(attn_trial *t, const attn_problem *p)
{
    t->group = (attn_kv_group){
        .struct_size = sizeof t->group,
        .flags = ATTN_KV_STATE,
        .num_blocks = p->num_blocks,
        .block_table_cols = p->cols,
        .block_table_stride = p->cols,
        .block_table = host(t, "state_indices"),
        .block_table_device = mirror(t, "state_indices"),
        .ext = &t->state.head,
    };
    t->state = (attn_ext_state){
        .head = {sizeof t->state, 0, ATTN_EXT_STATE, NULL},
        .max_checkpoints = p->max_checkpoints,
        .checkpoint_interval = p->checkpoint_interval,
        .has_initial_state = host(t, "has_initial_state"),
        .num_accepted_tokens = host(t, "num_accepted_tokens"),
        .checkpoint_slots = host(t, "checkpoint_slots"),
        .has_initial_state_device = mirror(t, "has_initial_state"),
        .num_accepted_tokens_device = mirror(t, "num_accepted_tokens"),
        .checkpoint_slots_device = mirror(t, "checkpoint_slots"),
    };
}

void
attn_trial_metadata(attn_trial *t, const attn_problem *p)
{
    set_batch(t, p);
    if (p->kind == ATTN_KIND_MAMBA2 || p->kind == ATTN_KIND_MAMBA1)
        set_states(t, p);
    else
        set_pages(t, p);
}
