/* SPDX-License-Identifier: Apache-2.0 */
#include "config/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "config/reader.h"

/* What is being read: a file, and the section met last. */
struct cursor {
    attn_config *config;
    const char *origin;
    size_t section;
};

static const char *
intern(attn_config *c, const char *text)
{
    char **grown = attn_array_reserve(c->strings, &c->strings_capacity,
                                      c->num_strings + 1, sizeof *c->strings);
    if (!grown)
        return NULL;
    c->strings = grown;
    char *copy = strdup(text);
    if (copy)
        c->strings[c->num_strings++] = copy;
    return copy;
}

const attn_section *
attn_config_section(const attn_config *config, const char *name)
{
    for (size_t i = 0; i < config->num_sections; i++)
        if (strcmp(config->sections[i].name, name) == 0)
            return &config->sections[i];
    return NULL;
}

const attn_config_value *
attn_section_value(const attn_section *section, const char *key)
{
    for (size_t i = 0; i < section->count; i++)
        if (strcmp(section->values[i].key, key) == 0)
            return &section->values[i];
    return NULL;
}

/* Sets or replaces; text is kept, origin and help are borrowed. */
static attn_status
put_value(attn_config *c, attn_section *s, attn_config_value value,
          attn_error *err)
{
    value.section = s->name;
    value.value = intern(c, value.value);
    attn_config_value *old =
        (attn_config_value *)attn_section_value(s, value.key);
    if (!old) {
        attn_config_value *grown = attn_array_reserve(
            s->values, &s->capacity, s->count + 1, sizeof *s->values);
        value.key = intern(c, value.key);
        if (!grown)
            return attn_error_nomem(err, "config", 0);
        s->values = grown;
        old = &s->values[s->count];
    } else {
        value.key = old->key;
    }
    if (!value.key || !value.value)
        return attn_error_nomem(err, "config", 0);
    s->count += old == &s->values[s->count];
    *old = value;
    return ATTN_OK;
}

static attn_status
put_defaults(attn_config *c, attn_section *s, attn_error *err)
{
    size_t count;
    const attn_key *keys = attn_key_table(s->kind, &count);
    attn_status st = ATTN_OK;
    for (size_t i = 0; i < count && st == ATTN_OK; i++)
        if (keys[i].value)
            st = put_value(c, s,
                           (attn_config_value){.key = keys[i].name,
                                               .value = keys[i].value,
                                               .origin = "default",
                                               .help = keys[i].help},
                           err);
    return st;
}

static attn_status
add_section(attn_config *c, const attn_section *like, attn_error *err)
{
    attn_section *grown =
        attn_array_reserve(c->sections, &c->sections_capacity,
                           c->num_sections + 1, sizeof *c->sections);
    if (grown)
        c->sections = grown;
    const char *name = grown ? intern(c, like->name) : NULL;
    if (!name)
        return attn_error_nomem(err, "config", 0);
    attn_section *s = &c->sections[c->num_sections++];
    *s = *like;
    s->name = name;
    return s->kind == ATTN_SECTION_LAYERS ? ATTN_OK : put_defaults(c, s, err);
}

attn_status
attn_config_create(attn_config **config, attn_error *err)
{
    attn_config *c = calloc(1, sizeof *c);
    if (!c)
        return attn_error_nomem(err, "config", sizeof *c);
    c->main_file = "";
    attn_section attn = {
        .name = "attn", .kind = ATTN_SECTION_ATTN, .origin = "default"};
    attn_section select = {
        .name = "select", .kind = ATTN_SECTION_SELECT, .origin = "default"};
    attn_status s = add_section(c, &attn, err);
    if (s == ATTN_OK)
        s = add_section(c, &select, err);
    if (s != ATTN_OK)
        attn_config_free(c);
    else
        *config = c;
    return s;
}

attn_status
attn_config_name(attn_config *config, const char *path, attn_error *err)
{
    const char *name = intern(config, path);
    if (!name)
        return attn_error_nomem(err, "config", strlen(path) + 1);
    config->main_file = name;
    return ATTN_OK;
}

void
attn_config_free(attn_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->num_sections; i++)
        free(config->sections[i].values);
    for (size_t i = 0; i < config->num_strings; i++)
        free(config->strings[i]);
    free(config->sections);
    free(config->strings);
    free(config->warnings);
    free(config->flat);
    free(config);
}

/* The name after a word: "plugin x" and "profile x". */
static attn_status
named_section(const char *text, const char *rest, uint32_t kind,
              char name[ATTN_INI_MAX_NAME + 16], attn_section *s,
              attn_error *err)
{
    const char *word = kind == ATTN_SECTION_PLUGIN ? "plugin" : "profile";
    size_t n = strspn(rest, "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    s->kind = kind;
    snprintf(name, ATTN_INI_MAX_NAME + 16, "%s %s", word, rest);
    if (n >= 1 && n <= 31 && rest[n] == 0)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "section",
                          "[%s]: a %s has a name of 1 to 31 letters, digits, "
                          "'.', '_', '-'",
                          text, word);
}

static attn_status
layers_section(const char *range, char name[ATTN_INI_MAX_NAME + 16],
               attn_section *s, attn_error *err)
{
    s->kind = ATTN_SECTION_LAYERS;
    attn_status st =
        attn_text_parse_range(range, "layers", &s->first, &s->last, err);
    if (st == ATTN_OK)
        snprintf(name, ATTN_INI_MAX_NAME + 16,
                 s->first == s->last ? "select layers %u"
                                     : "select layers %u-%u",
                 s->first, s->last);
    return st;
}

static attn_status
unknown_section(const char *text, size_t word, int has_rest, attn_error *err)
{
    static const char *const known[] = {"attn", "plugin", "select", "profile"};
    char first[ATTN_INI_MAX_NAME + 1], hint[96];
    snprintf(first, sizeof first, "%.*s", (int)word, text);
    attn_nearest nearest = {.text = first};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        attn_nearest_offer(&nearest, known[i]);
    if (nearest.name && nearest.distance == 0)
        nearest.name = has_rest && *first == 's' ? "select layers A-B" : NULL;
    return attn_error_set(err, ATTN_E_ARG, "section", "unknown section [%s]%s",
                          text, attn_nearest_hint(&nearest, hint, sizeof hint));
}

/* 1 when the first n bytes of text are this word. */
static int
is_word(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(text, word, n) == 0;
}

/* What a header says; s->name comes out canonical, in name[]. */
static attn_status
parse_section(const char *text, char name[ATTN_INI_MAX_NAME + 16],
              attn_section *s, attn_error *err)
{
    size_t word = strcspn(text, " \t");
    const char *rest = text + word + strspn(text + word, " \t");
    size_t second = strcspn(rest, " \t");
    const char *third = rest + second + strspn(rest + second, " \t");
    s->name = name;
    s->kind = ATTN_SECTION_ATTN;
    snprintf(name, ATTN_INI_MAX_NAME + 16, "%s", text);
    if (strcmp(text, "attn") == 0)
        return ATTN_OK;
    s->kind = ATTN_SECTION_SELECT;
    if (strcmp(text, "select") == 0)
        return ATTN_OK;
    if (is_word(text, word, "plugin"))
        return named_section(text, rest, ATTN_SECTION_PLUGIN, name, s, err);
    if (is_word(text, word, "profile"))
        return named_section(text, rest, ATTN_SECTION_PROFILE, name, s, err);
    if (is_word(text, word, "select") && is_word(rest, second, "layers"))
        return layers_section(third, name, s, err);
    return unknown_section(text, word, *rest != 0, err);
}

/* What one file measured is no complement of what another did. */
static attn_status
start_over(attn_config *c, attn_section *s, const attn_section *like,
           attn_error *err)
{
    s->origin = like->origin;
    s->line = like->line;
    s->count = 0;
    return put_defaults(c, s, err);
}

static attn_status
on_section(void *arg, const char *text, uint32_t line, attn_error *err)
{
    struct cursor *cur = arg;
    attn_config *c = cur->config;
    char name[ATTN_INI_MAX_NAME + 16];
    attn_error why = ATTN_ERROR_INIT;
    attn_section like = {.origin = cur->origin, .line = line};
    if (parse_section(text, name, &like, &why) != ATTN_OK)
        return attn_ini_error(err, cur->origin, line, "%s", why.message);
    const attn_section *old = attn_config_section(c, name);
    if (old && old->last_file == c->num_files)
        return attn_ini_error(err, cur->origin, line,
                              "section [%s] again: first in line %u", name,
                              old->last_line);
    attn_status st = old ? ATTN_OK : add_section(c, &like, err);
    if (st != ATTN_OK)
        return st;
    cur->section = old ? (size_t)(old - c->sections) : c->num_sections - 1;
    if (old && old->kind == ATTN_SECTION_PROFILE)
        st = start_over(c, &c->sections[cur->section], &like, err);
    if (st != ATTN_OK)
        return st;
    c->sections[cur->section].last_file = c->num_files;
    c->sections[cur->section].last_line = line;
    return ATTN_OK;
}

static attn_status
on_value(void *arg, const char *key, const char *value, uint32_t line,
         attn_error *err)
{
    struct cursor *cur = arg;
    attn_section *s = &cur->config->sections[cur->section];
    const attn_key *known;
    attn_error why = ATTN_ERROR_INIT;
    if (attn_key_find(s->kind, key, &known, &why) != ATTN_OK) {
        char *hint = strstr(why.message, ": did you");
        int n = hint ? (int)(hint - why.message) : (int)strlen(why.message);
        return attn_ini_error(err, cur->origin, line, "%.*s in [%s]%s", n,
                              why.message, s->name, hint ? hint : "");
    }
    const attn_config_value *old = attn_section_value(s, key);
    if (old && strcmp(old->origin, cur->origin) == 0 &&
        old->line > s->last_line && old->line < line)
        return attn_ini_error(err, cur->origin, line,
                              "key '%s' again in [%s]: first in line %u", key,
                              s->name, old->line);
    if (attn_key_check(known, value, &why) != ATTN_OK)
        return attn_ini_error(err, cur->origin, line, "[%s] %s", s->name,
                              why.message);
    return put_value(cur->config, s,
                     (attn_config_value){.key = key,
                                         .value = value,
                                         .origin = cur->origin,
                                         .line = line,
                                         .help = known->help},
                     err);
}

attn_status
attn_config_read(attn_config *config, const char *name, const char *text,
                 size_t size, attn_error *err)
{
    struct cursor cur = {.config = config, .origin = intern(config, name)};
    if (!cur.origin)
        return attn_error_nomem(err, "config", 0);
    config->num_files++;
    const attn_ini_sink sink = {&cur, on_section, on_value};
    return attn_ini_read(cur.origin, text, size, &sink, err);
}

attn_status
attn_config_override(attn_config *config, const char *section, const char *key,
                     const char *value, const char *origin, attn_error *err)
{
    attn_section *s = (attn_section *)attn_config_section(config, section);
    const attn_key *known;
    attn_status st = attn_key_find(s->kind, key, &known, err);
    if (st == ATTN_OK)
        st = attn_key_check(known, value, err);
    if (st != ATTN_OK)
        return st;
    return put_value(
        config, s,
        (attn_config_value){
            .key = key, .value = value, .origin = origin, .help = known->help},
        err);
}

attn_status
attn_config_warn(attn_config *config, attn_error *err, const char *fmt, ...)
{
    char text[304];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char **grown =
        attn_array_reserve(config->warnings, &config->warnings_capacity,
                           config->num_warnings + 1, sizeof *config->warnings);
    if (grown)
        config->warnings = grown;
    const char *copy = grown ? intern(config, text) : NULL;
    if (!copy)
        return attn_error_nomem(err, "config", 0);
    config->warnings[config->num_warnings++] = copy;
    return ATTN_OK;
}

/* [attn], plugins, [select], [select layers], profiles; each kind as it was
 * met. */
attn_status
attn_config_finish(attn_config *config, attn_error *err)
{
    static const uint32_t order[] = {ATTN_SECTION_ATTN, ATTN_SECTION_PLUGIN,
                                     ATTN_SECTION_SELECT, ATTN_SECTION_LAYERS,
                                     ATTN_SECTION_PROFILE};
    size_t count = 0;
    for (size_t i = 0; i < config->num_sections; i++) {
        const attn_section *s = &config->sections[i];
        count += s->count;
        if (s->kind == ATTN_SECTION_PLUGIN && !attn_section_value(s, "library"))
            return attn_ini_error(err, s->origin, s->line,
                                  "[%s] names no library", s->name);
        if (s->kind == ATTN_SECTION_PROFILE && !attn_section_value(s, "family"))
            return attn_ini_error(err, s->origin, s->line,
                                  "[%s] names no family", s->name);
    }
    config->flat = calloc(count, sizeof(const attn_config_value *));
    if (!config->flat)
        return attn_error_nomem(err, "config", count * sizeof(void *));
    for (size_t k = 0; k < sizeof order / sizeof *order; k++)
        for (size_t i = 0; i < config->num_sections; i++)
            for (size_t j = 0; config->sections[i].kind == order[k] &&
                               j < config->sections[i].count;
                 j++)
                config->flat[config->num_flat++] =
                    &config->sections[i].values[j];
    return ATTN_OK;
}
