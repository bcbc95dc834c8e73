/* SPDX-License-Identifier: Apache-2.0 */
/* verify/call_layer.h - the layer of a recorded call. */
#ifndef ATTN_VERIFY_CALL_LAYER_H
#define ATTN_VERIFY_CALL_LAYER_H

#include <attn/select.h>
#include <jansson.h>

/* Looks a tensor of the file up: its dtype, number of columns in its second
 * dimension (0: it has none); false when absent. */
typedef int (*attn_tensor_lookup)(const void *arg, const char *name,
                                  attn_dtype *dtype, int64_t *columns);

/* [any] From the `family` and `layer` texts of the metadata, and from the
 * tensors: their types, and the features that their presence means.
 * ATTN_E_FORMAT names the key. */
attn_status attn_call_layer_read(const char *family, const json_t *layer,
                                 attn_tensor_lookup lookup, const void *arg,
                                 attn_any_layer *out, attn_error *err);

#endif
