/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "config/store.h"

/* Every ATTN_* variable that means something; key: what it overrides. */
static const struct variable {
    const char *name;
    const char *key; /* of [attn], or NULL */
} variables[] = {
    {"ATTN_CONFIG", NULL},     {"ATTN_PLUGIN_PATH", "plugin_path"},
    {"ATTN_LOG", "log"},       {"ATTN_DUMP_DIR", NULL},
    {"ATTN_DUMP_LIMIT", NULL},
};

/* Names from elsewhere, or from before, that nobody may rely on. */
static const struct stray {
    const char *name;
    const char *advice;
} strays[] = {
    {"ATTN_BACKEND", "backends are chosen in [select] of attn.ini"},
    {"ATTN_LOG_LEVEL", "the filter is ATTN_LOG"},
    {"ATTN_DEBUG", "the filter is ATTN_LOG"},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static attn_status
override(attn_config *config, const struct variable *v, attn_error *err)
{
    const char *value = secure_getenv(v->name);
    attn_error why = ATTN_ERROR_INIT;
    if (!value || !*value)
        return ATTN_OK;
    attn_status s = attn_config_override(config, "attn", v->key, value,
                                         "environment", &why);
    if (s == ATTN_E_ARG)
        return attn_error_set(err, ATTN_E_CONFIG, v->name, "%s: %s", v->name,
                              why.message);
    return s == ATTN_OK ? s : attn_error_nomem(err, "config", 0);
}

static attn_status
judge(attn_config *config, const char *name, attn_error *err)
{
    char hint[96];
    attn_nearest nearest = {.text = name};
    for (size_t i = 0; i < COUNT(variables); i++) {
        if (strcmp(variables[i].name, name) == 0)
            return ATTN_OK;
        attn_nearest_offer(&nearest, variables[i].name);
    }
    for (size_t i = 0; i < COUNT(strays); i++)
        if (strcmp(strays[i].name, name) == 0)
            return attn_config_warn(config, err, "%s is not used: %s", name,
                                    strays[i].advice);
    return attn_config_warn(config, err, "unknown variable %s%s", name,
                            attn_nearest_hint(&nearest, hint, sizeof hint));
}

attn_status
attn_config_read_environment(attn_config *config, attn_error *err)
{
    attn_status s = ATTN_OK;
    for (size_t i = 0; i < COUNT(variables) && s == ATTN_OK; i++)
        if (variables[i].key)
            s = override(config, &variables[i], err);
    for (char **e = environ; e && *e && s == ATTN_OK; e++) {
        char name[128];
        size_t n = strcspn(*e, "=");
        if (!attn_text_starts(*e, "ATTN_") || n >= sizeof name)
            continue;
        memcpy(name, *e, n);
        name[n] = 0;
        s = judge(config, name, err);
    }
    return s;
}
