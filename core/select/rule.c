/* SPDX-License-Identifier: Apache-2.0 */
#include "select/rule.h"

#include <stdio.h>
#include <string.h>

#include "config/store.h"

static const char *const phases[] = {"", ".prefill", ".decode"};

static const attn_config_value *
value_in(const attn_section *section, const char *family, uint32_t phase)
{
    char key[192];
    const attn_config_value *v = NULL;
    if (phase == ATTN_PHASE_PREFILL || phase == ATTN_PHASE_DECODE) {
        snprintf(key, sizeof key, "%s%s", family, phases[phase]);
        v = attn_section_value(section, key);
    }
    return v ? v : attn_section_value(section, family);
}

/* How many layers a section speaks for; [select] for all. */
static uint64_t
width(const attn_section *s)
{
    if (s->kind == ATTN_SECTION_SELECT)
        return UINT64_MAX;
    return (uint64_t)s->last - s->first + 1;
}

static int
applies(const attn_section *s, uint32_t layer_index)
{
    if (s->kind == ATTN_SECTION_SELECT)
        return 1;
    return s->kind == ATTN_SECTION_LAYERS &&
           layer_index != ATTN_LAYER_INDEX_NONE && layer_index >= s->first &&
           layer_index <= s->last;
}

void
attn_rule_find(const attn_config *config, const char *family_id,
               const attn_select_params *params, attn_rule *rule)
{
    const attn_family *known = attn_family_find(family_id);
    const char *family = known ? known->key : family_id;
    uint64_t narrowest = UINT64_MAX;
    *rule = (attn_rule){.text = "auto"};
    for (size_t i = 0; config && i < config->num_sections; i++) {
        const attn_section *s = &config->sections[i];
        if (!applies(s, params->layer_index) || width(s) > narrowest)
            continue;
        const attn_config_value *v = value_in(s, family, params->phase);
        if (!v)
            continue;
        narrowest = width(s);
        rule->value = v;
    }
    const attn_config_value *v = rule->value;
    if (!v || strcmp(v->value, "auto") == 0)
        return;
    rule->named = 1;
    if (v->line)
        snprintf(rule->text, sizeof rule->text, "[%s] %s at %s:%u", v->section,
                 v->key, v->origin, v->line);
    else
        snprintf(rule->text, sizeof rule->text, "[%s] %s by %s", v->section,
                 v->key, v->origin);
}

const char *
attn_rule_next_name(const char *list, char name[32])
{
    list += strspn(list, " \t,");
    size_t n = strcspn(list, " \t,");
    if (n == 0)
        return NULL;
    snprintf(name, 32, "%.*s", (int)n, list);
    return list + n;
}
