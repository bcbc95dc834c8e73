/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

#include "base/error.h"
#include "verify/ladder.h"

uint32_t
attn_rung_file(attn_climb *c, char *reason, size_t size)
{
    char note[1024];
    attn_error err = ATTN_ERROR_INIT;
    if (attn_plugin_file_check(c->entry->file, &err)) {
        snprintf(reason, size, "%s", err.message);
        return ATTN_RUNG_FAIL;
    }
    if (attn_plugin_file_note(c->entry->file, note, sizeof note, &err)) {
        snprintf(reason, size, "no identity note (ATTN_PLUGIN_NOTE): %s",
                 err.message);
        return ATTN_RUNG_FAIL;
    }
    char line[80];
    snprintf(line, sizeof line, "\nid=%s\n", c->entry->plugin->id);
    if (!strstr(note, line)) {
        snprintf(reason, size, "the identity note has another id than '%s'",
                 c->entry->plugin->id);
        return ATTN_RUNG_FAIL;
    }
    if (!strstr(note, c->entry->name)) {
        snprintf(reason, size, "the identity note lacks backend '%s'",
                 c->entry->name);
        return ATTN_RUNG_FAIL;
    }
    snprintf(reason, size, "%s", c->entry->file);
    return ATTN_RUNG_PASS;
}

/* Unknown ids must be unknown: no prefix match, no garbage. */
static const char *
bad_extension(const attn_plugin *p)
{
    static const char *const IDS[] = {"", "attn", "attn.device/9",
                                      "attn.device/1x", "org.nobody.nothing/1"};
    for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++)
        if (p->get_extension && p->get_extension(IDS[i]))
            return IDS[i];
    return NULL;
}

uint32_t
attn_rung_handshake(attn_climb *c, char *reason, size_t size)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_ctx *ctx = NULL, *again = NULL;
    const char *id = bad_extension(c->entry->plugin);
    if (id) {
        snprintf(reason, size, "get_extension answers the unknown id '%s'", id);
        return ATTN_RUNG_FAIL;
    }
    if (attn_registry_context(c->registry, c->entry, &ctx, &err) ||
        attn_registry_context(c->registry, c->entry, &again, &err)) {
        snprintf(reason, size, "open: %s", err.message);
        return ATTN_RUNG_FAIL;
    }
    snprintf(reason, size, "%s %s on %s", c->entry->plugin->id,
             c->entry->plugin->version, c->entry->device);
    return ATTN_RUNG_PASS;
}

/* ----------------------------------------------------------------- numerics */

static uint32_t
run_id(attn_climb *c, uint64_t id, char *reason, size_t size)
{
    attn_ladder_case k;
    if (!attn_ladder_case_make(c, id, &k)) {
        snprintf(reason, size, "no case %llu for this backend",
                 (unsigned long long)id);
        return ATTN_RUNG_SKIP;
    }
    return attn_ladder_case_run(c, &k, reason, size);
}

/* Model shapes first, each spec before any is repeated with another type. */
static uint32_t
run_models(attn_climb *c, char *reason, size_t size)
{
    const uint32_t models = attn_ladder_num_models(c);
    const uint32_t total = models * ATTN_LADDER_SPECS * ATTN_LADDER_DTYPES;
    uint32_t done = 0;
    for (uint32_t d = 0; d < ATTN_LADDER_DTYPES; d++)
        for (uint32_t s = 0; s < ATTN_LADDER_SPECS; s++)
            for (uint32_t m = 0; m < models; m++) {
                attn_climb_progress(c, done++, total);
                const uint64_t id = attn_ladder_model_id(
                    m, s, d, (uint32_t)(c->seed + s + 3 * m + 5 * d));
                if (attn_climb_now() > c->end) {
                    c->num_late += total - done + 1;
                    return ATTN_RUNG_PASS;
                }
                if (run_id(c, id, reason, size) == ATTN_RUNG_FAIL)
                    return ATTN_RUNG_FAIL;
            }
    return ATTN_RUNG_PASS;
}

static uint32_t
run_random(attn_climb *c, uint32_t most, char *reason, size_t size)
{
    for (uint32_t i = 0; i < most; i++) {
        attn_climb_progress(c, i, most);
        if (attn_climb_now() > c->end) {
            c->num_late += most - i;
            break;
        }
        if (run_id(c, attn_ladder_random_id(c->seed * 1000003u + i), reason,
                   size) == ATTN_RUNG_FAIL)
            return ATTN_RUNG_FAIL;
    }
    return ATTN_RUNG_PASS;
}

/* Cases left out for their time are told, so that none passes unseen. */
static void
tell_late(const attn_climb *c, char *reason, size_t size)
{
    const size_t n = strlen(reason);
    if (c->num_late && n < size)
        snprintf(reason + n, size - n, "; no time for %u more", c->num_late);
}

uint32_t
attn_rung_numerics(attn_climb *c, char *reason, size_t size)
{
    if (c->params->only_case) {
        c->end = attn_climb_now() + 1e6;
        const uint32_t s = run_id(c, c->params->only_case, reason, size);
        if (s == ATTN_RUNG_PASS)
            snprintf(reason, size, "case %llu",
                     (unsigned long long)c->params->only_case);
        return s;
    }
    /* Models take two thirds of the time at most, random layers the rest. */
    const double end = c->end, start = attn_climb_now();
    c->end = start + (end - start) * 2 / 3;
    uint32_t s = run_models(c, reason, size);
    const uint32_t models = c->num_cases;
    c->end = end;
    if (s == ATTN_RUNG_PASS)
        s = run_random(c, c->params->quick ? 100 : 1000, reason, size);
    if (s != ATTN_RUNG_PASS)
        return s;
    if (!c->num_cases) {
        snprintf(reason, size,
                 "no case ran: the backend takes no model's "
                 "layer and no random one");
        return ATTN_RUNG_FAIL;
    }
    snprintf(reason, size, "%u cases of model shapes, %u random ones", models,
             c->num_cases - models);
    tell_late(c, reason, size);
    return ATTN_RUNG_PASS;
}

/* -------------------------------------------------------------------- check */

static int
good_reason(const char *text)
{
    return strlen(text) >= 8 && strchr(text, ':') != NULL;
}

uint32_t
attn_rung_check(attn_climb *c, char *reason, size_t size)
{
    const uint32_t most = c->params->quick ? 300 : 2000;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < most; i++) {
        attn_random rng = {c->seed * 7919u + i};
        attn_ladder_case k = {.id = rng.state | 1ull << 62};
        char text[ATTN_REASON];
        attn_climb_progress(c, i, most);
        if (attn_climb_now() > c->end) {
            c->num_late += most - i;
            break;
        }
        if (!attn_ladder_random(c, &rng, 1, &k.layer))
            continue;
        c->current = k.id;
        if (!attn_eligible(c->registry, c->entry, &k.layer.head, text,
                           sizeof text)) {
            refused++;
            if (good_reason(text))
                continue;
            snprintf(reason, size, "refused a layer with the reason '%s'",
                     text);
            return ATTN_RUNG_FAIL;
        }
        attn_ladder_describe(&k, "accepted");
        attn_ladder_requests(c, &rng, &k, 24);
        if (attn_ladder_case_run(c, &k, reason, size) == ATTN_RUNG_FAIL)
            return ATTN_RUNG_FAIL;
    }
    snprintf(reason, size,
             "%u layers accepted and right, %u refused with "
             "reasons",
             c->num_cases, refused);
    tell_late(c, reason, size);
    return ATTN_RUNG_PASS;
}
