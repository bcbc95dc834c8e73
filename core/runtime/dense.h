/* SPDX-License-Identifier: Apache-2.0 */
/* runtime/dense.h - row-major host copies of tensors. */
#ifndef ATTN_RUNTIME_DENSE_H
#define ATTN_RUNTIME_DENSE_H

#include <attn/call.h>

#include "runtime/memory.h"

/* [any] Adds `of` to the call under this name, whole, or where rows is not
 * NULL its rows rows[0..count) of dimension 0. Device tensors are fetched on
 * stream, which is waited for. */
attn_status attn_dense_add(attn_call *call, const char *name,
                           const attn_tensor *of, const int32_t *rows,
                           int64_t count, const attn_place *place,
                           const attn_stream *stream, attn_error *err);

#endif /* ATTN_RUNTIME_DENSE_H */
