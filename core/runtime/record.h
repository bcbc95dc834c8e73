/* SPDX-License-Identifier: Apache-2.0 */
/* runtime/record.h - each forward as a file, when ATTN_DUMP_DIR is set.
 *
 * Files are DIR/PID-NUMBER-BACKEND.safetensors (attn/call.h), as the caches
 * are when forward is called; only the blocks a step uses are kept, with the
 * block table renumbered. ATTN_DUMP_LIMIT bounds the bytes of all files of the
 * process ("512M", default 1G). A forward that cannot be recorded (captured
 * stream, lengths only on the device) is a warning, never an error. */
#ifndef ATTN_RUNTIME_RECORD_H
#define ATTN_RUNTIME_RECORD_H

#include <attn/call.h>
#include <attn/session.h>

#include "base/error.h"

typedef struct attn_recorder attn_recorder;

/* [main] *recorder is NULL when the environment asks for none. ATTN_E_CONFIG:
 * no such directory, or a bad limit. */
attn_status attn_recorder_create(attn_recorder **recorder, attn_error *err);
void attn_recorder_destroy(attn_recorder *recorder);

/* [group] Dense copies of a layer's constants. */
attn_status attn_record_constants(const attn_group *group,
                                  const attn_head *constants, attn_call **call,
                                  attn_error *err);

/* [group] Before the forward itself. Allocates and waits for the stream. */
void attn_record_forward(const attn_group *group, const attn_group_layer *layer,
                         const attn_head *args);

/* [any] What attn_call_store would write, in bytes; its errors. */
attn_status attn_call_measure(const attn_call *call, uint64_t *bytes,
                              attn_error *err);

#endif /* ATTN_RUNTIME_RECORD_H */
