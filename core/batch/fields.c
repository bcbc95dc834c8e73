/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/transform.h>

static const char *const field_names[ATTN_NUM_FIELDS] = {
    [ATTN_FIELD_BATCH_FLAGS] = "batch.flags",
    [ATTN_FIELD_NUM_REQS] = "batch.num_reqs",
    [ATTN_FIELD_NUM_TOKENS] = "batch.num_tokens",
    [ATTN_FIELD_MAX_QUERY_LEN] = "batch.max_query_len",
    [ATTN_FIELD_MAX_SEQ_LEN] = "batch.max_seq_len",
    [ATTN_FIELD_QUERY_START_LOC_STATE] = "batch.query_start_loc_state",
    [ATTN_FIELD_SEQ_LENS_STATE] = "batch.seq_lens_state",
    [ATTN_FIELD_QUERY_START_LOC] = "batch.query_start_loc",
    [ATTN_FIELD_SEQ_LENS] = "batch.seq_lens",
    [ATTN_FIELD_IS_PREFILLING] = "batch.is_prefilling",
    [ATTN_FIELD_NUM_PROMPT_TOKENS] = "batch.num_prompt_tokens",
    [ATTN_FIELD_CAUSAL] = "batch.causal",
    [ATTN_FIELD_QUERY_START_LOC_DEVICE] = "batch.query_start_loc_device",
    [ATTN_FIELD_SEQ_LENS_DEVICE] = "batch.seq_lens_device",
    [ATTN_FIELD_CAUSAL_DEVICE] = "batch.causal_device",
    [ATTN_FIELD_BATCH_EXT] = "batch.ext",
    [ATTN_FIELD_PREFIX_RANGES] = "prefix_ranges.ranges",
    [ATTN_FIELD_PREFIX_RANGES_DEVICE] = "prefix_ranges.ranges_device",
    [ATTN_FIELD_LOCAL_SEQ_LENS] = "context_parallel.local_seq_lens",
    [ATTN_FIELD_LOCAL_SEQ_LENS_DEVICE] =
        "context_parallel.local_seq_lens_device",
    [ATTN_FIELD_GROUP_FLAGS] = "group.flags",
    [ATTN_FIELD_BLOCK_SIZE] = "group.block_size",
    [ATTN_FIELD_NUM_BLOCKS] = "group.num_blocks",
    [ATTN_FIELD_BLOCK_TABLE_COLS] = "group.block_table_cols",
    [ATTN_FIELD_BLOCK_TABLE_STRIDE] = "group.block_table_stride",
    [ATTN_FIELD_BLOCK_TABLE] = "group.block_table",
    [ATTN_FIELD_SLOT_MAPPING] = "group.slot_mapping",
    [ATTN_FIELD_BLOCK_TABLE_DEVICE] = "group.block_table_device",
    [ATTN_FIELD_SLOT_MAPPING_DEVICE] = "group.slot_mapping_device",
    [ATTN_FIELD_GROUP_EXT] = "group.ext",
    [ATTN_FIELD_HAS_INITIAL_STATE] = "state.has_initial_state",
    [ATTN_FIELD_NUM_ACCEPTED_TOKENS] = "state.num_accepted_tokens",
    [ATTN_FIELD_CHECKPOINT_SLOTS] = "state.checkpoint_slots",
    [ATTN_FIELD_STATE_DEVICE] = "state.*_device"};

static const char *const rule_names[] = {NULL, "carried", "sliced",
                                         "recomputed", "invalid"};

const char *
attn_batch_field_name(uint32_t field)
{
    return field < ATTN_NUM_FIELDS ? field_names[field] : NULL;
}

const char *
attn_batch_rule_name(uint32_t rule)
{
    return rule <= ATTN_INVALID ? rule_names[rule] : NULL;
}
