/* SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WIDEST 256 /* floats of the widest row of any shape */

double
now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
runner_account(struct runner *r, enum share share, double *mark)
{
    double now = now_seconds();
    r->seconds[share] += now - *mark;
    *mark = now;
}

attn_tensor *
tensor_set(struct tensor *t, const float *data, int ndim, const int64_t *shape)
{
    t->view = (attn_tensor){.data = (void *)(uintptr_t)data,
                            .device = {ATTN_DEVICE_CPU, 0},
                            .ndim = ndim,
                            .dtype = ATTN_F32,
                            .shape = t->shape,
                            .strides = t->strides};
    for (int i = ndim - 1, n = 1; i >= 0; i--) {
        t->shape[i] = shape[i];
        t->strides[i] = n;
        n *= (int)shape[i];
    }
    return &t->view;
}

/* ----------------------------------------------------------------- set-up */

static attn_status
no_memory(attn_error *err)
{
    return attn_fail(err, ATTN_E_NOMEM, "engine", "out of memory");
}

attn_status
runner_group(struct runner *r, const attn_any_layer *desc, uint32_t max_reqs,
             uint32_t max_columns, attn_group **group, attn_error *err)
{
    attn_limits limits = {.struct_size = sizeof limits,
                          .max_reqs = max_reqs,
                          .max_tokens = r->limits.max_tokens,
                          .max_query_len = r->limits.max_tokens,
                          .max_seq_len = r->limits.max_len,
                          .max_blocks_per_req = max_columns,
                          .steps_in_flight = 1};
    attn_group_params params = {.struct_size = sizeof params,
                                .layer_index = ATTN_LAYER_INDEX_NONE,
                                .layer = &desc->head,
                                .limits = &limits};
    return attn_group_create(r->session, &params, group, err);
}

static attn_status
add_layer(struct runner *r, const struct weights *w, enum kind kind,
          attn_group *group, attn_group_layer **layer, attn_error *err)
{
    const struct shape *s = &r->model->shape;
    int64_t H = s->heads, C = shape_channels(s);
    struct tensor t[5];
    if (kind == KIND_MLA) {
        attn_mla_constants c = {
            .head = {sizeof c, 0},
            .w_uk =
                tensor_set(&t[0], w->w_uk, 3, (int64_t[]){H, s->nope, s->rank}),
            .w_uv = tensor_set(&t[1], w->w_uv, 3,
                               (int64_t[]){H, s->v_dim, s->rank})};
        return attn_group_add_layer(group, &c.head, layer, err);
    }
    if (kind == KIND_MAMBA) {
        attn_mamba_constants c = {
            .head = {sizeof c, 0},
            .conv_weight =
                tensor_set(&t[0], w->conv_weight, 2, (int64_t[]){C, s->conv}),
            .conv_bias = tensor_set(&t[1], w->conv_bias, 1, &C),
            .a = tensor_set(&t[2], w->a, 1, &H),
            .d = tensor_set(&t[3], w->d, 1, &H),
            .dt_bias = tensor_set(&t[4], w->dt_bias, 1, &H)};
        return attn_group_add_layer(group, &c.head, layer, err);
    }
    attn_flash_constants c = {.head = {sizeof c, 0}};
    if (w->sinks)
        c.sinks = tensor_set(&t[0], w->sinks, 1, &H);
    return attn_group_add_layer(group, &c.head, layer, err);
}

attn_status
runner_add_layers(struct runner *r, enum kind kind, attn_group *group,
                  attn_group_layer **layers, attn_error *err)
{
    const struct model *m = r->model;
    attn_status st = ATTN_OK;
    for (uint32_t i = 0; i < m->shape.num_layers && !st; i++)
        if (m->shape.kinds[i] == kind)
            st = add_layer(r, &m->layers[i], kind, group, &layers[i], err);
    return st;
}

/* Floats of each cache of one layer. */
static size_t
cache_floats(const struct runner *r, enum kind kind, int which)
{
    const struct shape *s = &r->model->shape;
    size_t blocks = r->limits.num_blocks[kind];
    size_t rows = blocks * r->limits.block_size[kind];
    if (kind == KIND_MLA)
        return which ? 0 : rows * (s->rank + s->rope);
    if (kind == KIND_MAMBA)
        return which ? blocks * s->heads * s->head_dim * s->state
                     : blocks * shape_channels(s) * (s->conv - 1);
    return rows * s->kv_heads * s->head_dim;
}

static attn_status
lane_create(struct runner *r, enum kind kind, attn_error *err)
{
    struct lane *lane = &r->lanes[kind];
    const struct shape *s = &r->model->shape;
    uint32_t columns = step_columns(&r->limits, kind);
    attn_status st = mixer_describe(r, kind, &lane->desc, err);
    if (!st)
        st = runner_group(r, &lane->desc, r->limits.max_reqs, columns,
                          &lane->group, err);
    if (!st)
        st = runner_add_layers(r, kind, lane->group, lane->layers, err);
    for (uint32_t i = 0; i < s->num_layers && !st; i++)
        for (int which = 0; which < 2 && s->kinds[i] == kind; which++) {
            size_t n = cache_floats(r, kind, which);
            float *cache = lane->caches[i][which] = malloc(n * 4 + 4);
            if (!cache)
                return no_memory(err);
            for (size_t j = 0; j < n; j++)
                cache[j] = NAN;
        }
    return st;
}

static attn_status
runner_fill(struct runner *r, attn_error *err)
{
    size_t n = (size_t)r->limits.max_tokens * WIDEST;
    attn_status st = attn_session_create(r->registry, &r->session, err);
    if (st)
        return st;
    float **buffers[] = {&r->x, &r->h, &r->q, &r->k, &r->v, &r->out};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (!(*buffers[i] = calloc(n, sizeof(float))))
            return no_memory(err);
    if (!(r->scratch = calloc(3 * n, sizeof(float))))
        return no_memory(err);
    for (int kind = 0; kind < NUM_KINDS && !st; kind++)
        if (r->limits.num_blocks[kind])
            st = lane_create(r, (enum kind)kind, err);
    if (!st && r->limits.num_blocks[KIND_LOCAL])
        st = local_create(r, err);
    return st;
}

attn_status
runner_create(const struct runner_params *params, struct runner **runner,
              attn_error *err)
{
    struct runner *r = calloc(1, sizeof *r);
    if (!r)
        return no_memory(err);
    r->model = params->model;
    r->registry = params->registry;
    r->limits = params->limits;
    r->local_mode = params->local_mode;
    attn_status st = runner_fill(r, err);
    if (st)
        runner_destroy(r);
    else
        *runner = r;
    return st;
}

void
runner_destroy(struct runner *r)
{
    if (!r)
        return;
    local_destroy(r);
    attn_session_destroy(r->session);
    for (int kind = 0; kind < NUM_KINDS; kind++)
        for (int i = 0; i < MAX_LAYERS; i++) {
            free(r->lanes[kind].caches[i][0]);
            free(r->lanes[kind].caches[i][1]);
        }
    float *buffers[] = {r->x, r->h, r->q, r->k, r->v, r->out, r->scratch};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(r);
}

/* --------------------------------------------------------------- one step */

attn_status
runner_forward(struct runner *r, const struct view *view, float *logits,
               attn_error *err)
{
    const struct model *m = r->model;
    const struct shape *s = &m->shape;
    uint32_t T = view->batch.num_tokens;
    double mark = now_seconds();
    attn_status st = mixer_build(r, view, err);
    runner_account(r, TIME_METADATA, &mark);
    for (uint32_t t = 0; t < T; t++)
        memcpy(r->x + (size_t)t * s->hidden,
               m->embed + (size_t)view->tokens[t] * s->hidden,
               s->hidden * sizeof(float));
    for (uint32_t i = 0; i < s->num_layers && !st; i++) {
        rms_norm(r->h, r->x, m->layers[i].norm1, T, s->hidden);
        runner_account(r, TIME_REST, &mark);
        st = mixer_forward(r, i, view, err);
        mark = now_seconds();
        linear(r->h, r->out, m->layers[i].wo, T, s->hidden,
               shape_out_width(s, s->kinds[i]));
        for (size_t j = 0; j < (size_t)T * s->hidden; j++)
            r->x[j] += 0.5f * r->h[j];
        mlp(m, i, r->x, T, r->scratch);
    }
    rms_norm(r->h, r->x, m->norm, T, s->hidden);
    linear(logits, r->h, m->head, T, s->vocab, s->hidden);
    runner_account(r, TIME_REST, &mark);
    return st;
}
