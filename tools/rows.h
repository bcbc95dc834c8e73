/* SPDX-License-Identifier: Apache-2.0 */
/* rows.h - libattn's objects as JSON, the same in every command. */
#ifndef ROWS_H
#define ROWS_H

#include "output.h"

/* A row of the registry. */
json_t *row_entry(const attn_entry *entry);
/* The plugin's own words: id, version, vendor, options. */
json_t *row_plugin(const attn_plugin *plugin);
/* Claims of a backend, one object a set. */
json_t *row_caps(const attn_backend *backend);
/* All fields of a finished layer, with "family" and "features". */
json_t *row_layer(const attn_layer *layer);
json_t *row_features(uint64_t features);
const char *row_capture(uint32_t level);
/* The family's key, or its id when it is none of ours. */
const char *row_family(const char *id);
/* "cpu", "cuda", "rocm", "emulated", "other". */
const char *row_device_type(int32_t type);

#endif /* ROWS_H */
