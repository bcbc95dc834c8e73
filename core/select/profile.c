/* SPDX-License-Identifier: Apache-2.0 */
#include "select/profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/reader.h"
#include "config/store.h"

#define FIELD "layer."

/* Bits that no field shows and that cost time. */
#define STATED_FEATURES                                                     \
    (ATTN_F_PER_REQUEST_CAUSAL | ATTN_F_SINKS | ATTN_F_ALIBI |              \
     ATTN_F_PREFIX_RANGES | ATTN_F_CROSS | ATTN_F_KV_SCALES | ATTN_F_GATE | \
     ATTN_F_DRAFTS | ATTN_F_CHECKPOINTS)

static int
is_family(const attn_section *s, const attn_layer *layer)
{
    const attn_family *known = attn_family_find(layer->family);
    const attn_config_value *v = attn_section_value(s, "family");
    return s->kind == ATTN_SECTION_PROFILE && v &&
           (strcmp(v->value, layer->family) == 0 ||
            (known && strcmp(v->value, known->key) == 0));
}

static attn_status
match_field(const attn_config_value *v, const attn_layer *layer, int *same,
            attn_error *err)
{
    const char *name = v->key + strlen(FIELD);
    char want[64], have[64];
    attn_any_layer probe = {
        .head = {.struct_size = sizeof probe, .family = layer->family}};
    attn_error why = ATTN_ERROR_INIT;
    if (attn_layer_set(&probe, name, v->value, &why) != ATTN_OK)
        return attn_ini_error(err, v->origin, v->line, "[%s] %s", v->section,
                              why.message);
    attn_layer_get(&probe.head, name, want, sizeof want);
    attn_layer_get(layer, name, have, sizeof have);
    *same &= strcmp(want, have) == 0;
    return ATTN_OK;
}

static attn_status
match_features(const attn_config_value *v, const attn_layer *layer, int *same,
               attn_error *err)
{
    uint64_t bits = 0;
    char word[32];
    for (const char *p = v->value + strspn(v->value, " \t,"); *p;
         p += strspn(p, " \t,")) {
        size_t n = strcspn(p, " \t,");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        uint64_t bit = n < sizeof word ? attn_feature_parse(word) : 0;
        if (!bit && strcmp(word, "none") != 0)
            return attn_ini_error(err, v->origin, v->line,
                                  "[%s] no feature '%.*s'", v->section, (int)n,
                                  p);
        bits |= bit;
        p += n;
    }
    *same &= ((bits ^ layer->features) & STATED_FEATURES) == 0;
    return ATTN_OK;
}

/* *same: the layer is as the section states it. */
static attn_status
match(const attn_section *s, const attn_layer *layer, int *same,
      attn_error *err)
{
    attn_status st = ATTN_OK;
    *same = 1;
    for (size_t i = 0; i < s->count && st == ATTN_OK; i++) {
        const attn_config_value *v = &s->values[i];
        if (attn_text_starts(v->key, FIELD))
            st = match_field(v, layer, same, err);
        else if (strcmp(v->key, "features") == 0)
            st = match_features(v, layer, same, err);
    }
    return st;
}

static uint32_t
phase_of(const attn_section *s)
{
    static const char *const names[] = {"any", "prefill", "decode"};
    const attn_config_value *v = attn_section_value(s, "phase");
    for (uint32_t i = 1; v && i < sizeof names / sizeof *names; i++)
        if (strcmp(v->value, names[i]) == 0)
            return i;
    return ATTN_PHASE_ANY;
}

static void
add_section(attn_profile *p, const attn_section *s)
{
    if (p->count++ == 0)
        snprintf(p->where, sizeof p->where, "[%s] at %s:%u", s->name, s->origin,
                 s->line);
    else
        snprintf(p->where, sizeof p->where, "%u profiles", p->count);
}

static attn_status
counts(const attn_profile *p, const attn_section *s, int *same, attn_error *err)
{
    *same = 0;
    if (!is_family(s, p->layer))
        return ATTN_OK;
    attn_status st = match(s, p->layer, same, err);
    *same &= p->every_phase || phase_of(s) == p->phase;
    return st;
}

static attn_status
gather(attn_profile *p, attn_error *err)
{
    attn_status st = ATTN_OK;
    int same;
    for (size_t i = 0; i < p->config->num_sections && st == ATTN_OK; i++) {
        st = counts(p, &p->config->sections[i], &same, err);
        if (st == ATTN_OK && same)
            add_section(p, &p->config->sections[i]);
    }
    return st;
}

attn_status
attn_profile_find(const attn_config *config, const attn_layer *layer,
                  uint32_t phase, attn_profile *profile, attn_error *err)
{
    *profile = (attn_profile){.config = config,
                              .layer = layer,
                              .phase = phase,
                              .every_phase = phase == ATTN_PHASE_ANY};
    attn_status s = config ? gather(profile, err) : ATTN_OK;
    if (s != ATTN_OK || profile->count || !config)
        return s;
    profile->phase = ATTN_PHASE_ANY;
    return gather(profile, err);
}

static double
time_in(const attn_section *s, const char *backend)
{
    char key[ATTN_INI_MAX_NAME + 1];
    double time;
    snprintf(key, sizeof key, "time_us.%s", backend);
    const attn_config_value *v = attn_section_value(s, key);
    if (!v || attn_text_parse_f64(v->value, 0, 1e15, key, &time, NULL))
        return INFINITY;
    return time;
}

double
attn_profile_time(const attn_profile *p, const char *backend)
{
    double sum = 0;
    int same;
    for (size_t i = 0; p->count && i < p->config->num_sections; i++) {
        const attn_section *s = &p->config->sections[i];
        if (counts(p, s, &same, NULL) == ATTN_OK && same)
            sum += time_in(s, backend);
    }
    return p->count ? sum : INFINITY;
}
