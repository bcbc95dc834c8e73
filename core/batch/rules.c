/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/transform.h>

/* What each transform does with each field, a row a transform. */

/* A mirror lives only as long as nothing it mirrors changes. */
#define MIRROR(r) ((r) == ATTN_CARRIED ? ATTN_CARRIED : ATTN_INVALID)

/* Columns in the order of the head below; arguments cannot be left out. */
#define RULES(flags, reqs, tokens, max_query, max_seq, states, starts, lens,   \
              prefilling, prompt, causal, ranges, local, batch_ext, group_ext, \
              layout, width, table, slots, initial, accepted, checkpoints,     \
              state_device)                                                    \
    (const uint8_t[ATTN_NUM_FIELDS])                                           \
    {                                                                          \
        [ATTN_FIELD_BATCH_FLAGS] = flags, [ATTN_FIELD_NUM_REQS] = reqs,        \
        [ATTN_FIELD_NUM_TOKENS] = tokens,                                      \
        [ATTN_FIELD_MAX_QUERY_LEN] = max_query,                                \
        [ATTN_FIELD_MAX_SEQ_LEN] = max_seq,                                    \
        [ATTN_FIELD_QUERY_START_LOC_STATE] = states,                           \
        [ATTN_FIELD_SEQ_LENS_STATE] = states,                                  \
        [ATTN_FIELD_QUERY_START_LOC] = starts,                                 \
        [ATTN_FIELD_QUERY_START_LOC_DEVICE] = MIRROR(starts),                  \
        [ATTN_FIELD_SEQ_LENS] = lens,                                          \
        [ATTN_FIELD_SEQ_LENS_DEVICE] = MIRROR(lens),                           \
        [ATTN_FIELD_IS_PREFILLING] = prefilling,                               \
        [ATTN_FIELD_NUM_PROMPT_TOKENS] = prompt, [ATTN_FIELD_CAUSAL] = causal, \
        [ATTN_FIELD_CAUSAL_DEVICE] = MIRROR(causal),                           \
        [ATTN_FIELD_PREFIX_RANGES] = ranges,                                   \
        [ATTN_FIELD_PREFIX_RANGES_DEVICE] = MIRROR(ranges),                    \
        [ATTN_FIELD_LOCAL_SEQ_LENS] = local,                                   \
        [ATTN_FIELD_LOCAL_SEQ_LENS_DEVICE] = MIRROR(local),                    \
        [ATTN_FIELD_BATCH_EXT] = batch_ext,                                    \
        [ATTN_FIELD_GROUP_EXT] = group_ext, [ATTN_FIELD_GROUP_FLAGS] = layout, \
        [ATTN_FIELD_BLOCK_SIZE] = layout, [ATTN_FIELD_NUM_BLOCKS] = layout,    \
        [ATTN_FIELD_BLOCK_TABLE_COLS] = width,                                 \
        [ATTN_FIELD_BLOCK_TABLE_STRIDE] = width,                               \
        [ATTN_FIELD_BLOCK_TABLE] = table,                                      \
        [ATTN_FIELD_BLOCK_TABLE_DEVICE] = MIRROR(table),                       \
        [ATTN_FIELD_SLOT_MAPPING] = slots,                                     \
        [ATTN_FIELD_SLOT_MAPPING_DEVICE] = MIRROR(slots),                      \
        [ATTN_FIELD_HAS_INITIAL_STATE] = initial,                              \
        [ATTN_FIELD_NUM_ACCEPTED_TOKENS] = accepted,                           \
        [ATTN_FIELD_CHECKPOINT_SLOTS] = checkpoints,                           \
        [ATTN_FIELD_STATE_DEVICE] = state_device,                              \
    }

#define C ATTN_CARRIED
#define S ATTN_SLICED
#define R ATTN_RECOMPUTED
#define I ATTN_INVALID

/* clang-format off */
static const attn_transform transforms[] = {
    /* flags, reqs, tokens, longest query and sequence;  states, starts, lens;
     *     prefilling, prompt, causal;
     * ranges, local, unknown blocks of batch and group;  layout, width, table,
     *     slots;  initial, accepted, checkpoints, state mirrors */
    {"local_attention_virtual_batches",
     "chunked local attention as plain attention over virtual requests",
     RULES(C, R, C, R, R,  C, R, R,  S, I, S,
           I, I, I, I,  C, R, R, C,  I, I, I, I)},
    {"split_ubatches",
     "microbatches by tokens; a request may be cut",
     RULES(C, R, R, R, C,  C, R, R,  R, S, S,
           S, R, I, I,  C, C, S, S,  R, R, R, I)},
    {"reorder_batch",
     "decodes, short extends, long extends, prefills",
     RULES(C, C, C, C, C,  C, R, S,  S, S, S,
           S, R, I, I,  C, R, S, S,  S, S, S, I)},
    {"unpad",
     "without padding requests and tokens",
     RULES(C, R, R, C, C,  C, C, C,  C, C, C,
           C, C, C, C,  C, C, C, C,  C, C, C, C)},
    {"pad",
     "padding requests and tokens for graph replay",
     RULES(C, R, R, C, C,  C, R, R,  R, R, R,
           R, R, I, I,  C, R, R, R,  R, R, R, I)},
    {"kv_sharing_fast_prefill",
     "only the query rows whose logits are needed",
     RULES(C, C, R, R, C,  C, R, C,  R, C, C,
           C, C, I, C,  C, C, C, C,  C, C, C, C)},
    {"cascade_prefix",
     "all tokens over the shared prefix",
     RULES(R, R, C, R, R,  R, R, R,  I, I, I,
           I, I, I, I,  C, R, S, I,  I, I, I, I)},
    {"cascade_suffix",
     "each request over what follows the shared prefix",
     RULES(C, C, C, C, R,  C, C, R,  C, R, C,
           I, I, I, I,  C, R, S, C,  I, I, I, I)},
    {"dcp_local_seq_lens",
     "this rank's lengths under context parallelism",
     RULES(C, C, C, C, C,  C, C, C,  C, C, C,
           C, R, C, C,  C, C, C, C,  C, C, C, C)},
    {"spec_decode_prepare_inputs",
     "without the rejected draft tokens",
     RULES(C, C, R, R, R,  C, R, R,  S, S, S,
           S, R, I, I,  C, C, C, S,  S, S, S, I)},
    {"spec_decode_draft_step",
     "one more draft token for every request",
     RULES(C, C, R, R, R,  C, R, R,  R, S, S,
           S, R, I, I,  C, C, C, R,  I, I, I, I)},
    {"spec_decode_extend",
     "each query longer by its draft tokens",
     RULES(C, C, R, R, R,  C, R, R,  S, S, S,
           S, R, I, I,  C, C, C, R,  I, I, I, I)},
};
/* clang-format on */

const attn_transform *
attn_transform_at(uint32_t index)
{
    return index < sizeof transforms / sizeof *transforms ? &transforms[index]
                                                          : NULL;
}
