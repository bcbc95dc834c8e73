/* SPDX-License-Identifier: Apache-2.0 */
#include "config/keys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const attn_key attn_keys[] = {
    {.name = "plugin_path",
     .type = ATTN_KEY_PATHS,
     .value = ATTN_PLUGINDIR,
     .help = "absolute directories of plugins, colon-separated"},
    {.name = "trust",
     .type = ATTN_KEY_CHOICE,
     .value = "strict",
     .choices = "strict|warn|off",
     .help = "owner and mode checks of plugin files: refuse, warn, or none"},
    {.name = "log",
     .type = ATTN_KEY_LOG,
     .value = "warn",
     .help = "log filter: a level, then subsystem:level, comma-separated"},
    {.name = "probe",
     .type = ATTN_KEY_CHOICE,
     .value = "auto",
     .choices = "auto|always|never",
     .help = "load a plugin in a child process first: unknown ones, all, none"},
    {.name = "threads",
     .type = ATTN_KEY_INT,
     .value = "0",
     .lo = 0,
     .hi = 4096,
     .help = "threads of the built-in pool, the caller included; 0: one a CPU"},
};

static const attn_key plugin_keys[] = {
    {.name = "library",
     .type = ATTN_KEY_LIBRARY,
     .help = "its file: an absolute path, or a name found in plugin_path"},
    {.name = "enabled",
     .type = ATTN_KEY_CHOICE,
     .value = "auto",
     .choices = "auto|yes|no",
     .help = "yes: failing to load is an error; no: never loaded"},
    {.name = "priority",
     .type = ATTN_KEY_INT,
     .value = "100",
     .lo = -1000000,
     .hi = 1000000,
     .help = "rank of its backends where selection is auto, higher first"},
    {.name = "sha256",
     .type = ATTN_KEY_SHA256,
     .value = "",
     .help = "digest the file must have; empty: any"},
};

static const attn_key profile_keys[] = {
    {.name = "family", .help = "of the layer that was measured"},
    {.name = "phase",
     .type = ATTN_KEY_CHOICE,
     .value = "any",
     .choices = "any|prefill|decode",
     .help = "of the steps that were measured"},
    {.name = "features",
     .help = "what the layer needs beyond its fields; none: nothing"},
    {.name = "batch", .help = "the steps that were measured, for people"},
    {.name = "threads",
     .type = ATTN_KEY_INT,
     .lo = 0,
     .hi = 4096,
     .help = "threads they were measured with, for people"},
    {.name = "machine", .help = "where it was measured"},
};

static const attn_key field_key = {
    .name = "layer.FIELD",
    .help = "a field that a layer must have for the profile to count"};

static const attn_key time_key = {
    .name = "time_us.BACKEND",
    .type = ATTN_KEY_TIME,
    .help = "microseconds the backend takes for these steps"};

static const attn_key option_key = {
    .name = "option.NAME",
    .type = ATTN_KEY_TEXT,
    .help = "an option of this plugin, checked against its own list"};

#define BACKENDS(key, start, text)                                           \
    {                                                                        \
        .name = key, .type = ATTN_KEY_BACKENDS, .value = start, .help = text \
    }

static const attn_key select_keys[] = {
    BACKENDS("flash", "auto", "backends for flash layers, best first"),
    BACKENDS("flash.prefill", NULL, "the same, for prefills only"),
    BACKENDS("flash.decode", NULL, "the same, for decodes only"),
    BACKENDS("mla", "auto", "backends for MLA layers, best first"),
    BACKENDS("mla.prefill", NULL, "the same, for prefills only"),
    BACKENDS("mla.decode", NULL, "the same, for decodes only"),
    BACKENDS("mamba2", "auto", "backends for Mamba-2 layers, best first"),
    BACKENDS("mamba2.prefill", NULL, "the same, for prefills only"),
    BACKENDS("mamba2.decode", NULL, "the same, for decodes only"),
    BACKENDS("mamba1", "auto", "backends for Mamba-1 layers, best first"),
    BACKENDS("mamba1.prefill", NULL, "the same, for prefills only"),
    BACKENDS("mamba1.decode", NULL, "the same, for decodes only"),
};

static const attn_key vendor_key = {
    .name = "FAMILY_ID",
    .type = ATTN_KEY_BACKENDS,
    .help = "backends for layers of a vendor's family, best first"};

const attn_key *
attn_key_table(uint32_t kind, size_t *count)
{
    switch (kind) {
    case ATTN_SECTION_ATTN:
        *count = COUNT(attn_keys);
        return attn_keys;
    case ATTN_SECTION_PLUGIN:
        *count = COUNT(plugin_keys);
        return plugin_keys;
    case ATTN_SECTION_PROFILE:
        *count = COUNT(profile_keys);
        return profile_keys;
    default:
        *count = COUNT(select_keys);
        return select_keys;
    }
}

/* [a-z0-9_], 1..31 bytes, as attn_option.name has it. */
static attn_status
check_name(const char *what, const char *name, attn_error *err)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (name[n] == 0 && n >= 1 && n <= 31)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, what,
                          "bad %s name '%s': 1 to 31 of a-z, 0-9, _", what,
                          name);
}

/* Keys whose names are partly the user's. 0: it is none of them. */
static int
find_open_key(uint32_t kind, const char *name, const attn_key **key,
              attn_status *status, attn_error *err)
{
    *status = ATTN_OK;
    if (kind == ATTN_SECTION_PLUGIN && attn_text_starts(name, "option.")) {
        *key = &option_key;
        *status = check_name("option", name + strlen("option."), err);
        return 1;
    }
    if (kind == ATTN_SECTION_PROFILE && attn_text_starts(name, "layer.")) {
        *key = &field_key;
        *status = check_name("field", name + strlen("layer."), err);
        return 1;
    }
    if (kind == ATTN_SECTION_PROFILE && attn_text_starts(name, "time_us.")) {
        const char *backend = name + strlen("time_us.");
        *key = &time_key;
        if (!attn_backend_name_valid(backend, strlen(backend)))
            *status = attn_error_set(err, ATTN_E_ARG, "time_us",
                                     "'%s' is no backend name", backend);
        return 1;
    }
    *key = &vendor_key;
    return (kind == ATTN_SECTION_SELECT || kind == ATTN_SECTION_LAYERS) &&
           strchr(name, '/');
}

attn_status
attn_key_find(uint32_t kind, const char *name, const attn_key **key,
              attn_error *err)
{
    size_t count;
    const attn_key *table = attn_key_table(kind, &count);
    attn_nearest nearest = {.text = name};
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0) {
            *key = &table[i];
            return ATTN_OK;
        }
        attn_nearest_offer(&nearest, table[i].name);
    }
    attn_status status;
    if (find_open_key(kind, name, key, &status, err))
        return status;
    char hint[96];
    return attn_error_set(err, ATTN_E_ARG, "key", "unknown key '%s'%s", name,
                          attn_nearest_hint(&nearest, hint, sizeof hint));
}

static attn_status
check_paths(const char *value, attn_error *err)
{
    for (const char *p = value; p;) {
        size_t n = strcspn(p, ":");
        if (n && *p != '/')
            return attn_error_set(err, ATTN_E_ARG, "plugin_path",
                                  "'%.*s' is not an absolute directory", (int)n,
                                  p);
        p = p[n] ? p + n + 1 : NULL;
    }
    return ATTN_OK;
}

static attn_status
check_library(const char *value, attn_error *err)
{
    if (*value == '/' || !strchr(value, '/'))
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "library",
                          "'%s' is neither absolute nor a bare file name",
                          value);
}

static attn_status
check_sha256(const char *value, attn_error *err)
{
    size_t n = strspn(value, "0123456789abcdefABCDEF");
    if (value[n] == 0 && (n == 0 || n == 64))
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "sha256",
                          "'%s' is not 64 hexadecimal digits", value);
}

int
attn_backend_name_valid(const char *name, size_t length)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    return length >= 1 && length <= 31 && n >= length;
}

/* 1 when the word p[0..n) stands already in value before p. */
static int
named_before(const char *value, const char *p, size_t n)
{
    while (value < p) {
        value += strspn(value, " \t,");
        size_t m = strcspn(value, " \t,");
        if (value < p && m == n && memcmp(value, p, n) == 0)
            return 1;
        value += m;
    }
    return 0;
}

static attn_status
check_backends(const char *value, attn_error *err)
{
    if (strcmp(value, "auto") == 0)
        return ATTN_OK;
    for (const char *p = value; p;) {
        p += strspn(p, " \t");
        size_t n = strcspn(p, " \t,");
        const char *end = p + n + strspn(p + n, " \t");
        if (*end && *end != ',')
            return attn_error_set(err, ATTN_E_ARG, "backends",
                                  "'%s': names are separated by commas", value);
        if (!attn_backend_name_valid(p, n))
            return attn_error_set(err, ATTN_E_ARG, "backends",
                                  "'%.*s' is no backend name: 1 to 31 of a-z, "
                                  "0-9, '.', '_', '-'",
                                  (int)n, p);
        if (n == 4 && memcmp(p, "auto", 4) == 0)
            return attn_error_set(err, ATTN_E_ARG, "backends",
                                  "'%s': auto stands alone", value);
        if (named_before(value, p, n))
            return attn_error_set(err, ATTN_E_ARG, "backends",
                                  "'%.*s' is named twice", (int)n, p);
        p = *end ? end + 1 : NULL;
    }
    return ATTN_OK;
}

attn_status
attn_key_check(const attn_key *key, const char *value, attn_error *err)
{
    int64_t number;
    double time;
    uint32_t index;
    if (!*value && key != &option_key && key->type != ATTN_KEY_SHA256)
        return attn_error_set(err, ATTN_E_ARG, key->name, "%s has no value",
                              key->name);
    switch (key->type) {
    case ATTN_KEY_INT:
        return attn_text_parse_i64(value, key->lo, key->hi, key->name, &number,
                                   err);
    case ATTN_KEY_TIME:
        return attn_text_parse_f64(value, 1e-3, 1e15, key->name, &time, err);
    case ATTN_KEY_CHOICE:
        return attn_text_parse_choice(value, key->choices, key->name, &index,
                                      err);
    case ATTN_KEY_PATHS:
        return check_paths(value, err);
    case ATTN_KEY_LOG:
        return attn_log_check(value, err);
    case ATTN_KEY_LIBRARY:
        return check_library(value, err);
    case ATTN_KEY_SHA256:
        return check_sha256(value, err);
    case ATTN_KEY_BACKENDS:
        return check_backends(value, err);
    default:
        return ATTN_OK;
    }
}
