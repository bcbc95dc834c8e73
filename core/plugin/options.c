/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/text.h"
#include "plugin/abi.h"

#define PREFIX "option."

attn_status
attn_option_check(const attn_option *o, const char *value, attn_error *err)
{
    int64_t whole;
    uint32_t word;
    double real;
    switch (o->type) {
    case ATTN_OPTION_BOOL:
        return attn_text_parse_bool(value, o->name, &word, err);
    case ATTN_OPTION_INT:
        return attn_text_parse_i64(value, (int64_t)o->lo, (int64_t)o->hi,
                                   o->name, &whole, err);
    case ATTN_OPTION_FLOAT:
        return attn_text_parse_f64(value, o->lo, o->hi, o->name, &real, err);
    case ATTN_OPTION_CHOICE:
        return attn_text_parse_choice(value, o->choices, o->name, &word, err);
    default:
        return ATTN_OK;
    }
}

/* ----------------------------------------------------------------- schema */

static attn_status
check_limits(const attn_option *o, attn_error *err)
{
    const double most = o->type == ATTN_OPTION_INT ? 9007199254740992.0 : 1e300;
    if (o->type != ATTN_OPTION_INT && o->type != ATTN_OPTION_FLOAT)
        return ATTN_OK;
    if (!(o->lo >= -most && o->hi <= most && o->lo <= o->hi))
        return ATTN_ABI_REFUSE(err, "option %s: limits %g to %g", o->name,
                               o->lo, o->hi);
    return ATTN_OK;
}

static attn_status
check_texts(const attn_option *o, attn_error *err)
{
    const attn_abi_text value = {"attn_option.value", NULL, 255, 1};
    const attn_abi_text choices = {"attn_option.choices", NULL, 1023, 0};
    const attn_abi_text help = {"attn_option.help", NULL, 255, 0};
    attn_status status = attn_abi_text_check(&value, o->value, err);
    if (status == ATTN_OK && o->type == ATTN_OPTION_CHOICE)
        status = attn_abi_text_check(&choices, o->choices, err);
    if (status == ATTN_OK)
        status = attn_abi_text_check(&help, o->help, err);
    return status;
}

static attn_status
check_option(uint32_t index, const attn_option *o, attn_error *err)
{
    const attn_abi_text name = {"attn_option.name",
                                "abcdefghijklmnopqrstuvwxyz0123456789_", 31, 0};
    attn_error why = ATTN_ERROR_INIT;
    if (!o)
        return ATTN_ABI_REFUSE(err, "option %u is NULL", index);
    attn_status status = attn_abi_size_check("attn_option", o->struct_size,
                                             ATTN_OPTION_SIZE_1_0, err);
    if (status == ATTN_OK)
        status = attn_abi_text_check(&name, o->name, err);
    if (status == ATTN_OK && o->type > ATTN_OPTION_STRING)
        status = ATTN_ABI_REFUSE(err, "option %s: type %u, need 0..%u", o->name,
                                 o->type, ATTN_OPTION_STRING);
    if (status == ATTN_OK)
        status = check_texts(o, err);
    if (status == ATTN_OK)
        status = check_limits(o, err);
    if (status == ATTN_OK && attn_option_check(o, o->value, &why) != ATTN_OK)
        status = ATTN_ABI_REFUSE(err, "option %s: bad default: %s", o->name,
                                 why.message);
    return status;
}

attn_status
attn_abi_1_options_check(const attn_plugin *p, attn_error *err)
{
    if (p->num_options > 256)
        return ATTN_ABI_REFUSE(err, "attn_plugin.num_options %u, need 0..256",
                               p->num_options);
    if (p->num_options > 0 && !p->options)
        return ATTN_ABI_REFUSE(err, "attn_plugin.options is NULL");
    for (uint32_t i = 0; i < p->num_options; i++) {
        attn_status status = check_option(i, p->options[i], err);
        if (status != ATTN_OK)
            return status;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(p->options[i]->name, p->options[j]->name) == 0)
                return ATTN_ABI_REFUSE(err,
                                       "options %u and %u are both named "
                                       "'%s'",
                                       j, i, p->options[i]->name);
    }
    return ATTN_OK;
}

/* ---------------------------------------------------------------- merging */

static const attn_option *
find_option(const attn_plugin *plugin, const char *name, attn_nearest *nearest)
{
    for (uint32_t i = 0; i < plugin->num_options; i++) {
        if (strcmp(plugin->options[i]->name, name) == 0)
            return plugin->options[i];
        attn_nearest_offer(nearest, plugin->options[i]->name);
    }
    return NULL;
}

/* Checks one pair; status names the kind of mistake, `origin` prefixes it. */
static attn_status
check_pair(const attn_plugin *plugin, const char *key, const char *value,
           attn_status mistake, const char *origin, attn_error *err)
{
    char hint[96];
    attn_error why = ATTN_ERROR_INIT;
    attn_nearest nearest = {.text = key};
    const attn_option *option = find_option(plugin, key, &nearest);
    if (!option)
        return attn_error_set(
            err, mistake, key, "%sunknown option '%s' of plugin %s%s", origin,
            key, plugin->id, attn_nearest_hint(&nearest, hint, sizeof hint));
    if (attn_option_check(option, value, &why) != ATTN_OK)
        return attn_error_set(err, mistake, key, "%soption %s", origin,
                              why.message);
    return ATTN_OK;
}

static attn_status
check_configured(const attn_plugin *plugin, const attn_option_source *source,
                 attn_error *err)
{
    attn_status status = ATTN_OK;
    const size_t count = source->config && source->section
                             ? attn_config_count(source->config)
                             : 0;
    for (size_t i = 0; status == ATTN_OK && i < count; i++) {
        const attn_config_value *v = attn_config_at(source->config, i);
        attn_strbuf origin = {0};
        if (strcmp(v->section, source->section) != 0 ||
            !attn_text_starts(v->key, PREFIX))
            continue;
        attn_strbuf_addf(&origin, "%s:%u: ", v->origin, v->line);
        status =
            check_pair(plugin, v->key + strlen(PREFIX), v->value, ATTN_E_CONFIG,
                       origin.failed ? "" : origin.data, err);
        attn_strbuf_free(&origin);
    }
    return status;
}

static attn_status
check_given(const attn_plugin *plugin, const attn_key_value *given,
            attn_error *err)
{
    attn_status status = ATTN_OK;
    for (; given && given->key && status == ATTN_OK; given++)
        status =
            check_pair(plugin, given->key, given->value, ATTN_E_ARG, "", err);
    return status;
}

static const char *
spelled(const attn_option *option, const char *value)
{
    uint32_t yes;
    if (option->type != ATTN_OPTION_BOOL ||
        attn_text_parse_bool(value, option->name, &yes, NULL) != ATTN_OK)
        return value;
    return yes ? "yes" : "no";
}

static const char *
value_of(const attn_option *option, const attn_option_source *source)
{
    const char *value = option->value, *configured = NULL;
    char key[64] = PREFIX;
    strncat(key, option->name, sizeof key - sizeof PREFIX);
    if (source->config && source->section)
        configured = attn_config_get(source->config, source->section, key);
    if (configured)
        value = configured;
    for (const attn_key_value *g = source->given; g && g->key; g++)
        if (strcmp(g->key, option->name) == 0)
            value = g->value;
    return spelled(option, value);
}

attn_status
attn_options_merge(const attn_plugin *plugin, const attn_option_source *source,
                   attn_key_value **values, attn_error *err)
{
    attn_status status = check_configured(plugin, source, err);
    if (status == ATTN_OK)
        status = check_given(plugin, source->given, err);
    if (status != ATTN_OK)
        return status;
    attn_key_value *out = calloc(plugin->num_options + 1u, sizeof *out);
    if (!out)
        return attn_error_nomem(err, "options", 0);
    for (uint32_t i = 0; i < plugin->num_options; i++)
        out[i] = (attn_key_value){plugin->options[i]->name,
                                  value_of(plugin->options[i], source)};
    *values = out;
    return ATTN_OK;
}
