/* SPDX-License-Identifier: Apache-2.0 */
#include "select/selection.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/size.h"
#include "base/text.h"
#include "config/store.h"
#include "select/layer.h"
#include "select/match.h"
#include "select/profile.h"
#include "select/rule.h"

#define REASONS_BYTES 4096
#define NOT_NAMED UINT32_MAX

struct candidate {
    attn_candidate public;
    char *text;           /* all reasons, NUL after NUL */
    const char **reasons; /* into text */
    uint32_t place;       /* in the list of names, or NOT_NAMED */
    size_t order;         /* in the registry */
    double time;          /* microseconds in the profile, else infinity */
};

struct attn_selection {
    struct candidate *candidates;
    size_t count;
    const attn_entry *winner;
    char *rule;
    int is_auto;
};

/* What one call of attn_select works with. */
struct job {
    const attn_entry *const *entries;
    size_t num_entries;
    const attn_select_params *params;
    attn_wish wish;
    uint32_t device;
    attn_rule rule;
    attn_profile profile;
    attn_selection *out;
    attn_error *err;
};

void
attn_selection_free(attn_selection *selection)
{
    if (!selection)
        return;
    for (size_t i = 0; i < selection->count; i++) {
        free(selection->candidates[i].text);
        free(selection->candidates[i].reasons);
    }
    free(selection->candidates);
    free(selection->rule);
    free(selection);
}

size_t
attn_selection_count(const attn_selection *selection)
{
    return selection->count;
}

const attn_candidate *
attn_selection_at(const attn_selection *s, size_t index)
{
    return index < s->count ? &s->candidates[index].public : NULL;
}

const attn_entry *
attn_selection_winner(const attn_selection *s)
{
    return s->winner;
}

int
attn_selection_is_auto(const attn_selection *selection)
{
    return selection->is_auto;
}

const char *
attn_selection_rule(const attn_selection *selection)
{
    return selection->rule;
}

/* Takes over the reasons as a list of their own. */
static attn_status
keep_reasons(struct candidate *c, const attn_reasons *r, attn_error *err)
{
    uint32_t count = 0;
    free(c->text);
    free(c->reasons);
    c->reasons = NULL;
    c->public.reasons = NULL;
    c->public.num_reasons = 0;
    c->text = malloc(r->used + 1);
    if (!c->text)
        return attn_error_nomem(err, "selection", r->used + 1);
    memcpy(c->text, r->buf, r->used);
    c->text[r->used] = 0;
    for (uint64_t i = 0; i < r->used; i++)
        count += r->buf[i] == 0;
    c->reasons = calloc(count + 1, sizeof *c->reasons);
    if (!c->reasons)
        return attn_error_nomem(err, "selection", 0);
    const char *p = c->text;
    for (uint32_t i = 0; i < count; i++) {
        c->reasons[i] = p;
        p += strlen(p) + 1;
    }
    c->public.reasons = c->reasons;
    c->public.num_reasons = count;
    return ATTN_OK;
}

static attn_status ATTN_PRINTF(3, 4)
    one_reason(struct candidate *c, attn_error *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    attn_reasons r = {.struct_size = sizeof r,
                      .count = 1,
                      .buf = text,
                      .capacity = sizeof text,
                      .used = strlen(text) + 1};
    return keep_reasons(c, &r, err);
}

static uint32_t
devices_of(const attn_entry *e)
{
    return e->num_devices ? e->num_devices : 1;
}

/* A backend's row on another device than the one asked for. Where it has none
 * of that number, its first speaks for it. */
static int
is_elsewhere(const struct job *job, const attn_entry *e)
{
    return e->device_index != (job->device < devices_of(e) ? job->device : 0);
}

static attn_status
judge(struct job *job, struct candidate *c)
{
    const attn_entry *e = c->public.entry;
    char text[REASONS_BYTES];
    attn_reasons r = {
        .struct_size = sizeof r, .buf = text, .capacity = sizeof text};
    if (e->state != ATTN_STATE_READY)
        return one_reason(c, job->err, "%s: %s", attn_state_str(e->state),
                          e->reason);
    if (job->device >= devices_of(e) && e->device_type != ATTN_DEVICE_CPU)
        return one_reason(c, job->err, "device %u: has %u, from 0", job->device,
                          devices_of(e));
    job->wish.arch = e->arch;
    c->public.eligible =
        attn_backend_match(e->backend, &job->wish, &r) == ATTN_OK;
    return keep_reasons(c, &r, job->err);
}

/* The place of a name in what was asked for. */
static uint32_t
place_of(const struct job *job, const char *name)
{
    char named[32];
    uint32_t place = 0;
    if (job->params->backend)
        return strcmp(job->params->backend, name) == 0 ? 0 : NOT_NAMED;
    if (!job->rule.named)
        return NOT_NAMED;
    const char *p = job->rule.value->value;
    for (; (p = attn_rule_next_name(p, named)); place++)
        if (strcmp(named, name) == 0)
            return place;
    return NOT_NAMED;
}

static int
is_auto(const struct job *job)
{
    return !job->params->backend && !job->rule.named;
}

/* Rows of the family, and rows of unknown family that are asked for. */
static attn_status
collect(struct job *job)
{
    attn_selection *out = job->out;
    out->candidates = calloc(job->num_entries + 1, sizeof *out->candidates);
    if (!out->candidates)
        return attn_error_nomem(job->err, "selection", 0);
    for (size_t i = 0; i < job->num_entries; i++) {
        const attn_entry *e = job->entries[i];
        uint32_t place = place_of(job, e->name);
        if (strcmp(e->family, job->wish.layer->family) != 0 &&
            (*e->family || place == NOT_NAMED))
            continue;
        if (is_elsewhere(job, e))
            continue;
        struct candidate *c = &out->candidates[out->count++];
        c->public.entry = e;
        c->public.admitted = is_auto(job) ? !e->emulated : place != NOT_NAMED;
        c->place = place;
        c->order = i;
        c->time = attn_profile_time(&job->profile, e->name);
        attn_status s = judge(job, c);
        if (s != ATTN_OK)
            return s;
    }
    return ATTN_OK;
}

static int
by_preference(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    const attn_entry *e = x->public.entry, *f = y->public.entry;
    if (x->public.eligible != y->public.eligible)
        return x->public.eligible ? -1 : 1;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (e->emulated != f->emulated)
        return e->emulated ? 1 : -1;
    if (e->priority != f->priority)
        return e->priority > f->priority ? -1 : 1;
    if (x->time < y->time || x->time > y->time)
        return x->time < y->time ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Sorted, the winner is the first or nobody. */
static struct candidate *
pick(struct job *job, int nobody)
{
    attn_selection *out = job->out;
    qsort(out->candidates, out->count, sizeof *out->candidates, by_preference);
    struct candidate *first = out->count ? &out->candidates[0] : NULL;
    if (nobody || !first || !first->public.eligible || !first->public.admitted)
        return NULL;
    first->public.chosen = 1;
    out->winner = first->public.entry;
    return first;
}

/* Of equal priority: slower, not measured, or listed later. */
static attn_status
explain_speed(struct job *job, struct candidate *c)
{
    const struct candidate *first = &job->out->candidates[0];
    const attn_entry *e = c->public.entry, *winner = job->out->winner;
    if (isinf(first->time) || first->time >= c->time)
        return one_reason(c, job->err, "priority %d as %s, listed after it",
                          e->priority, winner->name);
    if (isinf(c->time))
        return one_reason(c, job->err, "priority %d as %s, not measured in %s",
                          e->priority, winner->name, job->profile.where);
    return one_reason(
        c, job->err, "priority %d as %s, %.6g us against %.6g us in %s",
        e->priority, winner->name, c->time, first->time, job->profile.where);
}

/* Why an eligible candidate stands where it does. */
static attn_status
explain_rank(struct job *job, struct candidate *c, const char *rule)
{
    const attn_entry *e = c->public.entry;
    const attn_entry *winner = job->out->winner;
    if (c->public.chosen)
        return one_reason(c, job->err, "chosen, %s", rule);
    if (is_auto(job) && e->emulated)
        return one_reason(c, job->err, "emulated: never chosen by auto");
    if (c->place == NOT_NAMED && !is_auto(job))
        return one_reason(c, job->err, "not named: %s", rule);
    if (c->place != NOT_NAMED && !winner)
        return one_reason(c, job->err, "named beside one that is none: %s",
                          rule);
    if (c->place != NOT_NAMED)
        return one_reason(c, job->err, "named after %s", winner->name);
    if (e->priority == winner->priority)
        return explain_speed(job, c);
    return one_reason(c, job->err, "priority %d below %d of %s", e->priority,
                      winner->priority, winner->name);
}

static void
write_rule(const struct job *job, const struct candidate *winner, char *text,
           size_t size)
{
    const attn_selection *out = job->out;
    if (job->params->backend)
        snprintf(text, size, "asked for by name");
    else if (job->rule.named)
        snprintf(text, size, "%s", job->rule.text);
    else if (winner && isfinite(winner->time))
        snprintf(text, size, "auto: priority %d, %.6g us in %s",
                 winner->public.entry->priority, winner->time,
                 job->profile.where);
    else if (winner)
        snprintf(text, size, "auto: priority %d",
                 winner->public.entry->priority);
    else if (out->count == 0)
        snprintf(text, size, "no plugin offers family %s",
                 job->wish.layer->family);
    else
        snprintf(text, size, "auto: none of %zu candidate%s can be chosen",
                 out->count, out->count == 1 ? "" : "s");
}

/* The first name that no row has, or NULL. */
static const char *
missing_name(const struct job *job, char name[32])
{
    const char *p =
        job->params->backend ? job->params->backend : job->rule.value->value;
    while ((p = attn_rule_next_name(p, name))) {
        size_t i = 0;
        while (i < job->num_entries && strcmp(job->entries[i]->name, name) != 0)
            i++;
        if (i == job->num_entries)
            return name;
    }
    return NULL;
}

static attn_status
report_missing(const struct job *job, const char *name, const char *rule)
{
    char hint[96];
    attn_nearest nearest = {.text = name};
    for (size_t i = 0; i < job->num_entries; i++)
        attn_nearest_offer(&nearest, job->entries[i]->name);
    return attn_error_set(job->err, ATTN_E_CONFIG, "select",
                          "%s: no backend '%s'%s", rule, name,
                          attn_nearest_hint(&nearest, hint, sizeof hint));
}

/* A name was given and none of the names can run. */
static attn_status
report_unable(const struct job *job, const char *rule)
{
    const attn_selection *out = job->out;
    const struct candidate *best = NULL;
    for (size_t i = 0; i < out->count; i++)
        if (out->candidates[i].place != NOT_NAMED &&
            (!best || out->candidates[i].place < best->place))
            best = &out->candidates[i];
    char name[32];
    const char *asked =
        job->params->backend ? job->params->backend : job->rule.value->value;
    if (!best && attn_rule_next_name(asked, name))
        return attn_error_set(job->err, ATTN_E_CONFIG, "select",
                              "%s: %s is of another family", rule, name);
    if (!best)
        return attn_error_set(job->err, ATTN_E_CONFIG, "select", "%s: no name",
                              rule);
    return attn_error_set(
        job->err, ATTN_E_CONFIG, "select", "%s: %s cannot run this layer: %s%s",
        rule, best->public.entry->name,
        best->public.num_reasons ? best->public.reasons[0] : "no reason",
        best->public.num_reasons > 1 ? " (and more)" : "");
}

static attn_status
explain_all(struct job *job, const char *rule)
{
    attn_status s = ATTN_OK;
    for (size_t i = 0; i < job->out->count && s == ATTN_OK; i++)
        if (job->out->candidates[i].public.eligible)
            s = explain_rank(job, &job->out->candidates[i], rule);
    return s;
}

/* A name that does not exist decides before any that does. */
static attn_status
decide(struct job *job)
{
    char rule[256], name[32];
    attn_selection *out = job->out;
    const char *missing = is_auto(job) ? NULL : missing_name(job, name);
    struct candidate *winner = pick(job, missing != NULL);
    write_rule(job, winner, rule, sizeof rule);
    out->rule = strdup(rule);
    if (!out->rule)
        return attn_error_nomem(job->err, "selection", 0);
    attn_status s = explain_all(job, rule);
    if (s == ATTN_OK && missing)
        return report_missing(job, missing, rule);
    if (s != ATTN_OK || winner || is_auto(job))
        return s;
    return report_unable(job, rule);
}

static attn_status
check_params(const attn_select_params *params, attn_error *err)
{
    const size_t least = ATTN_UP_TO(attn_select_params, backend);
    if (params->struct_size < least)
        return attn_error_params(err, params->struct_size, least);
    if (params->phase > ATTN_PHASE_DECODE)
        return attn_error_set(err, ATTN_E_ARG, "params.phase",
                              "phase %u: at most 2", params->phase);
    return ATTN_OK;
}

/* A layer of a known family as it is today, another's as it is. */
static attn_status
whole_layer(const attn_layer *layer, attn_any_layer *known,
            const attn_layer **whole, attn_error *err)
{
    const attn_family *family =
        layer->family ? attn_family_find(layer->family) : NULL;
    *whole = family ? &known->head : layer;
    if (family)
        return attn_layer_take(layer, known, &family, err);
    if (layer->family && layer->struct_size >= sizeof *layer)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "layer.struct_size",
                          "struct_size %u: too small for its family",
                          layer->struct_size);
}

attn_status
attn_select_among(const attn_entry *const *entries, size_t count,
                  const attn_config *config, const attn_layer *layer,
                  const attn_select_params *params, attn_selection **selection,
                  attn_error *err)
{
    attn_any_layer known;
    attn_status s = check_params(params, err);
    if (s == ATTN_OK)
        s = whole_layer(layer, &known, &layer, err);
    if (s != ATTN_OK)
        return s;
    struct job job = {.entries = entries,
                      .num_entries = count,
                      .params = params,
                      .wish = {.layer = layer, .capture = params->capture},
                      .err = err};
    if (ATTN_KNOWS(params, attn_select_params, max_seq_len))
        job.wish.max_seq_len = params->max_seq_len;
    if (ATTN_KNOWS(params, attn_select_params, device))
        job.device = params->device;
    attn_rule_find(config, layer->family, params, &job.rule);
    if (is_auto(&job))
        s = attn_profile_find(config, layer, params->phase, &job.profile, err);
    if (s != ATTN_OK)
        return s;
    job.out = calloc(1, sizeof *job.out);
    if (!job.out)
        return attn_error_nomem(err, "selection", sizeof *job.out);
    job.out->is_auto = is_auto(&job);
    s = collect(&job);
    if (s == ATTN_OK)
        s = decide(&job);
    if (s == ATTN_OK || s == ATTN_E_CONFIG)
        *selection = job.out;
    else
        attn_selection_free(job.out);
    return s;
}
