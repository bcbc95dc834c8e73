/* SPDX-License-Identifier: Apache-2.0 */
/* verify/trial.h - one builder of a backend with everything a call needs, in
 * guarded memory, driven step by step through the contract of plugin.h. */
#ifndef ATTN_VERIFY_TRIAL_H
#define ATTN_VERIFY_TRIAL_H

#include "verify/buffer.h"
#include "verify/problem.h"

#define ATTN_TRIAL_PADDED 1u /* free outer strides are longer than needed */
#define ATTN_TRIAL_TURNED 2u /* blocks of K and V lie head by head */

/* [any] The flags that ATTN_RUN_* ask for. */
static inline uint32_t
attn_trial_flags(uint32_t run_flags)
{
    return (run_flags & ATTN_RUN_PADDED ? ATTN_TRIAL_PADDED : 0) |
           (run_flags & ATTN_RUN_TURNED ? ATTN_TRIAL_TURNED : 0);
}

#define ATTN_TRIAL_BUFFERS 40

typedef struct attn_trial_params {
    attn_registry *registry; /* NULL: open the plugin's device directly */
    const attn_entry *entry;
    uint32_t num_threads; /* 0: the executor's */
    uint32_t capture;     /* limits.capture */
    uint32_t flags;       /* ATTN_TRIAL_* */
} attn_trial_params;

typedef struct attn_trial {
    attn_trial_params in;
    attn_place place, host_place;
    attn_ctx *ctx;
    attn_builder *builder;
    const attn_op *op;
    attn_any_layer layer;
    attn_kind kind;
    attn_limits limits;
    attn_buffer *buffers[ATTN_TRIAL_BUFFERS];
    uint32_t num_buffers;
    attn_buffer *mirrors[ATTN_TRIAL_BUFFERS]; /* of metadata, by buffer */
    attn_prepared *prepared;
    attn_batch batch;
    attn_kv_group group;
    attn_ext_prefix_ranges ranges;
    attn_ext_state state;
    uint32_t has_new;
    uint64_t graph;
    uint32_t has_graph;
} attn_trial;

/* [main] Builder, workspaces, tensors for `call` (loaded), constants packed
 * and then taken away. On failure *trial is nothing to destroy. */
attn_status attn_trial_create(const attn_trial_params *params,
                              const attn_call *call, attn_trial **trial,
                              attn_error *err);
/* [main] */
void attn_trial_destroy(attn_trial *trial);

/* [builder] Another call of the same layer into the same memory; its sizes
 * must not exceed those of the first. Constants stay. Outputs NaN again. */
attn_status attn_trial_load(attn_trial *trial, const attn_call *call,
                            attn_error *err);

/* [builder] */
attn_status attn_trial_build(attn_trial *trial, attn_error *err);
/* [builder] update_cache where the call has new tokens. */
attn_status attn_trial_update(attn_trial *trial, attn_error *err);
attn_status attn_trial_forward(attn_trial *trial, attn_error *err);
/* [builder] forward recorded into a graph; launched by attn_trial_replay. */
attn_status attn_trial_capture(attn_trial *trial, attn_error *err);
attn_status attn_trial_replay(attn_trial *trial, attn_error *err);
attn_status attn_trial_sync(attn_trial *trial, attn_error *err);

/* [builder] build, update, forward, synchronise, check. */
attn_status attn_trial_run(attn_trial *trial, attn_error *err);

/* [builder] Nothing outside the outputs was written. */
attn_status attn_trial_check(attn_trial *trial, attn_error *err);
/* [builder] What came out, as a call. */
attn_status attn_trial_collect(attn_trial *trial, attn_call **result,
                               attn_error *err);

attn_buffer *attn_trial_find(const attn_trial *trial, const char *name);

/* [builder] constants -> layer_prepare. */
attn_status attn_trial_prepare(attn_trial *trial, const attn_call *call,
                               attn_error *err);
/* [builder] Points batch, group and extensions at the metadata buffers. */
void attn_trial_metadata(attn_trial *trial, const attn_problem *p);

/* [any] Whether the backend takes the layer: claims, then its check. 0: the
 * reasons, joined by "; ". */
int attn_eligible(attn_registry *registry, const attn_entry *entry,
                  const attn_layer *layer, char *text, size_t size);
/* [any] The same as a status: ATTN_E_UNSUPPORTED with those reasons. */
attn_status attn_eligible_check(attn_registry *registry,
                                const attn_entry *entry,
                                const attn_layer *layer, attn_error *err);

#endif
