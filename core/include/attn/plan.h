/* SPDX-License-Identifier: Apache-2.0 */
/* attn/plan.h - what builders derive from a batch without changing it.
 *
 * Each function is pure, allocates nothing and reads validated metadata.
 * Lists go into arrays of `capacity` elements of the caller; one that does
 * not fit is ATTN_E_WORKSPACE with the number needed. A NULL list makes the
 * same call the sizing call: only the count is written. THREADS:
 * [any][hot]. */
#ifndef ATTN_PLAN_H
#define ATTN_PLAN_H

#include <attn/batch.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The split of a batch that is ordered decodes, extends, fresh prefills. */
typedef struct attn_split3 {
    uint32_t num_decodes, num_extends, num_prefills;
    uint32_t num_decode_tokens, num_extend_tokens, num_prefill_tokens;
} attn_split3;

/* A decode has at most decode_threshold new tokens; behind the first longer
 * query, prefills start at the first request without context. Needs a host
 * seq_lens (a bound will do: it is exact for prefills). */
ATTN_API attn_status attn_batch_split3(const attn_batch *batch,
                                       uint32_t decode_threshold,
                                       attn_split3 *split, attn_error *err);

/* Requests [first, last). */
typedef struct attn_span {
    uint32_t first, last;
} attn_span;

/* Greedy packing of consecutive requests so that their seq_lens add up to at
 * most `workspace` rows. lens [n]; indices in `spans` start at `offset`. A
 * length above workspace is ATTN_E_ARG. */
ATTN_API attn_status attn_prefill_chunks(const int32_t *lens, uint32_t n,
                                         uint32_t workspace, uint32_t offset,
                                         attn_span *spans, uint32_t capacity,
                                         uint32_t *count, attn_error *err);

/* A piece of one request's context: rows [start, start + length). */
typedef struct attn_context_piece {
    uint32_t request, start, length;
} attn_context_piece;

/* A chunk of context that is gathered at once: pieces [first, last), their
 * lengths together at most the workspace. Only the first piece of a chunk may
 * continue a request (start > 0). */
typedef struct attn_context_chunk {
    uint32_t first, last;
    uint32_t rows;
    uint32_t continues; /* 1: the first piece has start > 0 */
} attn_context_chunk;

/* The greedy plan of MLA prefill over cached context: requests first_request
 * to R - 1 in order, context S - q of each; a piece that is cut ends at a
 * multiple of block_size; a request without context ends a chunk. Every
 * context row is in exactly one piece. workspace: rows, >= block_size. Needs
 * exact seq_lens. Either list may be NULL to size. At most
 * pieces <= requests + rows / (workspace - block_size + 1). */
ATTN_API attn_status attn_context_chunks(
    const attn_batch *batch, uint32_t first_request, uint32_t workspace,
    uint32_t block_size, attn_context_piece *pieces, uint32_t piece_capacity,
    uint32_t *num_pieces, attn_context_chunk *chunks, uint32_t chunk_capacity,
    uint32_t *num_chunks, attn_error *err);

/* For each new token the bidirectional range (attn_ext_prefix_ranges) that
 * holds its position, or (-1, -1): ranges [num_tokens, 2]. *rows is
 * query_start_loc[R], or 0 when no token lies in any (nothing is written
 * then). A range of one position changes nothing and is left out. Needs exact
 * seq_lens and host ranges; an absent extension gives 0. */
ATTN_API attn_status attn_prefix_query_ranges(const attn_batch *batch,
                                              int32_t *ranges,
                                              uint32_t capacity, uint32_t *rows,
                                              attn_error *err);

/* request[t] of each new token; tokens past query_start_loc[R] get 0.
 * request: [num_tokens]. */
ATTN_API attn_status attn_token_requests(const attn_batch *batch,
                                         int32_t *request, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_PLAN_H */
