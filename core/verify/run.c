/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "verify/trial.h"

static void
join(char *text, size_t size, const char *more)
{
    const size_t n = strlen(text);
    if (n < size)
        snprintf(text + n, size - n, "%s%s", n ? "; " : "", more);
}

/* The plugin's own check alone, where there is no registry. */
static int
own_check(const attn_entry *entry, const attn_layer *layer, char *text,
          size_t size)
{
    char buf[2048];
    attn_reasons r = {
        .struct_size = sizeof r, .buf = buf, .capacity = sizeof buf};
    if (!entry->backend->op->check(entry->backend, entry->arch, layer, &r))
        return 1;
    for (uint64_t at = 0; at < r.used; at += strlen(buf + at) + 1)
        join(text, size, buf + at);
    return 0;
}

/* What the registry's selection says of this entry. */
static attn_status
selected(attn_registry *registry, const attn_entry *entry,
         const attn_layer *layer, char *text, size_t size)
{
    const attn_select_params params = {.struct_size = sizeof params,
                                       .layer_index = ATTN_LAYER_INDEX_NONE,
                                       .device = entry->device_index};
    attn_selection *all = NULL;
    attn_error why = ATTN_ERROR_INIT;
    attn_status s = ATTN_E_UNSUPPORTED;
    const attn_status asked = attn_select(registry, layer, &params, &all, &why);
    if (!all) {
        join(text, size, why.message);
        return asked == ATTN_E_NOMEM ? asked : s;
    }
    for (size_t i = 0; i < attn_selection_count(all); i++) {
        const attn_candidate *c = attn_selection_at(all, i);
        if (c->entry != entry)
            continue;
        s = c->eligible ? ATTN_OK : ATTN_E_UNSUPPORTED;
        for (uint32_t k = 0; s && k < c->num_reasons; k++)
            join(text, size, c->reasons[k]);
    }
    attn_selection_free(all);
    return s;
}

int
attn_eligible(attn_registry *registry, const attn_entry *entry,
              const attn_layer *layer, char *text, size_t size)
{
    *text = 0;
    return registry ? selected(registry, entry, layer, text, size) == ATTN_OK
                    : own_check(entry, layer, text, size);
}

attn_status
attn_eligible_check(attn_registry *registry, const attn_entry *entry,
                    const attn_layer *layer, attn_error *err)
{
    char text[sizeof err->message] = "";
    attn_status s = ATTN_OK;
    if (registry)
        s = selected(registry, entry, layer, text, sizeof text);
    else if (!own_check(entry, layer, text, sizeof text))
        s = ATTN_E_UNSUPPORTED;
    return s ? attn_error_set(err, s, "layer", "%s", text) : ATTN_OK;
}

static attn_status
run_captured(attn_trial *t, attn_error *err)
{
    attn_status s = attn_trial_build(t, err);
    if (!s)
        s = attn_trial_update(t, err);
    if (!s)
        s = attn_trial_capture(t, err);
    if (!s)
        s = attn_trial_replay(t, err);
    if (!s)
        s = attn_trial_sync(t, err);
    return s ? s : attn_trial_check(t, err);
}

attn_status
attn_call_run(attn_registry *registry, const attn_entry *entry,
              const attn_call *call, const attn_run_params *params,
              attn_call **result, attn_error *err)
{
    const uint32_t flags = params ? params->flags : 0;
    attn_trial *t = NULL;
    if (!entry->backend)
        return attn_error_set(err, ATTN_E_ARG, "entry", "'%s' is %s: %s",
                              entry->name, attn_state_str(entry->state),
                              entry->reason);
    if (strcmp(entry->backend->family, attn_call_layer(call)->family) != 0)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "layer.family",
                              "family '%s': '%s' has '%s'",
                              attn_call_layer(call)->family, entry->name,
                              entry->backend->family);
    attn_status s =
        attn_eligible_check(registry, entry, attn_call_layer(call), err);
    if (s)
        return s;
    const attn_trial_params in = {
        .registry = registry,
        .entry = entry,
        .num_threads = params ? params->num_threads : 0,
        .capture =
            flags & ATTN_RUN_CAPTURE ? ATTN_CAPTURE_ALWAYS : ATTN_CAPTURE_NEVER,
        .flags = attn_trial_flags(flags)};
    s = attn_trial_create(&in, call, &t, err);
    if (s)
        return s;
    s = (flags & ATTN_RUN_CAPTURE) && t->place.service ? run_captured(t, err)
                                                       : attn_trial_run(t, err);
    if (!s)
        s = attn_trial_collect(t, result, err);
    attn_trial_destroy(t);
    return s;
}
