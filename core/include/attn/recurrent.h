/* SPDX-License-Identifier: Apache-2.0 */
/* attn/recurrent.h - what state-space layers derive from a batch.
 *
 * Pure functions; lists and sizing as in attn/plan.h. first_request: the
 * first of the prefills, whose tokens are then counted from 0 (0: all).
 * THREADS: [any][hot]. */
#ifndef ATTN_RECURRENT_H
#define ATTN_RECURRENT_H

#include <attn/batch.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Programs of a causal convolution, each for block_m tokens of one request:
 * program p covers tokens block_m * offset[p] and on of request batch[p]
 * (counted from first_request). Lists [capacity]. */
ATTN_API attn_status attn_conv1d_programs(const attn_batch *batch,
                                          uint32_t first_request,
                                          uint32_t block_m, int32_t *request,
                                          int32_t *offset, uint32_t capacity,
                                          uint32_t *count, attn_error *err);

#define ATTN_CHUNK_LOGICAL 0u  /* cut where the sequence passes a multiple */
#define ATTN_CHUNK_PHYSICAL 1u /* cut where the batch's tokens do */

/* Chunks of a state-space scan: no chunk spans two requests. LOGICAL: the
 * first chunk of a request ends at the next multiple of chunk_size of its
 * sequence (needs exact seq_lens). starts [capacity + 1]: first token of each
 * chunk, and the end; request [capacity]; last_chunk [R - first_request]: the
 * request's last chunk, -1 when it has no token. At most
 * 2 * requests + tokens / chunk_size chunks. */
ATTN_API attn_status attn_mamba2_chunks(const attn_batch *batch,
                                        uint32_t first_request,
                                        uint32_t chunk_size, uint32_t mode,
                                        int32_t *starts, int32_t *request,
                                        int32_t *last_chunk, uint32_t capacity,
                                        uint32_t *count, attn_error *err);

/* State indices [R, 1 + num_drafts] from a block table that keeps a state
 * per block of block_size positions (the group's): columns from
 * max((S - 1) / block_size, 0) on. Columns beyond the table are ATTN_E_ARG.
 * Entries of a request with S = 0 are column 0 on. Needs exact seq_lens. */
ATTN_API attn_status attn_state_table(const attn_batch *batch,
                                      const attn_kv_group *group,
                                      uint32_t num_drafts, int32_t *states,
                                      attn_error *err);

/* Blocks at which a state is kept for prefix caching, per request [R]:
 * last computed max(ceil(c / b) - 1, 0), first scheduled floor(c / b) and
 * last scheduled max(ceil(S / b) - 1, 0), with c the context. Any list
 * may be NULL. Needs exact seq_lens. */
ATTN_API attn_status attn_state_blocks(
    const attn_batch *batch, uint32_t block_size, int32_t *last_computed,
    int32_t *first_scheduled, int32_t *last_scheduled, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_RECURRENT_H */
