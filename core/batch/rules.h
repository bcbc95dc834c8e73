/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of which the field tables are put together; each field stands in
 * one piece only, so a table that names all pieces is whole. */
#ifndef ATTN_BATCH_RULES_H
#define ATTN_BATCH_RULES_H

#include <attn/transform.h>

#define RULES_FLAGS(r) [ATTN_FIELD_BATCH_FLAGS] = (r)
#define RULES_REQS(r) [ATTN_FIELD_NUM_REQS] = (r)
#define RULES_TOKENS(r) [ATTN_FIELD_NUM_TOKENS] = (r)
#define RULES_MAX_QUERY(r) [ATTN_FIELD_MAX_QUERY_LEN] = (r)
#define RULES_MAX_SEQ(r) [ATTN_FIELD_MAX_SEQ_LEN] = (r)
#define RULES_STATES(r) \
    [ATTN_FIELD_QUERY_START_LOC_STATE] = (r), [ATTN_FIELD_SEQ_LENS_STATE] = (r)
#define RULES_STARTS(r)                                                       \
    [ATTN_FIELD_QUERY_START_LOC] = (r), [ATTN_FIELD_QUERY_START_LOC_DEVICE] = \
                                            RULES_MIRROR(r)
#define RULES_LENS(r) \
    [ATTN_FIELD_SEQ_LENS] = (r), [ATTN_FIELD_SEQ_LENS_DEVICE] = RULES_MIRROR(r)
#define RULES_PREFILLING(r) [ATTN_FIELD_IS_PREFILLING] = (r)
#define RULES_PROMPT(r) [ATTN_FIELD_NUM_PROMPT_TOKENS] = (r)
#define RULES_CAUSAL(r) \
    [ATTN_FIELD_CAUSAL] = (r), [ATTN_FIELD_CAUSAL_DEVICE] = RULES_MIRROR(r)
#define RULES_RANGES(r)                                                   \
    [ATTN_FIELD_PREFIX_RANGES] = (r), [ATTN_FIELD_PREFIX_RANGES_DEVICE] = \
                                          RULES_MIRROR(r)
#define RULES_LOCAL(r)                                                      \
    [ATTN_FIELD_LOCAL_SEQ_LENS] = (r), [ATTN_FIELD_LOCAL_SEQ_LENS_DEVICE] = \
                                           RULES_MIRROR(r)
#define RULES_UNKNOWN_EXT(r) \
    [ATTN_FIELD_BATCH_EXT] = (r), [ATTN_FIELD_GROUP_EXT] = (r)
#define RULES_LAYOUT(r)                                            \
    [ATTN_FIELD_GROUP_FLAGS] = (r), [ATTN_FIELD_BLOCK_SIZE] = (r), \
    [ATTN_FIELD_NUM_BLOCKS] = (r)
#define RULES_WIDTH(r) \
    [ATTN_FIELD_BLOCK_TABLE_COLS] = (r), [ATTN_FIELD_BLOCK_TABLE_STRIDE] = (r)
#define RULES_TABLE(r)                                                \
    [ATTN_FIELD_BLOCK_TABLE] = (r), [ATTN_FIELD_BLOCK_TABLE_DEVICE] = \
                                        RULES_MIRROR(r)
#define RULES_SLOTS(r)                                                  \
    [ATTN_FIELD_SLOT_MAPPING] = (r), [ATTN_FIELD_SLOT_MAPPING_DEVICE] = \
                                         RULES_MIRROR(r)
#define RULES_STATE(initial, accepted, checkpoints, device) \
    [ATTN_FIELD_HAS_INITIAL_STATE] = (initial),             \
    [ATTN_FIELD_NUM_ACCEPTED_TOKENS] = (accepted),          \
    [ATTN_FIELD_CHECKPOINT_SLOTS] = (checkpoints),          \
    [ATTN_FIELD_STATE_DEVICE] = (device)

/* A mirror lives only as long as nothing it mirrors changes. */
#define RULES_MIRROR(r) ((r) == ATTN_CARRIED ? ATTN_CARRIED : ATTN_INVALID)

extern const attn_transform attn_transform_local_attention;
extern const attn_transform attn_transform_microbatch;
extern const attn_transform attn_transform_reorder;
extern const attn_transform attn_transform_unpad;
extern const attn_transform attn_transform_pad;
extern const attn_transform attn_transform_fast_prefill;
extern const attn_transform attn_transform_cascade_prefix;
extern const attn_transform attn_transform_cascade_suffix;
extern const attn_transform attn_transform_context_parallel;
extern const attn_transform attn_transform_spec_compact;
extern const attn_transform attn_transform_draft_step;
extern const attn_transform attn_transform_extend;

#endif /* ATTN_BATCH_RULES_H */
