/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/options.h - a plugin's options: its schema, the values given. */
#ifndef ATTN_PLUGIN_OPTIONS_H
#define ATTN_PLUGIN_OPTIONS_H

#include <attn/config.h>
#include <attn/plugin.h>

/* [any] Is this text a value of the option? ATTN_E_ARG says what would be. */
attn_status attn_option_check(const attn_option *option, const char *value,
                              attn_error *err);

/* Where a plugin's values come from. */
typedef struct attn_option_source {
    const attn_config *config;   /* NULL: none */
    const char *section;         /* "plugin flash_cpu"; NULL: none */
    const attn_key_value *given; /* NULL-key terminated; win; NULL: none */
} attn_option_source;

/* [any] One value per option of the plugin, in its order: given, configured,
 * or the default. ATTN_E_CONFIG: "file:line: ..." for a key or value of the
 * section; ATTN_E_ARG for one of `given`. The caller frees *values; the texts
 * belong to the sources. */
attn_status attn_options_merge(const attn_plugin *plugin,
                               const attn_option_source *source,
                               attn_key_value **values, attn_error *err);

#endif /* ATTN_PLUGIN_OPTIONS_H */
