/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/error.h"
#include "select/selection.h"

attn_status
attn_select(attn_registry *registry, const attn_layer *layer,
            const attn_select_params *params, attn_selection **selection,
            attn_error *err)
{
    size_t count = attn_registry_count(registry);
    const attn_entry **entries = calloc(count + 1, sizeof *entries);
    if (!entries)
        return attn_error_nomem(err, "selection", 0);
    for (size_t i = 0; i < count; i++)
        entries[i] = attn_registry_at(registry, i);
    attn_status s =
        attn_select_among(entries, count, attn_registry_config(registry), layer,
                          params, selection, err);
    free(entries);
    return s;
}
