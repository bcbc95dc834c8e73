/* SPDX-License-Identifier: Apache-2.0 */
/* attn/config.h - the configuration: INI files with the origin of each value.
 *
 * Sources, later wins: built-in defaults; the main file (the path given, else
 * $ATTN_CONFIG, else $(sysconfdir)/attn/attn.ini, else none); its drop-ins
 * `<main file without .ini>.d/ *.ini` in sorted order; ATTN_PLUGIN_PATH and
 * ATTN_LOG. Unknown sections, keys and ATTN_* variables are errors or
 * warnings with file, line and the nearest known name: see attn.ini(5). */
#ifndef ATTN_CONFIG_H
#define ATTN_CONFIG_H

#include <attn/api.h>
#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct attn_config attn_config;

/* [any] path NULL: as above. ATTN_E_CONFIG: err->message starts with
 * "file:line: ". The caller frees *config. */
ATTN_API attn_status attn_config_load(const char *path, attn_config **config,
                                      attn_error *err);

/* [any] Parses text as if it were the main file `name`; no environment, no
 * drop-ins. For tests and fuzzing. */
ATTN_API attn_status attn_config_parse(const char *name, const char *text,
                                       size_t size, attn_config **config,
                                       attn_error *err);

ATTN_API void attn_config_free(attn_config *config);

/* [any] The main file of attn_config_load, whether it is there or not: its
 * drop-ins lie in the directory of this name without ".ini", with ".d". ""
 * for a text. Owned by the config. */
ATTN_API const char *attn_config_main_file(const attn_config *config);

/* One effective value. Owned by the config. */
typedef struct attn_config_value {
    const char *section; /* "attn", "plugin flash_cpu", "select layers 0-3" */
    const char *key;
    const char *value;
    const char *origin; /* a file's path, "default" or "environment" */
    uint32_t line;      /* 0 where the origin is no file */
    uint32_t reserved;
    const char *help; /* one line from the key table */
} attn_config_value;

/* [any] All values in a stable order, defaults included. */
ATTN_API size_t attn_config_count(const attn_config *config);
ATTN_API const attn_config_value *attn_config_at(const attn_config *config,
                                                 size_t index);

/* [any] The value of one key, or NULL. */
ATTN_API const char *attn_config_get(const attn_config *config,
                                     const char *section, const char *key);

/* [any] Warnings met while loading (unknown ATTN_* variables ...). */
ATTN_API size_t attn_config_num_warnings(const attn_config *config);
ATTN_API const char *attn_config_warning(const attn_config *config,
                                         size_t index);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_CONFIG_H */
