/* SPDX-License-Identifier: Apache-2.0 */
/* runtime/slice.h - whole requests of a batch as a batch of their own. */
#ifndef ATTN_RUNTIME_SLICE_H
#define ATTN_RUNTIME_SLICE_H

#include <attn/batch.h>

#include "runtime/memory.h"

/* A tensor header with room for its shape. */
typedef struct attn_view {
    attn_tensor tensor;
    int64_t shape[4];
} attn_view;

/* [any][hot] Rows [first, first + count) of dimension 0. */
const attn_tensor *attn_view_rows(attn_view *view, const attn_tensor *of,
                                  int64_t first, int64_t count);

/* Room for the slice; owned by a part, used again each step. */
typedef struct attn_slice {
    attn_batch batch;
    attn_kv_group kv;
    /* Batch: starts, lengths, causal, ranges, local lengths. */
    attn_view starts, lens, causal, ranges, local;
    /* Group: table, slots, initial, accepted, checkpoints. */
    attn_view table, slots, initial, accepted, checkpoints;
    attn_ext_prefix_ranges prefix_ext;
    attn_ext_context_parallel parallel_ext;
    attn_ext_state state_ext;
    int32_t *host_starts; /* [max_reqs + 1] rebased */
    attn_memory memory;   /* a ring of pinned starts, and device starts */
    uint32_t max_reqs, ring, turn;
} attn_slice;

/* [any] */
attn_status attn_slice_create(const attn_place *place, uint32_t max_reqs,
                              uint32_t steps_in_flight, attn_slice *slice,
                              attn_error *err);
void attn_slice_free(attn_slice *slice);

/* Requests [first_req, first_req + num_reqs) with their tokens. */
typedef struct attn_cut {
    uint32_t first_req, num_reqs;
    uint32_t first_token, num_tokens;
} attn_cut;

/* [any][hot] Fills slice->batch and slice->kv as views; only the starts are
 * new, on the device too (copied on stream). Extensions this library knows
 * are sliced, others left out. */
attn_status attn_slice_make(attn_slice *slice, const attn_batch *batch,
                            const attn_kv_group *kv, const attn_cut *cut,
                            const attn_stream *stream, attn_error *err);

#endif /* ATTN_RUNTIME_SLICE_H */
