/* SPDX-License-Identifier: Apache-2.0 */
/* attn/session.h - running layers: describe, build, forward.
 *
 * A session holds groups; a group is the layers of one description that share
 * one KV group, on one backend (or two: one for prefill, one for decode).
 *
 *   attn_session_create
 *     attn_group_create         selects, opens, creates builders, binds
 *       attn_group_add_layer    once per layer: packs its constants
 *     per step:  attn_group_build
 *       per layer:  attn_group_update_cache, attn_group_forward
 *
 * After the last add_layer nothing allocates. THREADS: functions marked
 * [group] take one thread at a time per group; different groups run in
 * parallel when the executor allows concurrent loops (the built-in pool
 * serialises loops of different callers). */
#ifndef ATTN_SESSION_H
#define ATTN_SESSION_H

#include <attn/api.h>
#include <attn/registry.h>
#include <attn/select.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct attn_session attn_session;
typedef struct attn_group attn_group;
typedef struct attn_group_layer attn_group_layer;

/* [main] The registry must outlive the session. */
ATTN_API attn_status attn_session_create(attn_registry *registry,
                                         attn_session **session,
                                         attn_error *err);
/* [main] Destroys its groups first; their streams must be idle. */
ATTN_API void attn_session_destroy(attn_session *session);

typedef struct attn_group_params {
    uint32_t struct_size;
    uint32_t layer_index;      /* first layer's number, for [select layers];
                                  ATTN_LAYER_INDEX_NONE */
    const attn_layer *layer;   /* finished (attn_layer_finish); copied */
    const attn_limits *limits; /* copied; num_threads 0: the executor's */
    const char *backend;       /* NULL: as configured */
    uint32_t device; /* which of the backend's devices, from 0; the CPU is
                        one whatever is asked */
    uint32_t reserved;
} attn_group_params;

/* [main] One info line says which backend was chosen and why. When prefill
 * and decode are configured to different backends, or measured faster on them,
 * the group holds two builders and splits each decode-first batch; an unordered
 * batch is then ATTN_E_ARG. Where they cannot share a cache, auto takes one
 * backend for both, which is the named one when one phase has a name; with two
 * names it is ATTN_E_CONFIG. */
ATTN_API attn_status attn_group_create(attn_session *session,
                                       const attn_group_params *params,
                                       attn_group **group, attn_error *err);
ATTN_API void attn_group_destroy(attn_group *group);

/* [any] The backend for a phase (ANY: that of both, or prefill's). */
ATTN_API const attn_entry *attn_group_backend(const attn_group *group,
                                              uint32_t phase);
/* [any] Block sizes, bytes per block, alignment and strides of this layer's
 * caches on one backend, before or without a group. The caller sets
 * spec->struct_size; what lies in it is written. */
ATTN_API attn_status attn_kv_spec_get(const attn_entry *entry,
                                      const attn_layer *layer,
                                      attn_kv_spec *spec, attn_error *err);

/* [group] Packs one layer's constants: the family's block, NULL when it has
 * none. The tensors are the caller's again afterwards. ATTN_E_ARG names a
 * constant that is missing or of the wrong shape. The layer lives as long as
 * its group. */
ATTN_API attn_status attn_group_add_layer(attn_group *group,
                                          const attn_head *constants,
                                          attn_group_layer **layer,
                                          attn_error *err);

/* [group][hot] Validates (attn_batch_validate, attn_kv_group_validate with
 * the pages the step writes, the limits; ATTN_E_ARG too for per-request
 * causal, prefix ranges or ATTN_BATCH_CROSS when the attention layer was
 * described without that feature; ATTN_E_UNSUPPORTED for attention over a
 * rank's share of the keys, ATTN_EXT_CONTEXT_PARALLEL with world above 1: give
 * the share as a batch of its own and merge with attn/merge.h) and builds.
 * Batch, group and their arrays
 * stay valid and unchanged until the last forward of the step. stream
 * NULL: the CPU's. A GPU backend needs the device mirrors, on its device. */
ATTN_API attn_status attn_group_build(attn_group *group,
                                      const attn_batch *batch,
                                      const attn_kv_group *kv,
                                      const attn_stream *stream,
                                      attn_error *err);
/* [group][hot] The family's update block. Checks every tensor against layer
 * and step. ATTN_E_UNSUPPORTED: a family without update_cache (Mamba). */
ATTN_API attn_status attn_group_update_cache(attn_group *group,
                                             const attn_head *args,
                                             attn_error *err);
/* [group][hot] The family's forward block; its `layer` member is ignored, the
 * handle given here counts. Checks every tensor against layer and step
 * (ATTN_E_ARG names it); a vendor's family is not checked, its block begins
 * as the known ones do (head, stream, layer) and has at most 512 bytes. With
 * ATTN_DUMP_DIR set the call is also recorded, see attn/call.h. */
ATTN_API attn_status attn_group_forward(attn_group *group,
                                        attn_group_layer *layer,
                                        const attn_head *args, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_SESSION_H */
