/* SPDX-License-Identifier: Apache-2.0 */
/* attn/registry.h - the plugins and backends of this process.
 *
 * Opening a registry finds the plugins a configuration names, checks each
 * file before it is loaded, probes unknown ones in a child process, loads,
 * shakes hands, validates tables, settles duplicates, and keeps one row per
 * backend with its state and reason. One bad plugin changes nothing for the
 * others, unless its section says enabled = yes.
 *
 * Duplicates: of one file named twice, and of one backend name offered by two
 * ready plugins, the higher priority stays, then the earlier row; the other is
 * shadowed and says by whom. A plugin is never unloaded and serves one
 * registry at a time; a file replaced after it was loaded is refused. */
#ifndef ATTN_REGISTRY_H
#define ATTN_REGISTRY_H

#include <attn/api.h>
#include <attn/config.h>
#include <attn/executor.h>
#include <attn/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_STATE_READY 0u
#define ATTN_STATE_SKIPPED 1u     /* its device is absent: not an error */
#define ATTN_STATE_REFUSED 2u     /* failed a check */
#define ATTN_STATE_QUARANTINED 3u /* refused from a remembered verdict */
#define ATTN_STATE_SHADOWED 4u    /* another file offers the name */
#define ATTN_STATE_DISABLED 5u    /* enabled = no */

/* One backend on one device: a plugin that sees several devices of a backend's
 * type has a row for each, in the order of its device service, and " #0", " #1"
 * after the device's name. A plugin that offers none yet (refused, disabled,
 * skipped before its table could be read) has one row whose name is taken from
 * its ELF note, or "-". Owned by the registry. */
typedef struct attn_entry {
    uint32_t struct_size;
    uint32_t state;      /* ATTN_STATE_* */
    const char *name;    /* of the backend */
    const char *section; /* of the INI: "flash_cpu"; "-": found by path */
    const char *file;    /* absolute path */
    const char *reason;  /* one line; "" when ready */
    const char *version; /* of the plugin, "" when unknown */
    const char *family;  /* id, "" when unknown */
    const char *device;  /* "cpu", "NVIDIA H200", "emu:sm_90a", "" */
    const char *arch;    /* of the device, "" when unknown */
    int32_t device_type; /* ATTN_DEVICE_*, 0 when unknown */
    int32_t priority;
    uint32_t emulated;           /* 1: never chosen by auto */
    int32_t device_id;           /* with device_type: the device it runs on */
    const attn_plugin *plugin;   /* NULL unless loaded */
    const attn_backend *backend; /* NULL unless loaded */
    uint32_t device_index;       /* which of the backend's devices, from 0 */
    uint32_t num_devices;        /* of the backend; 0 when unknown */
} attn_entry;

typedef struct attn_registry attn_registry;

typedef struct attn_registry_params {
    uint32_t struct_size;
    uint32_t reserved;
    const attn_config *config;     /* borrowed until close */
    const attn_executor *executor; /* NULL: a pool of the registry's own */
    /* NULL, or one library (a path) to load in place of what the
     * configuration names: `attnctl test ./x.so`. */
    const char *only_library;
    /* NULL-key terminated overrides (ATTN_E_ARG when one is unknown or bad) of
     * that library's, or of the plugin's
     * that offers backend option_backend, options; may be NULL. */
    const attn_key_value *options;
    const char *option_backend;
} attn_registry_params;

/* [main] ATTN_E_REFUSED when a plugin marked enabled = yes is refused or
 * quarantined; other plugins' faults only show in their rows. An absent
 * device is no failure. Takes the log filter of the configuration. */
ATTN_API attn_status attn_registry_open(const attn_registry_params *params,
                                        attn_registry **registry,
                                        attn_error *err);
/* [main] After every session of it is gone. Shuts the plugins down. */
ATTN_API void attn_registry_close(attn_registry *registry);

/* [any] Rows in a stable order: configuration order, then file name. */
ATTN_API size_t attn_registry_count(const attn_registry *registry);
ATTN_API const attn_entry *attn_registry_at(const attn_registry *registry,
                                            size_t index);
/* [any] The ready entry of this backend name, on its first device; NULL when
 * there is none. */
ATTN_API const attn_entry *attn_registry_find(const attn_registry *registry,
                                              const char *backend);
/* [any] 1: the row's device is the one of this number among the backend's, or
 * of this name, as `attnctl list` shows it: "1", "NVIDIA H200 #1". NULL: any.
 * A row whose devices are unknown (skipped, refused) is on any. */
ATTN_API int attn_entry_is_on(const attn_entry *entry, const char *device);
/* [any] "ready", "skipped", ... */
ATTN_API const char *attn_state_str(uint32_t state);

/* [any] The executor its plugins run on. */
ATTN_API const attn_executor *
attn_registry_executor(const attn_registry *registry);

/* [any] The configuration it was opened with. */
ATTN_API const attn_config *attn_registry_config(const attn_registry *registry);

/* [main] Opens the entry's device once; later calls share the context. */
ATTN_API attn_status attn_registry_context(attn_registry *registry,
                                           const attn_entry *entry,
                                           attn_ctx **ctx, attn_error *err);

/* [any] The file check alone: what is wrong with this file as a plugin,
 * without loading it. ATTN_E_REFUSED with the reason. */
ATTN_API attn_status attn_plugin_file_check(const char *path, attn_error *err);

/* [any] The text of the file's .note.attn ("key=value" lines), NUL-terminated,
 * without loading it. ATTN_E_NOT_FOUND when it has none. */
ATTN_API attn_status attn_plugin_file_note(const char *path, char *text,
                                           size_t size, attn_error *err);

/* [main] Forgets remembered verdicts: of one library, or of all (NULL). */
ATTN_API attn_status attn_registry_rescan(const char *library, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_REGISTRY_H */
