/* SPDX-License-Identifier: Apache-2.0 */
/* attn/spec_decode.h - batches of speculative decoding (EAGLE, MTP).
 *
 * The target model has verified a step in which request r had n_r draft
 * tokens (query length n_r + 1) and some were rejected. The draft model then
 * runs on the accepted tokens (compacted, or padded where shapes must stay),
 * proposes token by token (draft step), or takes several at once (extend).
 * Rooms and results as in attn/transform.h. THREADS: [any][hot]. */
#ifndef ATTN_SPEC_DECODE_H
#define ATTN_SPEC_DECODE_H

#include <attn/transform.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Without the rejected tokens: the last num_rejected[r] of each query, fewer
 * than its length, fall away from query, sequence and slots. token_indices
 * [num_tokens]: input index of each token kept (query_start_loc[R] of the
 * result are written); may be NULL. Sizing: attn_batch_size_of (table_cols
 * may be 0: the table is carried). */
ATTN_API attn_status attn_spec_compact(
    const attn_batch *batch, const attn_kv_group *group,
    const int32_t *num_rejected, uint32_t *token_indices, attn_batch_room *room,
    attn_batch *out, attn_kv_group *out_group, attn_error *err);

/* The batch stays as it is; only where to sample is computed. Per request:
 * num_drafts n (0: no verification), num_valid tokens that the sampler
 * returned; rejected = n ? n + 1 - valid : 0, and sample_indices the last
 * token that was not rejected. num_rejected may be NULL. */
ATTN_API attn_status attn_spec_padded(const attn_batch *batch,
                                      const int32_t *num_drafts,
                                      const int32_t *num_valid,
                                      int32_t *sample_indices,
                                      int32_t *num_rejected, attn_error *err);

/* The token each request goes on with. sampled [n, width]: valid tokens are
 * 0 <= token < vocab_size, all else (-1) was rejected; discard [n] or NULL
 * marks requests whose samples do not count (still prefilling). next [n]: the
 * last valid token, or backup[r]; num_valid [n]. */
ATTN_API attn_status attn_spec_next_tokens(const int32_t *sampled, uint32_t n,
                                           uint32_t width, int32_t vocab_size,
                                           const uint8_t *discard,
                                           const int32_t *backup, int32_t *next,
                                           int32_t *num_valid, attn_error *err);

/* One more token for every request: query length 1 at position
 * positions[r] + 1. Past max_model_len the token is void: position 0, slot
 * -1, seq_len 1. new_positions [R] may be positions itself. No padding
 * requests. Sizing: num_reqs requests and tokens. */
ATTN_API attn_status attn_spec_draft_step(
    const attn_batch *batch, const attn_kv_group *group,
    const int32_t *positions, uint32_t max_model_len, int32_t *new_positions,
    attn_batch_room *room, attn_batch *out, attn_kv_group *out_group,
    attn_error *err);

typedef struct attn_spec_extend_params {
    uint32_t struct_size;
    uint32_t count;              /* new tokens for each request, or */
    const int32_t *counts;       /* [R] for each; NULL: count */
    const int32_t *num_rejected; /* [R] of the old tokens, slot -1; or NULL */
    uint32_t max_model_len;      /* positions from here on get slot -1 */
    uint32_t reserved;
} attn_spec_extend_params;

/* Each query and sequence grows by its count of tokens at its end. Needs
 * exact seq_lens where slots are mapped. */
ATTN_API attn_status
attn_spec_extend_size(const attn_batch *batch, const attn_kv_group *group,
                      const attn_spec_extend_params *params,
                      attn_batch_size *size, attn_error *err);
ATTN_API attn_status attn_spec_extend(const attn_batch *batch,
                                      const attn_kv_group *group,
                                      const attn_spec_extend_params *params,
                                      attn_batch_room *room, attn_batch *out,
                                      attn_kv_group *out_group,
                                      attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_SPEC_DECODE_H */
