/* SPDX-License-Identifier: Apache-2.0 */
/* select/layer.h - fields of a layer by name. */
#ifndef ATTN_SELECT_LAYER_H
#define ATTN_SELECT_LAYER_H

#include <attn/select.h>

/* [any] The field of this name, or NULL. */
const attn_field *attn_family_field(const attn_family *family,
                                    const char *name);
/* [any] A layer of a known family as today's struct: fields that its maker did
 * not know have their defaults. ATTN_E_ARG: an unknown family, or less than a
 * layer of 1.0.
 */
attn_status attn_layer_take(const attn_layer *from, attn_any_layer *to,
                            const attn_family **family, attn_error *err);
/* [any] Reads one field. */
uint32_t attn_field_u32(const attn_field *field, const attn_layer *layer);
int32_t attn_field_i32(const attn_field *field, const attn_layer *layer);
float attn_field_f32(const attn_field *field, const attn_layer *layer);
attn_dtype attn_field_dtype(const attn_field *field, const attn_layer *layer);

#endif /* ATTN_SELECT_LAYER_H */
