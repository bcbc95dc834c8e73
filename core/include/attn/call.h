/* SPDX-License-Identifier: Apache-2.0 */
/* attn/call.h - recorded calls: the attn-call/1 format (safetensors).
 *
 * One call of one backend with its inputs and, where known, what it must
 * return. A session writes each forward to such a file under ATTN_DUMP_DIR
 * (PID-NUMBER-BACKEND.safetensors, numbered through the process; the files of
 * a process take up to ATTN_DUMP_LIMIT bytes, default 1G; only the cache blocks
 * the step uses, with the block table renumbered); `attnctl replay` runs them;
 * reading is part of libattn-verify (attn_call_load). */
#ifndef ATTN_CALL_H
#define ATTN_CALL_H

#include <attn/api.h>
#include <attn/select.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_CALL_MAX_DIMS 8

/* A named dense tensor, row-major. */
typedef struct attn_call_tensor {
    const char *name; /* "q", "expected.out" */
    attn_dtype dtype;
    uint32_t ndim;
    int64_t shape[ATTN_CALL_MAX_DIMS];
    int64_t strides[ATTN_CALL_MAX_DIMS];
    void *data;
    uint64_t bytes;
} attn_call_tensor;

typedef struct attn_call attn_call;

/* [any] An empty call of this layer. */
ATTN_API attn_status attn_call_create(const attn_layer *layer, attn_call **call,
                                      attn_error *err);
ATTN_API void attn_call_free(attn_call *call);

ATTN_API const attn_layer *attn_call_layer(const attn_call *call);
ATTN_API size_t attn_call_count(const attn_call *call);
ATTN_API const attn_call_tensor *attn_call_at(const attn_call *call,
                                              size_t index);
/* [any] By name; NULL when absent. */
ATTN_API const attn_call_tensor *attn_call_find(const attn_call *call,
                                                const char *name);
/* [any] Adds a tensor (content copied when data is not NULL, else zeroed). */
ATTN_API attn_status attn_call_add(attn_call *call, const char *name,
                                   attn_dtype dtype, uint32_t ndim,
                                   const int64_t *shape, const void *data,
                                   attn_call_tensor **tensor, attn_error *err);
/* [any] Writes it atomically (temporary file beside it, rename); a link keeps
 * its place, the file that it names is replaced. ATTN_E_IO with errno in
 * native, or 0 for what is no regular file; ATTN_E_UNSUPPORTED: a vendor's
 * family. */
ATTN_API attn_status attn_call_store(const attn_call *call, const char *path,
                                     attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_CALL_H */
