/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/registry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <attn/base.h>

#include "base/array.h"
#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "plugin/loader.h"
#include "plugin/module.h"
#include "plugin/verdict.h"

/* A row and what stands behind it; `entry` first, so that its address is the
 * row's. */
typedef struct {
    attn_entry entry;
    attn_module *module;
    attn_found_device found;
    char reason[304];
    char name[128];
    char version[32];
} row;

struct attn_registry {
    const attn_config *config;
    attn_executor *own_executor;
    const attn_executor *executor;
    attn_module_list modules;
    row **rows; /* one by one: entries point into their own */
    size_t num_rows, row_room;
};

/* ---------------------------------------------------------------- settings */

static uint32_t
choice(const attn_config *config, const char *key, const char *const names[3])
{
    const char *value = config ? attn_config_get(config, "attn", key) : NULL;
    for (uint32_t i = 0; value && i < 3; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    return 0;
}

static attn_load_settings
settings_of(const attn_registry *r, const attn_registry_params *params)
{
    static const char *const trust[3] = {"strict", "warn", "off"};
    static const char *const probe[3] = {"auto", "always", "never"};
    return (attn_load_settings){.config = params->config,
                                .executor = r->executor,
                                .options = params->options,
                                .option_backend = params->option_backend,
                                .trust = choice(params->config, "trust", trust),
                                .probe = choice(params->config, "probe", probe),
                                .only = params->only_library != NULL};
}

/* The configuration speaks for the log unless it says nothing. */
static attn_status
apply_log(const attn_config *config, attn_error *err)
{
    const size_t count = config ? attn_config_count(config) : 0;
    for (size_t i = 0; i < count; i++) {
        const attn_config_value *v = attn_config_at(config, i);
        if (strcmp(v->section, "attn") == 0 && strcmp(v->key, "log") == 0 &&
            strcmp(v->origin, "default") != 0)
            return attn_log_configure(v->value, err);
    }
    return ATTN_OK;
}

static attn_status
set_executor(attn_registry *r, const attn_registry_params *params,
             attn_error *err)
{
    const char *threads =
        params->config ? attn_config_get(params->config, "attn", "threads")
                       : NULL;
    if (params->executor) {
        r->executor = params->executor;
        return ATTN_OK;
    }
    attn_status status =
        attn_executor_create(threads ? (uint32_t)strtoul(threads, NULL, 10) : 0,
                             &r->own_executor, err);
    r->executor = r->own_executor;
    return status;
}

/* ----------------------------------------------------------------- modules */

/* The better of two modules: the higher priority, then the earlier one. */
static const attn_module *
better(const attn_module *a, const attn_module *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority ? a : b;
    return a < b ? a : b;
}

static void
shadow_same_file(attn_module_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t j = i + 1; j < list->count; j++) {
            attn_module *a = &list->items[i], *b = &list->items[j];
            if (a->state != ATTN_STATE_READY || b->state != ATTN_STATE_READY ||
                a->id.device != b->id.device || a->id.inode != b->id.inode)
                continue;
            attn_module *loser = better(a, b) == a ? b : a;
            const attn_module *winner = loser == a ? b : a;
            attn_module_fail(loser, ATTN_STATE_SHADOWED,
                             "the same file as that of [%s]",
                             winner->section ? winner->section : winner->file);
        }
}

static attn_status
load_modules(attn_registry *r, const attn_load_settings *settings,
             attn_error *err)
{
    attn_status status = ATTN_OK;
    for (size_t i = 0; status == ATTN_OK && i < r->modules.count; i++)
        status = attn_module_examine(&r->modules.items[i], settings, err);
    shadow_same_file(&r->modules);
    for (size_t i = 0; status == ATTN_OK && i < r->modules.count; i++)
        status = attn_module_load(&r->modules.items[i], settings, err);
    return status;
}

/* -------------------------------------------------------------------- rows */

static void
fill_row(row *to, attn_module *m)
{
    const char *note = m->note ? m->note : "";
    attn_note_value(note, "backends", to->name, sizeof to->name);
    attn_note_value(note, "version", to->version, sizeof to->version);
    memcpy(to->reason, m->reason, sizeof to->reason);
    to->module = m;
    to->entry = (attn_entry){.struct_size = sizeof to->entry,
                             .state = m->state,
                             .name = to->name[0] ? to->name : "-",
                             .section = attn_module_section(m),
                             .file = m->file,
                             .reason = to->reason,
                             .version = to->version,
                             .family = "",
                             .device = "",
                             .arch = "",
                             .priority = m->priority};
}

static attn_status
add_row(attn_registry *r, attn_module *m, const attn_backend *backend, row **to,
        attn_error *err)
{
    row **rows = attn_array_reserve(r->rows, &r->row_room, r->num_rows + 1,
                                    sizeof *rows);
    if (rows)
        r->rows = rows;
    *to = rows ? calloc(1, sizeof **to) : NULL;
    if (!*to)
        return attn_error_nomem(err, "registry", sizeof **to);
    r->rows[r->num_rows++] = *to;
    fill_row(*to, m);
    if (!backend)
        return ATTN_OK;
    attn_entry *e = &(*to)->entry;
    e->name = backend->name;
    e->version = m->plugin->version;
    e->family = backend->family;
    e->device_type = backend->device_type;
    e->emulated = backend->device_type == ATTN_DEVICE_EXT;
    e->plugin = m->plugin;
    e->backend = backend;
    return ATTN_OK;
}

/* A row without a device: it is absent, or its service fails. */
static attn_status
add_deviceless_row(attn_registry *r, attn_module *m,
                   const attn_backend *backend, const attn_error *why,
                   attn_error *err)
{
    row *to;
    attn_status status = add_row(r, m, backend, &to, err);
    if (status != ATTN_OK)
        return status;
    to->entry.state = why->status == ATTN_E_NO_DEVICE ? ATTN_STATE_SKIPPED
                                                      : ATTN_STATE_REFUSED;
    memcpy(to->reason, why->message, sizeof to->reason);
    return ATTN_OK;
}

static attn_status
add_backend_rows(attn_registry *r, attn_module *m, const attn_backend *backend,
                 attn_error *err)
{
    attn_error why = ATTN_ERROR_INIT;
    attn_found_device *found = NULL;
    uint32_t count = 0;
    row *to;
    if (m->state != ATTN_STATE_READY)
        return add_row(r, m, backend, &to, err);
    attn_status status =
        attn_devices_find(m->plugin, backend, &found, &count, &why);
    if (status == ATTN_E_NOMEM)
        return attn_error_nomem(err, "registry", 0);
    if (status != ATTN_OK)
        return add_deviceless_row(r, m, backend, &why, err);
    for (uint32_t i = 0; i < count && status == ATTN_OK; i++) {
        status = add_row(r, m, backend, &to, err);
        if (status != ATTN_OK)
            break;
        to->found = found[i];
        to->entry.device = to->found.name;
        to->entry.arch = to->found.arch;
        to->entry.device_id = found[i].device.id;
        to->entry.device_index = i;
        to->entry.num_devices = count;
    }
    free(found);
    return status;
}

static attn_status
make_rows(attn_registry *r, attn_error *err)
{
    attn_status status = ATTN_OK;
    row *to;
    for (size_t i = 0; i < r->modules.count && status == ATTN_OK; i++) {
        attn_module *m = &r->modules.items[i];
        if (!m->plugin)
            status = add_row(r, m, NULL, &to, err);
        for (uint32_t b = 0;
             status == ATTN_OK && m->plugin && b < m->plugin->num_backends; b++)
            status = add_backend_rows(r, m, m->plugin->backends[b], err);
    }
    return status;
}

/* One plugin per backend name. */
static void
shadow_same_name(attn_registry *r)
{
    for (size_t i = 0; i < r->num_rows; i++)
        for (size_t j = i + 1; j < r->num_rows; j++) {
            row *a = r->rows[i], *b = r->rows[j];
            if (a->module == b->module || a->entry.state != ATTN_STATE_READY ||
                b->entry.state != ATTN_STATE_READY ||
                strcmp(a->entry.name, b->entry.name) != 0)
                continue;
            row *loser = better(a->module, b->module) == a->module ? b : a;
            const row *winner = loser == a ? b : a;
            loser->entry.state = ATTN_STATE_SHADOWED;
            snprintf(loser->reason, sizeof loser->reason,
                     "shadowed by %.200s (%s)", winner->entry.file,
                     winner->entry.priority != loser->entry.priority
                         ? "higher priority"
                         : "same priority, configured earlier");
        }
}

static void
log_rows(const attn_registry *r)
{
    for (size_t i = 0; i < r->num_rows; i++) {
        const attn_entry *e = &r->rows[i]->entry;
        const int quiet = e->state == ATTN_STATE_READY ||
                          e->state == ATTN_STATE_SKIPPED ||
                          e->state == ATTN_STATE_DISABLED;
        attn_log_write(quiet ? ATTN_LOG_INFO : ATTN_LOG_WARN, "plugin",
                       "%s (%s): %s%s%s", e->name, e->file,
                       attn_state_str(e->state), e->reason[0] ? ": " : "",
                       e->reason);
    }
}

/* enabled = yes: refused or quarantined is the caller's error. A device that
 * is absent is none. */
static attn_status
check_required(const attn_registry *r, attn_error *err)
{
    for (size_t i = 0; i < r->num_rows; i++) {
        const attn_entry *e = &r->rows[i]->entry;
        if (r->rows[i]->module->enabled == ATTN_ENABLED_YES &&
            (e->state == ATTN_STATE_REFUSED ||
             e->state == ATTN_STATE_QUARANTINED))
            return attn_error_set(err, ATTN_E_REFUSED, "enabled",
                                  "[plugin %s] has enabled = yes but is %s: %s",
                                  e->section, attn_state_str(e->state),
                                  e->reason);
    }
    return ATTN_OK;
}

/* ------------------------------------------------------------------- public */

static attn_status
open_all(attn_registry *r, const attn_registry_params *params, attn_error *err)
{
    attn_status status = apply_log(params->config, err);
    if (status == ATTN_OK)
        status = set_executor(r, params, err);
    if (status == ATTN_OK)
        status = attn_modules_find(params, &r->modules, err);
    const attn_load_settings settings = settings_of(r, params);
    if (status == ATTN_OK)
        status = load_modules(r, &settings, err);
    if (status == ATTN_OK)
        status = make_rows(r, err);
    if (status != ATTN_OK)
        return status;
    shadow_same_name(r);
    log_rows(r);
    return check_required(r, err);
}

attn_status
attn_registry_open(const attn_registry_params *params, attn_registry **registry,
                   attn_error *err)
{
    const size_t least = ATTN_UP_TO(attn_registry_params, option_backend);
    if (!params || params->struct_size < least || !registry)
        return attn_error_set(err, ATTN_E_ARG, "params",
                              "struct_size %u: at least %zu",
                              params ? params->struct_size : 0, least);
    attn_registry *r = calloc(1, sizeof *r);
    if (!r)
        return attn_error_nomem(err, "registry", sizeof *r);
    r->config = params->config;
    attn_status status = open_all(r, params, err);
    if (status == ATTN_OK)
        *registry = r;
    else
        attn_registry_close(r);
    return status;
}

void
attn_registry_close(attn_registry *r)
{
    if (!r)
        return;
    for (size_t i = r->modules.count; i-- > 0;)
        attn_module_unload(&r->modules.items[i]);
    attn_modules_free(&r->modules);
    attn_executor_destroy(r->own_executor);
    for (size_t i = 0; i < r->num_rows; i++)
        free(r->rows[i]);
    free(r->rows);
    free(r);
}

size_t
attn_registry_count(const attn_registry *r)
{
    return r->num_rows;
}

const attn_entry *
attn_registry_at(const attn_registry *r, size_t index)
{
    return index < r->num_rows ? &r->rows[index]->entry : NULL;
}

const attn_entry *
attn_registry_find(const attn_registry *r, const char *backend)
{
    for (size_t i = 0; i < r->num_rows; i++)
        if (r->rows[i]->entry.state == ATTN_STATE_READY &&
            strcmp(r->rows[i]->entry.name, backend) == 0)
            return &r->rows[i]->entry;
    return NULL;
}

const attn_executor *
attn_registry_executor(const attn_registry *r)
{
    return r->executor;
}

const attn_config *
attn_registry_config(const attn_registry *r)
{
    return r->config;
}

attn_status
attn_registry_context(attn_registry *r, const attn_entry *entry, attn_ctx **ctx,
                      attn_error *err)
{
    attn_error said = ATTN_ERROR_INIT;
    const row *from = (const row *)(const void *)entry;
    (void)r;
    if (entry->state != ATTN_STATE_READY)
        return attn_error_set(err, ATTN_E_ARG, "entry", "%s is %s: %s",
                              entry->name, attn_state_str(entry->state),
                              entry->reason);
    attn_module *m = from->module;
    const attn_device device = from->found.device;
    for (uint32_t i = 0; i < m->num_contexts; i++)
        if (m->contexts[i].device.type == device.type &&
            m->contexts[i].device.id == device.id) {
            *ctx = m->contexts[i].ctx;
            return ATTN_OK;
        }
    attn_context *contexts = attn_array_reserve(
        m->contexts, &m->context_room, m->num_contexts + 1, sizeof *contexts);
    if (!contexts)
        return attn_error_nomem(err, "context", sizeof *contexts);
    m->contexts = contexts;
    attn_ctx *opened = NULL;
    said.status = m->plugin->open(device, &opened, &said);
    if (said.status != ATTN_OK)
        return attn_plugin_fault(err, said.status, "open",
                                 "the device cannot be opened", &said);
    m->contexts[m->num_contexts++] = (attn_context){device, opened};
    *ctx = opened;
    return ATTN_OK;
}

attn_status
attn_registry_rescan(const char *library, attn_error *err)
{
    return attn_verdict_forget(library, err);
}
