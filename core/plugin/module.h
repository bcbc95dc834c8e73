/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/module.h - one plugin of a registry, from its INI section to ready.
 *
 * Every step that fails sets state and reason and ends this module's way;
 * only memory shortage is an error to the caller. */
#ifndef ATTN_PLUGIN_MODULE_H
#define ATTN_PLUGIN_MODULE_H

#include <attn/registry.h>

#include "plugin/device.h"
#include "plugin/file.h"

#define ATTN_ENABLED_AUTO 0u
#define ATTN_ENABLED_YES 1u
#define ATTN_ENABLED_NO 2u

#define ATTN_TRUST_STRICT 0u
#define ATTN_TRUST_WARN 1u
#define ATTN_TRUST_OFF 2u

#define ATTN_PROBE_AUTO 0u
#define ATTN_PROBE_ALWAYS 1u
#define ATTN_PROBE_NEVER 2u

typedef struct attn_context {
    attn_device device;
    attn_ctx *ctx;
} attn_context;

typedef struct attn_module {
    /* As configured. Owned: section to file. */
    char *section;      /* "plugin flash_cpu"; NULL: found by path */
    char *file;         /* absolute where it could be found */
    const char *sha256; /* "" or NULL: no pin */
    uint32_t enabled;   /* ATTN_ENABLED_* */
    int32_t priority;
    /* As examined. */
    uint32_t state; /* ATTN_STATE_READY until something fails */
    char reason[304];
    char *note;      /* owned; NULL: none */
    attn_file_id id; /* zero until examined */
    /* As loaded. */
    const attn_host *host;
    const attn_plugin *plugin;
    attn_context *contexts; /* those opened, one per device */
    size_t context_room;
    uint32_t num_contexts;
    uint8_t claimed;
    uint8_t initialised;
} attn_module;

typedef struct attn_module_list {
    attn_module *items;
    size_t count;
    size_t capacity;
} attn_module_list;

/* What all modules of a registry share. */
typedef struct attn_load_settings {
    const attn_config *config;
    const attn_executor *executor;
    const attn_key_value *options; /* of the caller; NULL: none */
    const char *option_backend;
    uint32_t trust;
    uint32_t probe;
    uint32_t only; /* 1: the caller names one library: old refusals are
                      forgotten */
} attn_load_settings;

/* [main] The plugins that the parameters name, in configuration order, then
 * those that only stand in plugin_path, by file name. */
attn_status attn_modules_find(const attn_registry_params *params,
                              attn_module_list *list, attn_error *err);
void attn_modules_free(attn_module_list *list);

/* [any] The file alone: present, trusted, whole, pinned, of this ABI. */
attn_status attn_module_examine(attn_module *module,
                                const attn_load_settings *settings,
                                attn_error *err);

/* [main] Probe, load, handshake, options, init. ATTN_E_ARG: the caller's own
 * options are wrong. */
attn_status attn_module_load(attn_module *module,
                             const attn_load_settings *settings,
                             attn_error *err);

/* [main] Closes contexts, shuts the plugin down. It stays loaded. */
void attn_module_unload(attn_module *module);

/* [any] Sets state and a printable reason. */
void attn_module_fail(attn_module *module, uint32_t state, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* [any] "flash_cpu", or "-". */
const char *attn_module_section(const attn_module *module);

#endif /* ATTN_PLUGIN_MODULE_H */
