/* SPDX-License-Identifier: Apache-2.0 */
/* attn/transform.h - transforms that make a new batch out of a batch.
 *
 * Each is a pure function: it reads validated metadata (attn_batch_validate),
 * allocates nothing, and writes into room of the caller's. Three steps:
 *
 *   attn_batch_size size;                     how much, by the sizing call
 *   attn_local_attention_size(batch, group, 1024, &size, &err);
 *   attn_batch_room_bytes(&size, &bytes, &err);
 *   attn_batch_room_bind(&size, memory, bytes, &room, &err);
 *   attn_local_attention(batch, group, 1024, &room, &out, &out_group, &err);
 *
 * The result borrows from the room and, where a field is carried or a block
 * table is viewed, from the input: both stay unchanged while it is used. On
 * failure `out` is not written; the room's content is undefined. Where a
 * group is taken it may be NULL, with out_group NULL.
 *
 * What a transform does to every field stands in its table
 * (attn_transform_at). Extension blocks whose id libattn does not know are
 * never passed on; device mirrors only where nothing they mirror changes.
 * THREADS: everything here is [any]; per-step functions are [hot]. */
#ifndef ATTN_TRANSFORM_H
#define ATTN_TRANSFORM_H

#include <attn/batch.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------ field tables */

/* The fields, in the order of the tables. */
typedef enum attn_batch_field {
    ATTN_FIELD_BATCH_FLAGS,
    ATTN_FIELD_NUM_REQS,
    ATTN_FIELD_NUM_TOKENS,
    ATTN_FIELD_MAX_QUERY_LEN,
    ATTN_FIELD_MAX_SEQ_LEN,
    ATTN_FIELD_QUERY_START_LOC_STATE,
    ATTN_FIELD_SEQ_LENS_STATE,
    ATTN_FIELD_QUERY_START_LOC,
    ATTN_FIELD_SEQ_LENS,
    ATTN_FIELD_IS_PREFILLING,
    ATTN_FIELD_NUM_PROMPT_TOKENS,
    ATTN_FIELD_CAUSAL,
    ATTN_FIELD_QUERY_START_LOC_DEVICE,
    ATTN_FIELD_SEQ_LENS_DEVICE,
    ATTN_FIELD_CAUSAL_DEVICE,
    ATTN_FIELD_BATCH_EXT, /* blocks of unknown id */
    ATTN_FIELD_PREFIX_RANGES,
    ATTN_FIELD_PREFIX_RANGES_DEVICE,
    ATTN_FIELD_LOCAL_SEQ_LENS,
    ATTN_FIELD_LOCAL_SEQ_LENS_DEVICE,
    ATTN_FIELD_GROUP_FLAGS,
    ATTN_FIELD_BLOCK_SIZE,
    ATTN_FIELD_NUM_BLOCKS,
    ATTN_FIELD_BLOCK_TABLE_COLS,
    ATTN_FIELD_BLOCK_TABLE_STRIDE,
    ATTN_FIELD_BLOCK_TABLE,
    ATTN_FIELD_SLOT_MAPPING,
    ATTN_FIELD_BLOCK_TABLE_DEVICE,
    ATTN_FIELD_SLOT_MAPPING_DEVICE,
    ATTN_FIELD_GROUP_EXT, /* blocks of unknown id */
    ATTN_FIELD_HAS_INITIAL_STATE,
    ATTN_FIELD_NUM_ACCEPTED_TOKENS,
    ATTN_FIELD_CHECKPOINT_SLOTS,
    ATTN_FIELD_STATE_DEVICE, /* the three mirrors of attn_ext_state */
    ATTN_NUM_FIELDS
} attn_batch_field;

/* What becomes of a field. An absent input field is absent in the output. */
#define ATTN_CARRIED 1u    /* the same value or pointer */
#define ATTN_SLICED 2u     /* whole rows of the input's, viewed or copied */
#define ATTN_RECOMPUTED 3u /* made anew */
#define ATTN_INVALID                                      \
    4u /* has no meaning in the output: absent there. A   \
          transform that would change what is computed by \
          dropping it answers ATTN_E_UNSUPPORTED */

typedef struct attn_transform {
    const char *name;     /* "local_attention_virtual_batches" */
    const char *summary;  /* one line */
    const uint8_t *rules; /* [ATTN_NUM_FIELDS] */
} attn_transform;

/* [any] The transforms that have a batch or group as their result; NULL past
 * the end. Those of attn/plan.h only read. Static. */
ATTN_API const attn_transform *attn_transform_at(uint32_t index);
/* [any] "batch.seq_lens"; NULL for a number that is none. Static. */
ATTN_API const char *attn_batch_field_name(uint32_t field);
/* [any] "carried"; NULL for a number that is none. Static. */
ATTN_API const char *attn_batch_rule_name(uint32_t rule);

/* -------------------------------------------------------------------- room */

/* How much room a result needs. Frozen, 24 bytes. */
typedef struct attn_batch_size {
    uint32_t struct_size;
    uint32_t num_reqs;
    uint32_t num_tokens;
    uint32_t table_cols; /* columns written; 0: the table is a view or none */
    uint32_t max_ranges; /* of attn_ext_prefix_ranges */
    uint32_t max_checkpoints; /* of attn_ext_state */
} attn_batch_size;

/* Room for an extension of these kinds. Frozen, 256 bytes. */
typedef union attn_any_ext {
    attn_ext head;
    attn_ext_prefix_ranges prefix_ranges;
    attn_ext_context_parallel context_parallel;
    attn_ext_state state;
    uint64_t room[32];
} attn_any_ext;

/* Room for one result. Filled by attn_batch_room_bind, or by hand. Frozen. */
typedef struct attn_batch_room {
    uint32_t struct_size;
    uint32_t reserved;
    attn_batch_size size;         /* what the arrays hold */
    uint32_t *source;             /* [reqs] input request of each output one */
    int32_t *query_start_loc;     /* [reqs + 1] */
    int32_t *seq_lens;            /* [reqs] */
    uint8_t *is_prefilling;       /* [reqs] */
    uint8_t *causal;              /* [reqs] */
    int32_t *num_prompt_tokens;   /* [reqs] */
    int32_t *local_seq_lens;      /* [reqs] */
    int32_t *ranges;              /* [reqs, max_ranges, 2] */
    uint8_t *has_initial_state;   /* [reqs] */
    int32_t *num_accepted_tokens; /* [reqs] */
    int32_t *checkpoint_slots;    /* [reqs, max_checkpoints] */
    int32_t *block_table;         /* [reqs, table_cols] */
    int64_t *slot_mapping;        /* [tokens] */
    attn_any_ext prefix_ranges, context_parallel, state; /* of the result */
} attn_batch_room;

/* [any] The sizing call of every transform whose result has at most the
 * requests and tokens of its input. group NULL: no table, no slots. */
ATTN_API attn_status attn_batch_size_of(const attn_batch *batch,
                                        const attn_kv_group *group,
                                        attn_batch_size *size, attn_error *err);
/* [any] Bytes that bind needs. ATTN_E_ARG when they exceed 64 bits. */
ATTN_API attn_status attn_batch_room_bytes(const attn_batch_size *size,
                                           uint64_t *bytes, attn_error *err);
/* [any] Divides memory (aligned to 64 bytes) into the arrays of *room. The
 * memory stays the caller's. ATTN_E_WORKSPACE names what is short. */
ATTN_API attn_status attn_batch_room_bind(const attn_batch_size *size,
                                          void *memory, uint64_t bytes,
                                          attn_batch_room *room,
                                          attn_error *err);

/* --------------------------------------------------------- local attention */

/* Attention restricted to chunks of `chunk` positions, as plain attention
 * over virtual requests: one for every chunk that a request's new tokens
 * touch. chunk is a multiple of block_size. A request without new tokens has
 * none. The block table has chunk / block_size columns; entries that no token
 * uses are 0. Needs exact seq_lens; prefix ranges, context parallelism and
 * ATTN_BATCH_CROSS are ATTN_E_UNSUPPORTED. Positions start at the chunk, so
 * num_prompt_tokens is invalid. */
ATTN_API attn_status attn_local_attention_size(const attn_batch *batch,
                                               const attn_kv_group *group,
                                               uint32_t chunk,
                                               attn_batch_size *size,
                                               attn_error *err);
/* [any] The most virtual requests of num_reqs requests with num_tokens new
 * tokens: min(T, 2 R + T / chunk). A request of q tokens, of which the first
 * f >= 1 end a chunk, makes 1 + ceil((q - f) / chunk) of them, each with at
 * least one token: at most q, and at most 2 + (q - 2) / chunk. */
ATTN_API uint32_t attn_local_attention_bound(uint32_t num_reqs,
                                             uint32_t num_tokens,
                                             uint32_t chunk);
ATTN_API attn_status attn_local_attention(const attn_batch *batch,
                                          const attn_kv_group *group,
                                          uint32_t chunk, attn_batch_room *room,
                                          attn_batch *out,
                                          attn_kv_group *out_group,
                                          attn_error *err);

/* ------------------------------------------------------------ microbatches */

/* Requests [first_req, last_req) and tokens [first_token, last_token). */
typedef struct attn_batch_slice {
    uint32_t first_req, last_req;
    uint32_t first_token, last_token;
} attn_batch_slice;

/* [hot] Cuts num_tokens into n >= 2 slices at multiples of split_point (0:
 * num_tokens / n); the last takes the rest and the padding requests. When
 * padding alone would be left for the last slice, or a slice would be empty,
 * *count is 1 and the slice is the whole batch. slices: [n]. */
ATTN_API attn_status attn_microbatch_plan(const attn_batch *batch, uint32_t n,
                                          uint32_t split_point,
                                          attn_batch_slice *slices,
                                          uint32_t *count, attn_error *err);
/* [hot] One slice as a batch of its own. A request may be cut at either end:
 * the part before the cut has a shorter seq_len, the part behind it a longer
 * context. Block table and slots are views. max_seq_len is carried. A cut
 * request of a state group with drafts is ATTN_E_UNSUPPORTED. */
ATTN_API attn_status attn_microbatch(const attn_batch *batch,
                                     const attn_kv_group *group,
                                     const attn_batch_slice *slice,
                                     attn_batch_room *room, attn_batch *out,
                                     attn_kv_group *out_group, attn_error *err);

/* -------------------------------------------------------------- reordering */

/* [hot] The permutation that puts decodes first, then short extends, long
 * extends and fresh prefills, with the fewest moves: order[i] is the old
 * index of the request that then stands at i. Host arrays [n]:
 * scheduled tokens, computed tokens, prompt tokens. scratch: [n]. */
ATTN_API attn_status attn_reorder_plan(const int32_t *scheduled,
                                       const int32_t *computed,
                                       const int32_t *prompt, uint32_t n,
                                       uint32_t decode_threshold,
                                       uint32_t *order, uint32_t *scratch,
                                       uint32_t *modified, attn_error *err);
/* [hot] The batch in that order. Only used block-table entries are copied,
 * others are 0. tokens [num_tokens] or NULL: old index of each new token. */
ATTN_API attn_status attn_batch_reorder(const attn_batch *batch,
                                        const attn_kv_group *group,
                                        const uint32_t *order, uint32_t *tokens,
                                        attn_batch_room *room, attn_batch *out,
                                        attn_kv_group *out_group,
                                        attn_error *err);

/* ----------------------------------------------------------------- padding */

/* [hot] The first num_reqs requests and num_tokens tokens: what is cut must
 * be padding. No room needed; everything is viewed. */
ATTN_API attn_status attn_batch_unpad(const attn_batch *batch,
                                      const attn_kv_group *group,
                                      uint32_t num_reqs, uint32_t num_tokens,
                                      attn_batch *out, attn_kv_group *out_group,
                                      attn_error *err);
/* [hot] The batch with padding requests (q = 0, S = 0, no prefill, causal,
 * state index -1, table row 0) and padding tokens (slot -1) behind it, up to
 * num_reqs and num_tokens, for graph replay. Sizing: attn_batch_size_of with
 * the two counts raised. */
ATTN_API attn_status attn_batch_pad(const attn_batch *batch,
                                    const attn_kv_group *group,
                                    uint32_t num_reqs, uint32_t num_tokens,
                                    attn_batch_room *room, attn_batch *out,
                                    attn_kv_group *out_group, attn_error *err);

/* -------------------------------------------------- queries of logits only */

/* [hot] KV-sharing fast prefill: only the query rows whose logits are needed.
 * logits_indices: n ascending token indices, a tail of each request's query
 * (else causal masks would shift: ATTN_E_ARG); trailing repeats of the last
 * one are padding. seq_lens, table and slots are carried, so slots still
 * count the input's tokens: pass the input's group on unchanged. A batch with
 * max_query_len 1 is carried whole. */
ATTN_API attn_status attn_fast_prefill(const attn_batch *batch,
                                       const uint32_t *logits_indices,
                                       uint32_t n, attn_batch_room *room,
                                       attn_batch *out, attn_error *err);

/* ----------------------------------------------------------------- cascade */

typedef struct attn_cascade_params {
    uint32_t struct_size;
    uint32_t num_common_blocks; /* leading blocks that all requests share */
    uint32_t num_heads, num_kv_heads;
    uint32_t num_units;  /* processors that run tiles: SMs, cores */
    uint32_t excluded;   /* 1: ALiBi, window, local or context parallel */
    uint32_t min_prefix; /* 0: 256 */
    uint32_t min_reqs;   /* 0: 8 */
} attn_cascade_params;

/* [hot] *prefix_len: positions worth one shared pass, a multiple of
 * block_size; 0 when cascade does not pay. */
ATTN_API attn_status attn_cascade_plan(const attn_batch *batch,
                                       const attn_kv_group *group,
                                       const attn_cascade_params *params,
                                       uint32_t *prefix_len, attn_error *err);
/* [hot] The two passes: all tokens as one non-causal query over the prefix,
 * and each request over its rest. Merge with attn_lse_merge. One room each.
 * The prefix pass reads table row 0. */
ATTN_API attn_status attn_cascade_prefix(const attn_batch *batch,
                                         const attn_kv_group *group,
                                         uint32_t prefix_len,
                                         attn_batch_room *room, attn_batch *out,
                                         attn_kv_group *out_group,
                                         attn_error *err);
ATTN_API attn_status attn_cascade_suffix(const attn_batch *batch,
                                         const attn_kv_group *group,
                                         uint32_t prefix_len,
                                         attn_batch_room *room, attn_batch *out,
                                         attn_kv_group *out_group,
                                         attn_error *err);

/* -------------------------------------------------------- context parallel */

/* [hot] The batch with attn_ext_context_parallel of this rank on its chain,
 * local lengths computed (needs a host seq_lens; a bound gives bounds). */
ATTN_API attn_status attn_context_parallel(const attn_batch *batch,
                                           uint32_t world, uint32_t rank,
                                           uint32_t interleave,
                                           attn_batch_room *room,
                                           attn_batch *out, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_TRANSFORM_H */
