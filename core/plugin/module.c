/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/module.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/error.h"
#include "base/log.h"
#include "plugin/elf.h"
#include "plugin/host.h"
#include "plugin/loader.h"
#include "plugin/options.h"
#include "plugin/probe.h"
#include "plugin/sha256.h"
#include "plugin/trust.h"
#include "plugin/verdict.h"

#define CPU_LIMIT_MS 2000u
#define DEVICE_LIMIT_MS 20000u

void
attn_module_fail(attn_module *m, uint32_t state, const char *fmt, ...)
{
    attn_error text = ATTN_ERROR_INIT;
    va_list ap;
    va_start(ap, fmt);
    attn_error_vset(&text, ATTN_E_REFUSED, NULL, fmt, ap);
    va_end(ap);
    m->state = state;
    memcpy(m->reason, text.message, sizeof m->reason);
}

const char *
attn_module_section(const attn_module *m)
{
    return m->section ? m->section + strlen("plugin ") : "-";
}

/* Turns a step's error into the module's state; memory shortage goes on. */
static attn_status
settle(attn_module *m, attn_status status, const attn_error *why,
       attn_error *err)
{
    if (status == ATTN_E_NOMEM)
        return attn_error_nomem(err, "plugin", 0);
    if (status != ATTN_OK)
        attn_module_fail(m,
                         status == ATTN_E_NO_DEVICE ? ATTN_STATE_SKIPPED
                                                    : ATTN_STATE_REFUSED,
                         "%s", why->message);
    return ATTN_OK;
}

/* ----------------------------------------------------------------- examine */

static attn_status
check_pin(const attn_module *m, const attn_file *file, attn_error *err)
{
    char hex[ATTN_SHA256_TEXT];
    if (!m->sha256 || !m->sha256[0])
        return ATTN_OK;
    if (attn_sha256_hex(&file->bytes, hex))
        return attn_error_set(err, ATTN_E_REFUSED, "sha256",
                              "cannot be read to its end");
    if (strcasecmp(hex, m->sha256) != 0)
        return attn_error_set(err, ATTN_E_REFUSED, "sha256",
                              "sha256 is %s, pinned is %s", hex, m->sha256);
    return ATTN_OK;
}

static attn_status
check_trust(const attn_file *file, uint32_t trust, attn_error *err)
{
    attn_error why = ATTN_ERROR_INIT;
    if (trust == ATTN_TRUST_OFF ||
        attn_trust_check(file->path, &why) == ATTN_OK)
        return ATTN_OK;
    if (trust == ATTN_TRUST_STRICT)
        return attn_error_set(err, ATTN_E_REFUSED, "trust", "%s", why.message);
    attn_log_write(ATTN_LOG_WARN, "plugin", "%s", why.message);
    return ATTN_OK;
}

static attn_status
read_note(attn_module *m, const attn_file *file, attn_error *err)
{
    char text[ATTN_ELF_NOTE_MAX + 1];
    attn_status status = attn_elf_note(&file->bytes, text, sizeof text, err);
    if (status == ATTN_E_NOT_FOUND)
        return ATTN_OK;
    if (status != ATTN_OK)
        return status;
    m->note = strdup(text);
    return m->note ? ATTN_OK : ATTN_E_NOMEM;
}

static attn_status
check_file(attn_module *m, const attn_load_settings *settings, attn_file *file,
           attn_error *err)
{
    m->id = file->id;
    attn_status status = read_note(m, file, err);
    if (status != ATTN_OK || m->enabled == ATTN_ENABLED_NO)
        return status;
    status = check_trust(file, settings->trust, err);
    if (status == ATTN_OK)
        status = attn_elf_check(&file->bytes, err);
    if (status == ATTN_OK)
        status = check_pin(m, file, err);
    if (status == ATTN_OK)
        status = attn_note_check_abi(m->note ? m->note : "", err);
    return status;
}

/* Replaces the file's name by the resolved one. */
static attn_status
keep_path(attn_module *m, const attn_file *file)
{
    char *path = strdup(file->path);
    if (!path)
        return ATTN_E_NOMEM;
    free(m->file);
    m->file = path;
    return ATTN_OK;
}

attn_status
attn_module_examine(attn_module *m, const attn_load_settings *settings,
                    attn_error *err)
{
    attn_file file;
    attn_error why = ATTN_ERROR_INIT;
    if (m->state != ATTN_STATE_READY)
        return ATTN_OK;
    attn_status status = attn_file_open(m->file, &file, &why);
    if (status == ATTN_OK) {
        status = keep_path(m, &file);
        if (status == ATTN_OK)
            status = check_file(m, settings, &file, &why);
        attn_file_close(&file);
    }
    if (m->enabled == ATTN_ENABLED_NO && status != ATTN_E_NOMEM) {
        attn_module_fail(m, ATTN_STATE_DISABLED, "enabled = no in [%s]",
                         m->section);
        return ATTN_OK;
    }
    return settle(m, status, &why, err);
}

/* ------------------------------------------------------------------- probe */

static uint32_t
probe_limit(const attn_module *m)
{
    char device[64];
    if (m->note && attn_note_value(m->note, "device", device, sizeof device) &&
        strcmp(device, "cpu") != 0)
        return DEVICE_LIMIT_MS;
    return CPU_LIMIT_MS;
}

static void
fail_remembered(attn_module *m, const attn_verdict *verdict)
{
    char when[32];
    struct tm tm;
    const time_t seconds = (time_t)verdict->when;
    if (!gmtime_r(&seconds, &tm) ||
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        strcpy(when, "an unknown time");
    attn_module_fail(m, ATTN_STATE_QUARANTINED,
                     "%.200s (seen %s; attnctl rescan tries again)",
                     verdict->reason, when);
}

static attn_status
probe_now(attn_module *m, const attn_file *file,
          const attn_load_settings *settings, attn_error *err)
{
    const attn_probe_params params = {.limit_ms = probe_limit(m),
                                      .label = strrchr(file->path, '/') + 1};
    uint32_t harmful = 0;
    attn_error why = ATTN_ERROR_INIT;
    attn_status status = attn_probe_run(file, &params, &harmful, &why);
    if (status == ATTN_E_IO && settings->probe == ATTN_PROBE_AUTO) {
        attn_log_write(ATTN_LOG_WARN, "plugin", "%s is loaded unprobed: %s",
                       file->path, why.message);
        return ATTN_OK;
    }
    if (status == ATTN_OK)
        attn_verdict_store(file, ATTN_VERDICT_GOOD, "");
    else if (harmful)
        attn_verdict_store(file, ATTN_VERDICT_HARMFUL, why.message);
    return settle(m, status, &why, err);
}

static attn_status
probe(attn_module *m, const attn_file *file, const attn_load_settings *settings,
      attn_error *err)
{
    attn_verdict verdict = {.kind = ATTN_VERDICT_UNKNOWN};
    if (settings->probe == ATTN_PROBE_NEVER)
        return ATTN_OK;
    if (settings->probe == ATTN_PROBE_AUTO)
        attn_verdict_find(file, &verdict);
    if (verdict.kind == ATTN_VERDICT_GOOD)
        return ATTN_OK;
    if (verdict.kind == ATTN_VERDICT_HARMFUL && !settings->only) {
        fail_remembered(m, &verdict);
        return ATTN_OK;
    }
    return probe_now(m, file, settings, err);
}

/* -------------------------------------------------------------------- load */

static attn_status
open_table(attn_module *m, const attn_file *file,
           const attn_load_settings *settings, attn_error *err)
{
    attn_handshake hs;
    attn_entry_function entry = NULL;
    attn_status status = attn_loader_open(file, &entry, err);
    if (status == ATTN_OK)
        status = attn_loader_claim(file->path, err);
    if (status != ATTN_OK)
        return status;
    m->claimed = 1;
    status = attn_host_create(strrchr(m->file, '/') + 1, settings->executor,
                              &m->host, err);
    if (status == ATTN_OK)
        status = attn_loader_shake(entry, m->host, &hs, &m->plugin, err);
    if (status == ATTN_OK)
        status = attn_loader_compare(m->plugin, m->note ? m->note : "", err);
    if (status != ATTN_OK)
        m->plugin = NULL;
    return status;
}

static int
offers(const attn_plugin *plugin, const char *backend)
{
    for (uint32_t i = 0; i < plugin->num_backends; i++)
        if (strcmp(plugin->backends[i]->name, backend) == 0)
            return 1;
    return 0;
}

static attn_status
start(attn_module *m, const attn_load_settings *settings, attn_error *err)
{
    const int given =
        settings->only || (settings->option_backend &&
                           offers(m->plugin, settings->option_backend));
    const attn_option_source source = {settings->config, m->section,
                                       given ? settings->options : NULL};
    attn_key_value *values = NULL;
    attn_error said = ATTN_ERROR_INIT;
    attn_status status = attn_options_merge(m->plugin, &source, &values, err);
    if (status != ATTN_OK)
        return status;
    m->initialised = 1;
    said.status =
        m->plugin->init(m->host, values, m->plugin->num_options, &said);
    free(values);
    if (said.status == ATTN_OK)
        return ATTN_OK;
    m->initialised = 0;
    return attn_plugin_fault(err,
                             said.status == ATTN_E_NO_DEVICE ? ATTN_E_NO_DEVICE
                                                             : ATTN_E_REFUSED,
                             "init", "init failed", &said);
}

static attn_status
load_checked(attn_module *m, const attn_file *file,
             const attn_load_settings *settings, attn_error *err)
{
    attn_error why = ATTN_ERROR_INIT;
    attn_status status = probe(m, file, settings, err);
    if (status != ATTN_OK || m->state != ATTN_STATE_READY)
        return status;
    status = open_table(m, file, settings, &why);
    if (status == ATTN_OK)
        status = start(m, settings, &why);
    if (status == ATTN_E_ARG)
        return attn_error_set(err, status, why.where, "%s", why.message);
    return settle(m, status, &why, err);
}

attn_status
attn_module_load(attn_module *m, const attn_load_settings *settings,
                 attn_error *err)
{
    attn_file file;
    attn_error why = ATTN_ERROR_INIT;
    if (m->state != ATTN_STATE_READY)
        return ATTN_OK;
    attn_status status = attn_file_open(m->file, &file, &why);
    if (status != ATTN_OK)
        return settle(m, status, &why, err);
    if (attn_file_id_equal(&file.id, &m->id))
        status = load_checked(m, &file, settings, err);
    else
        attn_module_fail(m, ATTN_STATE_REFUSED,
                         "%s: changed while it was checked", m->file);
    attn_file_close(&file);
    return status;
}

void
attn_module_unload(attn_module *m)
{
    while (m->num_contexts > 0)
        m->plugin->close(m->contexts[--m->num_contexts].ctx);
    if (m->initialised)
        m->plugin->shutdown();
    m->initialised = 0;
    if (m->claimed)
        attn_loader_release(m->file);
    m->claimed = 0;
    attn_host_destroy(m->host);
    m->host = NULL;
}
