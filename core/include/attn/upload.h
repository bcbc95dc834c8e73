/* SPDX-License-Identifier: Apache-2.0 */
/* attn/upload.h - a step's metadata on the device of its backend.
 *
 * A GPU backend reads the mirrors of attn_batch and attn_kv_group. An upload
 * holds device memory for them at fixed addresses, so that a captured graph
 * that was built on it replays with the next step's values:
 *
 *   attn_upload_create              once per group
 *     attn_batch_upload             once per step, before attn_group_build
 *
 * An engine with buffers of its own fills the mirrors itself instead. */
#ifndef ATTN_UPLOAD_H
#define ATTN_UPLOAD_H

#include <attn/api.h>
#include <attn/registry.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct attn_upload attn_upload;

typedef struct attn_upload_params {
    uint32_t struct_size;
    uint32_t max_ranges;      /* prefix ranges per request; 0: none */
    uint32_t max_checkpoints; /* checkpoint slots per request; 0: none */
    uint32_t reserved;
    const attn_entry *entry; /* whose device it is for */
    const attn_limits *limits;
} attn_upload_params;

/* [main] Takes device memory for the largest step, and pinned memory for
 * limits.steps_in_flight (0: 2) of them. For a CPU backend it takes none. */
ATTN_API attn_status attn_upload_create(const attn_upload_params *params,
                                        attn_upload **upload, attn_error *err);
/* [main] The device must be idle. */
ATTN_API void attn_upload_destroy(attn_upload *upload);

/* [hot] One thread at a time per upload; outside capture. Enqueues copies of
 * the host arrays on stream and gives metadata that has them as mirrors; a
 * mirror the caller set stays. The result is the upload's, holds the caller's
 * host arrays, and is good until the next call. On the CPU it is the
 * caller's. At most steps_in_flight calls may be pending on the device.
 * ATTN_E_ARG: beyond the limits. */
ATTN_API attn_status attn_batch_upload(
    attn_upload *upload, const attn_batch *batch, const attn_kv_group *kv,
    const attn_stream *stream, const attn_batch **batch_out,
    const attn_kv_group **kv_out, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_UPLOAD_H */
