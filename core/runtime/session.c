/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "runtime/group.h"
#include "select/layer.h"
#include "select/selection.h"

#define DEFAULT_STEPS_IN_FLIGHT 2u

const attn_stream attn_cpu_stream = {.device = {ATTN_DEVICE_CPU, 0}};

attn_status
attn_session_create(attn_registry *registry, attn_session **session,
                    attn_error *err)
{
    attn_session *s = calloc(1, sizeof *s);
    if (!s)
        return attn_error_nomem(err, "session", sizeof *s);
    s->registry = registry;
    attn_status st = attn_recorder_create(&s->recorder, err);
    if (st != ATTN_OK)
        free(s);
    else
        *session = s;
    return st;
}

void
attn_session_destroy(attn_session *session)
{
    if (!session)
        return;
    while (session->groups)
        attn_group_destroy(session->groups);
    attn_recorder_destroy(session->recorder);
    free(session);
}

/* ------------------------------------------------------------ the layer */

static attn_status
copy_layer(attn_group *g, const attn_layer *layer, attn_error *err)
{
    if (!layer || !layer->family || layer->struct_size < sizeof *layer ||
        layer->struct_size > ATTN_STRUCT_SIZE_MAX)
        return attn_error_set(err, ATTN_E_ARG, "params.layer",
                              "layer missing or of a bad size");
    const attn_family *family = attn_family_find(layer->family);
    if (family) {
        g->layer = &g->known.head;
        attn_status s = attn_layer_take(layer, &g->known, &family, err);
        return s == ATTN_OK ? attn_layer_finish(&g->known, err) : s;
    }
    g->layer = malloc(layer->struct_size);
    g->family = strdup(layer->family);
    if (!g->layer || !g->family)
        return attn_error_nomem(err, "group", layer->struct_size);
    memcpy(g->layer, layer, layer->struct_size);
    g->layer->family = g->family;
    return ATTN_OK;
}

static uint32_t
block_size_of(const attn_layer *layer)
{
    if (strcmp(layer->family, ATTN_FAMILY_FLASH) == 0)
        return ((const attn_flash_layer *)layer)->block_size;
    if (strcmp(layer->family, ATTN_FAMILY_MLA) == 0)
        return ((const attn_mla_layer *)layer)->block_size;
    return 0;
}

/* ----------------------------------------------------------- the limits */

static attn_status
need_one(uint32_t value, const char *name, attn_error *err)
{
    if (value)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, name, "%s 0: at least 1", name);
}

static attn_status
copy_limits(attn_group *g, const attn_limits *limits, attn_error *err)
{
    if (!limits || limits->struct_size < ATTN_LIMITS_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "params.limits",
                              "limits missing or smaller than %u bytes",
                              ATTN_LIMITS_SIZE_1_0);
    attn_limits *l = &g->limits;
    attn_take(l, sizeof *l, limits);
    l->struct_size = sizeof *l;
    l->reserved = 0;
    attn_status s = need_one(l->max_reqs, "limits.max_reqs", err);
    if (s == ATTN_OK)
        s = need_one(l->max_tokens, "limits.max_tokens", err);
    if (s == ATTN_OK)
        s = need_one(l->max_query_len, "limits.max_query_len", err);
    if (s == ATTN_OK)
        s = need_one(l->max_seq_len, "limits.max_seq_len", err);
    if (s == ATTN_OK)
        s = need_one(l->max_blocks_per_req, "limits.max_blocks_per_req", err);
    if (s != ATTN_OK)
        return s;
    if (l->capture > ATTN_CAPTURE_ALWAYS)
        return attn_error_set(err, ATTN_E_ARG, "limits.capture",
                              "capture %u: at most %u", l->capture,
                              ATTN_CAPTURE_ALWAYS);
    if (!l->steps_in_flight)
        l->steps_in_flight = DEFAULT_STEPS_IN_FLIGHT;
    uint32_t threads =
        attn_registry_executor(g->session->registry)->num_threads;
    if (!l->num_threads || l->num_threads > threads)
        l->num_threads = threads;
    return ATTN_OK;
}

/* ---------------------------------------------------------- the backends */

static attn_status
no_winner(const attn_group *g, const attn_selection *sel, attn_error *err)
{
    const attn_candidate *c = attn_selection_at(sel, 0);
    if (!c)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "layer", "%s",
                              attn_selection_rule(sel));
    return attn_error_set(
        err, ATTN_E_UNSUPPORTED, "layer",
        "no backend runs this %s layer; %s: %s%s", g->layer->family,
        c->entry->name, c->num_reasons ? c->reasons[0] : "no reason",
        attn_selection_count(sel) > 1 ? " (and more candidates)" : "");
}

static uint32_t
device_of(const attn_group_params *params)
{
    return ATTN_KNOWS(params, attn_group_params, device) ? params->device : 0;
}

/* A backend for a phase and why it is that. */
typedef struct choice {
    const attn_entry *entry;
    int is_auto;
    char rule[256];
} choice;

static attn_status
select_phase(const attn_group *g, const attn_group_params *params,
             uint32_t phase, choice *to, attn_error *err)
{
    attn_selection *sel = NULL;
    const attn_select_params p = {.struct_size = sizeof p,
                                  .phase = phase,
                                  .layer_index = params->layer_index,
                                  .capture = g->limits.capture,
                                  .backend = params->backend,
                                  .max_seq_len = g->limits.max_seq_len,
                                  .device = device_of(params)};
    attn_status s = attn_select(g->session->registry, g->layer, &p, &sel, err);
    if (s == ATTN_OK && !attn_selection_winner(sel))
        s = no_winner(g, sel, err);
    if (s == ATTN_OK) {
        to->entry = attn_selection_winner(sel);
        to->is_auto = attn_selection_is_auto(sel);
        snprintf(to->rule, sizeof to->rule, "%s", attn_selection_rule(sel));
    }
    attn_selection_free(sel);
    return s;
}

static int
same_cache(const attn_cache_spec *a, const attn_cache_spec *b)
{
    return strncmp(a->name, b->name, sizeof a->name) == 0 &&
           memcmp(&a->dtype, &b->dtype, sizeof a->dtype) == 0 &&
           a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, a->ndim * sizeof a->shape[0]) == 0;
}

static int
accepts_block_size(const attn_kv_spec *spec, uint32_t block_size)
{
    const attn_range *r = &spec->block_sizes;
    if (block_size == 0 || r->lo == 0)
        return 1;
    if (r->step == 0)
        return block_size == r->lo;
    return block_size >= r->lo && block_size <= r->hi &&
           (block_size - r->lo) % r->step == 0;
}

static attn_status
check_shared_cache(const attn_group *g, const attn_entry *a,
                   const attn_entry *b, attn_error *err)
{
    attn_kv_spec x = {.struct_size = sizeof x}, y = x;
    if (g->layer != &g->known.head)
        return attn_error_set(err, ATTN_E_CONFIG, "select",
                              "family %s takes one backend for both phases",
                              g->layer->family);
    if (a->device_type != b->device_type || a->device_id != b->device_id)
        return attn_error_set(err, ATTN_E_CONFIG, "select",
                              "%s and %s run on different devices and cannot "
                              "share a cache",
                              a->name, b->name);
    attn_status s = attn_kv_spec_get(a, g->layer, &x, err);
    if (s == ATTN_OK)
        s = attn_kv_spec_get(b, g->layer, &y, err);
    if (s != ATTN_OK)
        return s;
    int same = x.num_caches == y.num_caches;
    for (uint32_t i = 0; same && i < x.num_caches; i++)
        same = same_cache(&x.caches[i], &y.caches[i]);
    uint32_t size = block_size_of(g->layer);
    if (same && accepts_block_size(&x, size) && accepts_block_size(&y, size))
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_CONFIG, "select",
                          "%s and %s lay out the cache differently%s", a->name,
                          b->name, same ? ": block size" : "");
}

/* auto chooses again, one backend for both phases: that with a name, as what
 * runs a layer runs it in every phase. */
static attn_status
choose_again(const attn_group *g, const attn_group_params *params,
             choice *prefill, choice *decode, attn_error *err)
{
    attn_status s = ATTN_OK;
    if (prefill->is_auto && decode->is_auto)
        s = select_phase(g, params, ATTN_PHASE_ANY, prefill, err);
    if (prefill->is_auto && !decode->is_auto)
        *prefill = *decode;
    else
        *decode = *prefill;
    return s;
}

/* What was chosen for each phase serves the group only with one cache. A name
 * is never replaced. */
static attn_status
join_phases(const attn_group *g, const attn_group_params *params,
            choice *prefill, choice *decode, attn_error *err)
{
    attn_error why = ATTN_ERROR_INIT;
    if (prefill->entry == decode->entry)
        return ATTN_OK;
    attn_status s = check_shared_cache(g, decode->entry, prefill->entry, &why);
    if (s == ATTN_E_CONFIG && (prefill->is_auto || decode->is_auto)) {
        attn_log_write(ATTN_LOG_INFO, "select",
                       "%s layers: one backend for both phases: %s",
                       g->layer->family, why.message);
        return choose_again(g, params, prefill, decode, err);
    }
    return s ? attn_error_set(err, s, why.where, "%s", why.message) : ATTN_OK;
}

static attn_status
choose_backends(attn_group *g, const attn_group_params *params, attn_error *err)
{
    choice prefill, decode;
    attn_status s = select_phase(g, params, ATTN_PHASE_PREFILL, &prefill, err);
    if (s == ATTN_OK)
        s = select_phase(g, params, ATTN_PHASE_DECODE, &decode, err);
    if (s == ATTN_OK)
        s = join_phases(g, params, &prefill, &decode, err);
    if (s != ATTN_OK)
        return s;
    g->num_parts = prefill.entry == decode.entry ? 1 : 2;
    g->parts[0].entry = decode.entry;
    g->parts[1].entry = g->num_parts == 2 ? prefill.entry : NULL;
    if (g->num_parts == 1)
        attn_log_write(ATTN_LOG_INFO, "select", "%s layers: %s (%s)",
                       g->layer->family, decode.entry->name, prefill.rule);
    else
        attn_log_write(ATTN_LOG_INFO, "select",
                       "%s layers: prefill %s (%s), decode %s (%s)",
                       g->layer->family, prefill.entry->name, prefill.rule,
                       decode.entry->name, decode.rule);
    return ATTN_OK;
}

/* ---------------------------------------------------------- the builders */

static attn_status
create_builder(attn_group *g, attn_part *part, const attn_limits *limits,
               attn_error *err)
{
    const attn_op *op = part->entry->backend->op;
    attn_workspace need = {.struct_size = sizeof need};
    attn_ctx *ctx;
    attn_status s =
        attn_registry_context(g->session->registry, part->entry, &ctx, err);
    if (s != ATTN_OK)
        return s;
    attn_plugin_error_open(err);
    s = op->builder_create(ctx, part->entry->backend, g->layer, limits,
                           &part->builder, err);
    if (s != ATTN_OK)
        part->builder = NULL;
    if (s == ATTN_OK)
        s = op->workspace(part->builder, &need);
    if (s == ATTN_OK) {
        s = attn_memory_alloc(&g->place, &need, &part->memory, err);
        if (s != ATTN_OK)
            return s;
        attn_plugin_error_open(err);
        s = op->bind(part->builder, &part->memory.binding, err);
    }
    return attn_plugin_error_close(s, part, "set-up", err);
}

static attn_status
create_parts(attn_group *g, attn_error *err)
{
    attn_limits limits = g->limits;
    attn_status s = attn_place_of(g->parts[0].entry, &g->place, err);
    for (uint32_t i = g->num_parts; i-- > 0 && s == ATTN_OK;) {
        if (g->num_parts == 2) {
            limits.max_query_len = i == 0 ? 1 : g->limits.max_query_len;
            s = attn_slice_create(&g->place, limits.max_reqs,
                                  limits.steps_in_flight, &g->parts[i].slice,
                                  err);
        }
        if (s == ATTN_OK)
            s = create_builder(g, &g->parts[i], &limits, err);
    }
    if (s != ATTN_OK || !g->place.service)
        return s;
    return g->place.service->stream_create(g->place.device, &g->setup, err);
}

attn_status
attn_group_create(attn_session *session, const attn_group_params *params,
                  attn_group **group, attn_error *err)
{
    const size_t least = offsetof(attn_group_params, device);
    if (!params || params->struct_size < least)
        return attn_error_set(err, ATTN_E_ARG, "params.struct_size",
                              "params missing or smaller than %zu bytes",
                              least);
    attn_group *g = calloc(1, sizeof *g);
    if (!g)
        return attn_error_nomem(err, "group", sizeof *g);
    g->session = session;
    g->next = session->groups;
    session->groups = g;
    attn_status s = copy_layer(g, params->layer, err);
    if (s == ATTN_OK)
        s = copy_limits(g, params->limits, err);
    if (s == ATTN_OK)
        s = choose_backends(g, params, err);
    if (s == ATTN_OK) {
        attn_blocks_resolve(g->layer, &g->blocks);
        g->extent.device = (attn_device){g->parts[0].entry->device_type,
                                         g->parts[0].entry->device_id};
        g->extent.features = g->layer->features;
        s = create_parts(g, err);
    }
    if (s != ATTN_OK)
        attn_group_destroy(g);
    else
        *group = g;
    return s;
}

static void
unlink_group(attn_group *g)
{
    attn_group **at = &g->session->groups;
    while (*at && *at != g)
        at = &(*at)->next;
    if (*at)
        *at = g->next;
}

static void
free_layers(attn_group *g)
{
    while (g->layers) {
        attn_group_layer *l = g->layers;
        g->layers = l->next;
        attn_memory_free(&l->memory[0]);
        attn_memory_free(&l->memory[1]);
        attn_call_free(l->constants);
        free(l);
    }
}

void
attn_group_destroy(attn_group *group)
{
    if (!group)
        return;
    unlink_group(group);
    for (int i = 0; i < 2; i++) {
        attn_part *p = &group->parts[i];
        if (p->builder)
            p->entry->backend->op->builder_destroy(p->builder);
        attn_memory_free(&p->memory);
        attn_slice_free(&p->slice);
    }
    free_layers(group);
    if (group->setup.handle)
        group->place.service->stream_destroy(&group->setup);
    if (group->layer != &group->known.head)
        free(group->layer);
    free(group->family);
    free(group);
}

const attn_entry *
attn_group_backend(const attn_group *group, uint32_t phase)
{
    if (group->num_parts == 1 || phase == ATTN_PHASE_DECODE)
        return group->parts[0].entry;
    return group->parts[1].entry;
}

/* ------------------------------------------------------------- the layers */

static attn_status
prepare(attn_group *g, attn_part *part, const attn_head *constants,
        attn_memory *memory, attn_prepared **prepared, attn_error *err)
{
    const attn_op *op = part->entry->backend->op;
    attn_workspace need = {.struct_size = sizeof need};
    const attn_stream *stream = g->place.service ? &g->setup : &attn_cpu_stream;
    attn_plugin_error_open(err);
    attn_status s = op->layer_bytes(part->builder, &need);
    if (s == ATTN_OK) {
        s = attn_memory_alloc(&g->place, &need, memory, err);
        if (s != ATTN_OK)
            return s;
        s = op->layer_prepare(part->builder, constants, &memory->binding,
                              stream, prepared, err);
    }
    if (s == ATTN_OK && g->place.service)
        s = g->place.service->stream_synchronize(stream, err);
    return attn_plugin_error_close(s, part, "layer_prepare", err);
}

static attn_status
check_constants(const attn_group *g, const attn_head *constants,
                attn_error *err)
{
    const attn_block *block = &g->blocks.constants;
    for (uint32_t i = 0; !constants && i < block->num_args; i++)
        if (!(block->args[i].flags & ATTN_ARG_OPTIONAL))
            return attn_error_set(err, ATTN_E_ARG, "constants",
                                  "constants NULL: this layer has %s",
                                  block->args[i].name);
    return constants ? attn_block_check(block, constants, &g->extent, err)
                     : ATTN_OK;
}

attn_status
attn_group_add_layer(attn_group *group, const attn_head *constants,
                     attn_group_layer **layer, attn_error *err)
{
    attn_status s = check_constants(group, constants, err);
    if (s != ATTN_OK)
        return s;
    attn_group_layer *l = calloc(1, sizeof *l);
    if (!l)
        return attn_error_nomem(err, "layer", sizeof *l);
    l->group = group;
    l->next = group->layers;
    group->layers = l;
    for (uint32_t i = 0; i < group->num_parts && s == ATTN_OK; i++)
        s = prepare(group, &group->parts[i], constants, &l->memory[i],
                    &l->prepared[i], err);
    if (s == ATTN_OK && group->session->recorder)
        s = attn_record_constants(group, constants, &l->constants, err);
    if (s == ATTN_OK) {
        *layer = l;
        return ATTN_OK;
    }
    group->layers = l->next;
    attn_memory_free(&l->memory[0]);
    attn_memory_free(&l->memory[1]);
    attn_call_free(l->constants);
    free(l);
    return s;
}
