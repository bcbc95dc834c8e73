/* SPDX-License-Identifier: Apache-2.0 */
/* select/selection.h - selecting among given entries. */
#ifndef ATTN_SELECT_SELECTION_H
#define ATTN_SELECT_SELECTION_H

#include <attn/select.h>

/* [any] attn_select on a list of entries. config may be NULL: all auto. */
attn_status attn_select_among(const attn_entry *const *entries, size_t count,
                              const attn_config *config,
                              const attn_layer *layer,
                              const attn_select_params *params,
                              attn_selection **selection, attn_error *err);

/* [any] 1: neither a name in the configuration nor one in the params decided.
 */
int attn_selection_is_auto(const attn_selection *selection);

#endif /* ATTN_SELECT_SELECTION_H */
