/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define PAD 8 /* elements behind each outermost row of a padded trial */

/* What a tensor of a call is to a backend. `metadata` stays on the host, with
 * a mirror on a device; `constant` is packed once. */
static const struct part {
    const char *name;
    uint8_t inout, pads, metadata, constant;
} PARTS[] = {
    {"q", 0, 1, 0, 0},
    {"q_nope", 0, 1, 0, 0},
    {"q_pe", 0, 1, 0, 0},
    {"k", 0, 0, 0, 0},
    {"v", 0, 0, 0, 0},
    {"latent", 0, 0, 0, 0},
    {"k_pe", 0, 0, 0, 0},
    {"k_cache", 1, 1, 0, 0},
    {"v_cache", 1, 1, 0, 0},
    {"kv_cache", 1, 1, 0, 0},
    {"k_scale", 0, 0, 0, 0},
    {"v_scale", 0, 0, 0, 0},
    {"kv_scale", 0, 0, 0, 0},
    {"xbc", 0, 0, 0, 0},
    {"x", 0, 0, 0, 0},
    {"dt", 0, 0, 0, 0},
    {"b", 0, 0, 0, 0},
    {"c", 0, 0, 0, 0},
    {"z", 0, 0, 0, 0},
    {"conv_state", 1, 0, 0, 0},
    {"ssm_state", 1, 0, 0, 0},
    {"sinks", 0, 0, 0, 1},
    {"alibi_slopes", 0, 0, 0, 1},
    {"w_uk", 0, 0, 0, 1},
    {"w_uv", 0, 0, 0, 1},
    {"conv_weight", 0, 0, 0, 1},
    {"conv_bias", 0, 0, 0, 1},
    {"a", 0, 0, 0, 1},
    {"d", 0, 0, 0, 1},
    {"dt_bias", 0, 0, 0, 1},
    {"query_start_loc", 0, 0, 1, 0},
    {"seq_lens", 0, 0, 1, 0},
    {"causal", 0, 0, 1, 0},
    {"prefix_ranges", 0, 0, 1, 0},
    {"block_table", 0, 0, 1, 0},
    {"slot_mapping", 0, 0, 1, 0},
    {"state_indices", 0, 0, 1, 0},
    {"has_initial_state", 0, 0, 1, 0},
    {"num_accepted_tokens", 0, 0, 1, 0},
    {"checkpoint_slots", 0, 0, 1, 0},
};

static const attn_dtype I32 = ATTN_I32, FLOAT32 = ATTN_F32;

attn_buffer *
attn_trial_find(const attn_trial *trial, const char *name)
{
    for (uint32_t i = 0; i < trial->num_buffers; i++)
        if (!strcmp(trial->buffers[i]->name, name))
            return trial->buffers[i];
    return NULL;
}

static int
is_recurrent(const attn_trial *t)
{
    return t->kind == ATTN_KIND_MAMBA2 || t->kind == ATTN_KIND_MAMBA1;
}

/* A tensor of the call; seq_lens of a recorded Mamba call are derived, and
 * state_indices always have columns. */
static int
source(const attn_problem *p, const char *name, attn_call_tensor *to)
{
    const attn_call_tensor *t = attn_call_find(p->call, name);
    if (t) {
        *to = *t;
        if (!strcmp(name, "state_indices") && t->ndim == 1) {
            to->ndim = 2;
            to->shape[1] = 1;
        }
        return 1;
    }
    if (strcmp(name, "seq_lens") != 0)
        return 0;
    *to = (attn_call_tensor){.name = "seq_lens",
                             .dtype = I32,
                             .ndim = 1,
                             .shape = {p->num_reqs},
                             .data = (void *)(uintptr_t)p->seq_lens,
                             .bytes = p->num_reqs * sizeof(int32_t)};
    return 1;
}

static uint32_t
role_of(const attn_trial *t, const struct part *part)
{
    if (part->inout && (is_recurrent(t) || t->has_new))
        return ATTN_BUFFER_INOUT;
    return ATTN_BUFFER_IN;
}

static attn_status
add_part(attn_trial *t, const struct part *part, const attn_call_tensor *from,
         attn_error *err)
{
    const uint32_t i = t->num_buffers;
    const int64_t pad =
        part->pads && (t->in.flags & ATTN_TRIAL_PADDED) ? PAD : 0;
    attn_status s =
        attn_buffer_create(part->metadata ? &t->host_place : &t->place,
                           part->name, role_of(t, part), from->dtype,
                           from->ndim, from->shape, pad, &t->buffers[i], err);
    if (s)
        return s;
    if (part->pads && (t->in.flags & ATTN_TRIAL_TURNED))
        attn_buffer_turn(t->buffers[i]);
    t->num_buffers++;
    return part->metadata && t->place.service
               ? attn_buffer_create(&t->place, part->name, ATTN_BUFFER_IN,
                                    from->dtype, from->ndim, from->shape, 0,
                                    &t->mirrors[i], err)
               : ATTN_OK;
}

static attn_status
add_output(attn_trial *t, const char *name, attn_dtype dtype, uint32_t ndim,
           const int64_t *shape, attn_error *err)
{
    const int64_t pad = (t->in.flags & ATTN_TRIAL_PADDED) &&
                                !strcmp(name, "out") && !is_recurrent(t)
                            ? PAD
                            : 0;
    attn_status s =
        attn_buffer_create(&t->place, name, ATTN_BUFFER_OUT, dtype, ndim, shape,
                           pad, &t->buffers[t->num_buffers], err);
    t->num_buffers += s == ATTN_OK;
    return s;
}

static attn_status
add_outputs(attn_trial *t, const attn_problem *p, attn_error *err)
{
    const int64_t tokens = p->num_tokens;
    const attn_flash_layer *f = attn_problem_flash(p);
    const attn_mla_layer *m = attn_problem_mla(p);
    const attn_mamba2_layer *m2 = attn_problem_mamba2(p);
    const attn_mamba1_layer *m1 = attn_problem_mamba1(p);
    attn_status s;
    int64_t heads = 0;
    switch (p->kind) {
    case ATTN_KIND_FLASH:
        heads = f->num_heads;
        s = add_output(t, "out", f->out_dtype, 3,
                       (int64_t[]){tokens, heads, f->head_dim_v}, err);
        break;
    case ATTN_KIND_MLA:
        heads = m->num_heads;
        s = add_output(t, "out", m->out_dtype, 3,
                       (int64_t[]){tokens, heads, m->v_head_dim}, err);
        break;
    case ATTN_KIND_MAMBA2:
        return add_output(t, "out", m2->out_dtype, 3,
                          (int64_t[]){tokens, m2->num_heads, m2->head_dim},
                          err);
    default:
        return add_output(t, "out", m1->out_dtype, 2,
                          (int64_t[]){tokens, m1->num_channels}, err);
    }
    if (!s && (p->layer->features & ATTN_F_LSE))
        s = add_output(t, "lse", FLOAT32, 2, (int64_t[]){tokens, heads}, err);
    return s;
}

static attn_status
add_buffers(attn_trial *t, const attn_problem *p, attn_error *err)
{
    attn_status s = ATTN_OK;
    for (size_t i = 0; !s && i < sizeof PARTS / sizeof *PARTS; i++) {
        attn_call_tensor from;
        if (source(p, PARTS[i].name, &from))
            s = add_part(t, &PARTS[i], &from, err);
    }
    return s ? s : add_outputs(t, p, err);
}

static attn_status
load(attn_trial *t, const attn_problem *p, int with_constants, attn_error *err)
{
    attn_status s = ATTN_OK;
    for (size_t i = 0; !s && i < sizeof PARTS / sizeof *PARTS; i++) {
        attn_call_tensor from;
        if ((PARTS[i].constant && !with_constants) ||
            !source(p, PARTS[i].name, &from))
            continue;
        for (uint32_t k = 0; !s && k < t->num_buffers; k++) {
            if (strcmp(t->buffers[k]->name, PARTS[i].name) != 0)
                continue;
            s = attn_buffer_upload(PARTS[i].metadata ? &t->host_place
                                                     : &t->place,
                                   t->buffers[k], &from, 0xFF, err);
            if (!s && t->mirrors[k])
                s = attn_buffer_upload(&t->place, t->mirrors[k], &from, 0xFF,
                                       err);
        }
    }
    for (uint32_t k = 0; !s && k < t->num_buffers; k++)
        if (t->buffers[k]->role == ATTN_BUFFER_OUT)
            s = attn_buffer_poison(&t->place, t->buffers[k], err);
    attn_trial_metadata(t, p);
    return s;
}

static void
set_limits(attn_trial *t, const attn_problem *p)
{
    const attn_executor *x =
        t->in.registry ? attn_registry_executor(t->in.registry) : NULL;
    const uint32_t paged = p->block_size ? p->cols * p->block_size : 0;
    t->limits = (attn_limits){
        .struct_size = sizeof t->limits,
        .max_reqs = p->num_reqs ? p->num_reqs : 1,
        .max_tokens = p->num_tokens ? p->num_tokens : 1,
        .max_query_len = p->max_query_len ? p->max_query_len : 1,
        .max_seq_len = p->max_seq_len > paged ? p->max_seq_len : paged,
        .max_blocks_per_req = p->cols,
        .num_threads = t->in.num_threads ? t->in.num_threads
                       : x               ? x->num_threads
                                         : 1,
        .steps_in_flight = 2,
        .capture = t->in.capture,
    };
    if (!t->limits.max_seq_len)
        t->limits.max_seq_len = 1;
}

static attn_status
open_place(attn_trial *t, attn_error *err)
{
    const attn_entry *e = t->in.entry;
    t->host_place.device = (attn_device){ATTN_DEVICE_CPU, 0};
    t->host_place.stream.device = t->host_place.device;
    t->place = t->host_place;
    if (e->device_type && e->device_type != ATTN_DEVICE_CPU) {
        t->place.device = (attn_device){e->device_type, e->device_id};
        t->place.service = e->plugin->get_extension(ATTN_DEVICE_SERVICE);
        if (!t->place.service)
            return attn_error_set(err, ATTN_E_INTERNAL, "plugin",
                                  "no service '%s' for a device of type %d",
                                  ATTN_DEVICE_SERVICE, e->device_type);
        t->place.stream.device = t->place.device;
        attn_status s = t->place.service->stream_create(t->place.device,
                                                        &t->place.stream, err);
        if (s)
            return s;
    }
    return t->in.registry
               ? attn_registry_context(t->in.registry, e, &t->ctx, err)
               : e->plugin->open(t->place.device, &t->ctx, err);
}

static attn_status
open(attn_trial *t, const attn_problem *p, attn_error *err)
{
    t->op = t->in.entry->backend->op;
    t->kind = p->kind;
    t->has_new = p->has_new;
    attn_take(&t->layer, sizeof t->layer, p->layer);
    t->layer.head.family = t->in.entry->backend->family;
    set_limits(t, p);
    attn_status s = open_place(t, err);
    if (!s)
        s = t->op->builder_create(t->ctx, t->in.entry->backend, &t->layer.head,
                                  &t->limits, &t->builder, err);
    if (!s)
        s = add_buffers(t, p, err);
    if (!s)
        s = load(t, p, 1, err);
    return s ? s : attn_trial_prepare(t, p->call, err);
}

attn_status
attn_trial_create(const attn_trial_params *params, const attn_call *call,
                  attn_trial **trial, attn_error *err)
{
    attn_problem p;
    attn_status s = attn_problem_read(&p, call, err);
    if (s)
        return s;
    attn_trial *t = calloc(1, sizeof *t);
    if (t)
        t->in = *params;
    s = t ? open(t, &p, err) : attn_error_nomem(err, "trial", sizeof *t);
    attn_problem_clear(&p);
    if (s)
        attn_trial_destroy(t);
    else
        *trial = t;
    return s;
}

void
attn_trial_destroy(attn_trial *t)
{
    if (!t)
        return;
    attn_trial_sync(t, NULL);
    if (t->has_graph)
        t->place.service->graph_destroy(t->graph);
    if (t->builder)
        t->op->builder_destroy(t->builder);
    for (uint32_t i = 0; i < t->num_buffers; i++) {
        attn_buffer_destroy(&t->place, t->buffers[i]);
        attn_buffer_destroy(&t->place, t->mirrors[i]);
    }
    if (t->place.service && t->place.stream.handle)
        t->place.service->stream_destroy(&t->place.stream);
    if (t->ctx && !t->in.registry)
        t->in.entry->plugin->close(t->ctx);
    free(t);
}

attn_status
attn_trial_load(attn_trial *trial, const attn_call *call, attn_error *err)
{
    attn_problem p;
    attn_status s = attn_problem_read(&p, call, err);
    if (s)
        return s;
    s = load(trial, &p, 0, err);
    attn_problem_clear(&p);
    return s;
}

attn_status
attn_trial_build(attn_trial *t, attn_error *err)
{
    return t->op->build(t->builder, &t->batch, &t->group, &t->place.stream,
                        err);
}

attn_status
attn_trial_sync(attn_trial *t, attn_error *err)
{
    return t->place.service && t->place.stream.handle
               ? t->place.service->stream_synchronize(&t->place.stream, err)
               : ATTN_OK;
}

attn_status
attn_trial_capture(attn_trial *t, attn_error *err)
{
    const attn_device_service *d = t->place.service;
    uint64_t graph = 0;
    attn_status s = d->graph_begin(&t->place.stream, err);
    if (s)
        return s;
    s = attn_trial_forward(t, err);
    const attn_status ended =
        d->graph_end(&t->place.stream, &graph, s ? NULL : err);
    t->place.stream.capturing = 0;
    if (!ended && s)
        d->graph_destroy(graph);
    if (s || ended)
        return s ? s : ended;
    t->graph = graph;
    t->has_graph = 1;
    return ATTN_OK;
}

attn_status
attn_trial_replay(attn_trial *t, attn_error *err)
{
    return t->place.service->graph_launch(t->graph, &t->place.stream, err);
}

attn_status
attn_trial_run(attn_trial *t, attn_error *err)
{
    attn_status s = attn_trial_build(t, err);
    if (!s)
        s = attn_trial_update(t, err);
    if (!s)
        s = attn_trial_forward(t, err);
    if (!s)
        s = attn_trial_sync(t, err);
    return s ? s : attn_trial_check(t, err);
}

attn_status
attn_trial_check(attn_trial *t, attn_error *err)
{
    attn_status s = ATTN_OK;
    for (uint32_t i = 0; !s && i < t->num_buffers; i++) {
        s = attn_buffer_check(&t->place, t->buffers[i], err);
        if (!s && t->mirrors[i])
            s = attn_buffer_check(&t->place, t->mirrors[i], err);
    }
    return s;
}

static int
is_result(const attn_trial *t, const attn_buffer *b)
{
    return b->tensor.ndim > 0 &&
           (b->role == ATTN_BUFFER_OUT ||
            (b->role == ATTN_BUFFER_INOUT && (is_recurrent(t) || t->has_new)));
}

attn_status
attn_trial_collect(attn_trial *t, attn_call **result, attn_error *err)
{
    attn_call *made = NULL;
    attn_status s = attn_call_create(&t->layer.head, &made, err);
    for (uint32_t i = 0; !s && i < t->num_buffers; i++) {
        const attn_buffer *b = t->buffers[i];
        attn_call_tensor *to = NULL;
        if (!is_result(t, b))
            continue;
        s = attn_call_add(made, b->name, b->tensor.dtype,
                          (uint32_t)b->tensor.ndim, b->shape, NULL, &to, err);
        if (!s)
            s = attn_buffer_download(&t->place, b, to->data, err);
    }
    if (s)
        attn_call_free(made);
    else
        *result = made;
    return s;
}
