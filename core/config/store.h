/* SPDX-License-Identifier: Apache-2.0 */
/* config/store.h - sections and values while and after reading. */
#ifndef ATTN_CONFIG_STORE_H
#define ATTN_CONFIG_STORE_H

#include <attn/config.h>

#include "base/error.h"
#include "config/keys.h"

/* One section with its values; the first mention gives place and origin. */
typedef struct attn_section {
    const char *name; /* canonical: "plugin x", "select layers 0-3" */
    uint32_t kind;    /* ATTN_SECTION_* */
    uint32_t line;
    const char *origin;
    uint32_t first, last; /* of [select layers first-last] */
    attn_config_value *values;
    size_t count, capacity;
    uint32_t last_file; /* number of the file that mentioned it last */
    uint32_t last_line; /* and where */
} attn_section;

struct attn_config {
    attn_section *sections;
    size_t num_sections, sections_capacity;
    char **strings; /* all text, freed with the config */
    size_t num_strings, strings_capacity;
    const char **warnings;
    size_t num_warnings, warnings_capacity;
    const attn_config_value **flat; /* made by attn_config_finish */
    size_t num_flat;
    uint32_t num_files;
    const char *main_file; /* "" when parsed from text */
};

/* [any] A config with the sections [attn] and [select] at their defaults. */
attn_status attn_config_create(attn_config **config, attn_error *err);

/* [any] Keeps the main file's name. */
attn_status attn_config_name(attn_config *config, const char *path,
                             attn_error *err);

/* [any] Reads one file's text over what is there. */
attn_status attn_config_read(attn_config *config, const char *name,
                             const char *text, size_t size, attn_error *err);

/* [any] Sets a key of an existing section from outside any file. */
attn_status attn_config_override(attn_config *config, const char *section,
                                 const char *key, const char *value,
                                 const char *origin, attn_error *err);

/* [any] Keeps a warning (a format, one line). */
attn_status attn_config_warn(attn_config *config, attn_error *err,
                             const char *fmt, ...) ATTN_PRINTF(3, 4);

/* [any] After the last file: checks what only the whole can show and fixes
 * the order that attn_config_at walks. */
attn_status attn_config_finish(attn_config *config, attn_error *err);

/* [any] ATTN_PLUGIN_PATH and ATTN_LOG, and warnings for ATTN_* variables
 * that mean nothing. */
attn_status attn_config_read_environment(attn_config *config, attn_error *err);

/* [any] A section by name, or NULL. */
const attn_section *attn_config_section(const attn_config *config,
                                        const char *name);
/* [any] A value of a section by key, or NULL. */
const attn_config_value *attn_section_value(const attn_section *section,
                                            const char *key);

#endif /* ATTN_CONFIG_STORE_H */
