/* SPDX-License-Identifier: 0BSD */
/* attn/metadata.h - part of plugin.h: the common metadata of a step.
 *
 * Plugins include attn/plugin.h; the transforms stand in attn/batch.h. */
#ifndef ATTN_METADATA_H
#define ATTN_METADATA_H

#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------- common metadata */

/* Feature data hang on a chain of typed blocks, so that the common structs
 * do not grow a field per model. Every block starts with this head. A reader
 * walks the chain by id and skips ids it does not know. Frozen, 24 bytes. */
typedef struct attn_ext {
    uint32_t struct_size; /* of the whole block */
    uint32_t reserved;
    const char *id; /* "attn.ext.prefix_ranges/1" */
    const struct attn_ext *next;
} attn_ext;

/* How far a host array may be trusted against the device's truth. */
#define ATTN_ABSENT 0u      /* pointer is NULL or must not be read */
#define ATTN_EXACT 1u       /* equal to the device's values */
#define ATTN_UPPER_BOUND 2u /* each entry >= the device's (seq_lens only) */

#define ATTN_BATCH_CROSS 1u /* seq_lens are lengths of another sequence */

/* What one step looks like, for all backends and layers. R = num_reqs,
 * T = num_tokens. The new tokens of request r are rows query_start_loc[r] to
 * query_start_loc[r+1]-1 of q and out; its query length is their number q_r;
 * seq_lens[r] = S_r counts context plus new tokens, so new token i stands at
 * position S_r - q_r + i. Padding requests have q_r = 0 and S_r = 0 and stand
 * last; padding tokens (T > query_start_loc[R]) are undefined in out.
 * With ATTN_BATCH_CROSS q_r may exceed S_r and no mask but length applies.
 * The invariants are checked by attn_batch_validate (attn/batch.h). */
typedef struct attn_batch {
    uint32_t struct_size;
    uint32_t flags; /* ATTN_BATCH_* */
    uint32_t num_reqs;
    uint32_t num_tokens;
    uint32_t max_query_len;         /* >= every q_r */
    uint32_t max_seq_len;           /* >= every S_r; may be an upper bound */
    uint32_t query_start_loc_state; /* ATTN_EXACT or ATTN_ABSENT */
    uint32_t seq_lens_state; /* ATTN_EXACT, ATTN_UPPER_BOUND, ATTN_ABSENT */
    /* Host arrays; NULL where absent. */
    const int32_t *query_start_loc;   /* [R+1] */
    const int32_t *seq_lens;          /* [R] */
    const uint8_t *is_prefilling;     /* [R] 1: context < prompt; optional */
    const int32_t *num_prompt_tokens; /* [R] optional */
    const uint8_t *causal; /* [R] per-request mask; NULL: the layer's */
    /* Device mirrors, int32 (causal: uint8); NULL on the CPU. */
    const attn_tensor *query_start_loc_device; /* [R+1] */
    const attn_tensor *seq_lens_device;        /* [R] */
    const attn_tensor *causal_device;          /* [R] */
    const attn_ext *ext;
} attn_batch;

#define ATTN_KV_STATE 1u /* block_table holds state indices, see below */

/* The view of the layers that share one KV layout. Physical block b of a
 * cache holds block_size consecutive positions; position p of request r lies
 * in block block_table[r][p / block_size] at offset p % block_size. Entries
 * at and past ceil(S_r / block_size) are garbage and are never read. Valid
 * ids are 0 <= id < num_blocks. slot_mapping[t] = block * block_size + offset
 * is where new token t is written; -1: do not write.
 * With ATTN_KV_STATE (Mamba) block_table is state_indices [R, 1 + drafts]:
 * column 0 is the request's state, num_blocks the number of state slots,
 * block_size 0, slot_mapping NULL; -1 marks a padding request to skip. */
typedef struct attn_kv_group {
    uint32_t struct_size;
    uint32_t flags; /* ATTN_KV_* */
    uint32_t block_size;
    uint32_t num_blocks;
    uint32_t block_table_cols; /* columns that exist in each row */
    uint32_t reserved;
    int64_t block_table_stride;  /* elements from row to row, >= cols */
    const int32_t *block_table;  /* [R, cols] host; NULL: device only */
    const int64_t *slot_mapping; /* [T] host; NULL: device only or unused */
    const attn_tensor *block_table_device;  /* int32 [R, cols] */
    const attn_tensor *slot_mapping_device; /* int64 [T] */
    const attn_ext *ext;
} attn_kv_group;

/* On attn_batch. Bidirectional ranges (prefix-LM, images): a query and a key
 * whose positions lie in one range of the request see each other whatever
 * the causal and window rules say. Ranges are inclusive [first, last],
 * disjoint per request; unused rows are (-1, -1). */
#define ATTN_EXT_PREFIX_RANGES "attn.ext.prefix_ranges/1"
typedef struct attn_ext_prefix_ranges {
    attn_ext head;
    uint32_t max_ranges; /* n */
    uint32_t reserved;
    const int32_t *ranges;            /* [R, n, 2] host */
    const attn_tensor *ranges_device; /* int32 [R, n, 2] */
} attn_ext_prefix_ranges;

/* On attn_batch. Decode context parallelism: this rank owns position p when
 * (p / interleave) % world == rank; local_seq_lens counts owned positions. */
#define ATTN_EXT_CONTEXT_PARALLEL "attn.ext.context_parallel/1"
typedef struct attn_ext_context_parallel {
    attn_ext head;
    uint32_t world;
    uint32_t rank;
    uint32_t interleave;
    uint32_t reserved;
    const int32_t *local_seq_lens; /* [R] host */
    const attn_tensor *local_seq_lens_device;
} attn_ext_context_parallel;

/* On an ATTN_KV_STATE group: what a recurrent layer needs per request.
 * Absent block: has_initial_state[r] = (S_r > q_r), nothing accepted, no
 * checkpoints. With drafts, the state before the step is that of column
 * num_accepted_tokens[r] - 1 and token i of the step leaves its state in
 * column i; a query of more tokens than columns leaves only its last state,
 * in column 0. checkpoint_slots[r][j] (-1: none) receives a copy of the state
 * after position (j + 1) * checkpoint_interval of the request's sequence,
 * for those that fall into this step; j counts from the first such. */
#define ATTN_EXT_STATE "attn.ext.state/1"
typedef struct attn_ext_state {
    attn_ext head;
    uint32_t max_checkpoints; /* columns of checkpoint_slots, may be 0 */
    uint32_t checkpoint_interval;
    const uint8_t *has_initial_state;   /* [R] host; NULL: S_r > q_r */
    const int32_t *num_accepted_tokens; /* [R] host, >= 1; NULL: all 1 */
    const int32_t *checkpoint_slots;    /* [R, max_checkpoints] host */
    const attn_tensor *has_initial_state_device;
    const attn_tensor *num_accepted_tokens_device;
    const attn_tensor *checkpoint_slots_device;
} attn_ext_state;

#ifdef __cplusplus
}
#endif

#endif /* ATTN_METADATA_H */
