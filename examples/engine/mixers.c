/* SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------- what a layer is */

static const char *const families[NUM_KINDS] = {
    ATTN_FAMILY_FLASH, ATTN_FAMILY_FLASH, ATTN_FAMILY_FLASH, ATTN_FAMILY_MLA,
    ATTN_FAMILY_MAMBA2};

static void
describe_softmax(const struct runner *r, enum kind kind, attn_flash_layer *f)
{
    const struct shape *s = &r->model->shape;
    const attn_dtype f32 = ATTN_F32;
    f->num_heads = s->heads;
    f->num_kv_heads = s->kv_heads;
    f->head_dim = s->head_dim;
    f->block_size = r->limits.block_size[kind];
    f->causal = 1;
    f->q_dtype = f->kv_dtype = f->out_dtype = f32;
    if (kind == KIND_SLIDING) {
        f->window_left = (int32_t)s->window;
        f->head.features |= ATTN_F_SINKS;
    }
}

static void
describe_latent(const struct runner *r, attn_mla_layer *l)
{
    const struct shape *s = &r->model->shape;
    const attn_dtype f32 = ATTN_F32;
    l->num_heads = s->heads;
    l->qk_nope_head_dim = s->nope;
    l->qk_rope_head_dim = s->rope;
    l->v_head_dim = s->v_dim;
    l->kv_lora_rank = s->rank;
    l->block_size = r->limits.block_size[KIND_MLA];
    l->causal = 1;
    l->q_dtype = l->kv_dtype = l->out_dtype = l->weight_dtype = f32;
}

static void
describe_mamba(const struct runner *r, attn_mamba2_layer *l)
{
    const struct shape *s = &r->model->shape;
    const attn_dtype f32 = ATTN_F32;
    l->num_heads = s->heads;
    l->head_dim = s->head_dim;
    l->num_groups = s->groups;
    l->state_dim = s->state;
    l->conv_width = s->conv;
    l->chunk_size = 16;
    l->activation = ATTN_ACTIVATION_SILU;
    l->dt_softplus = 1;
    l->x_dtype = l->conv_state_dtype = l->ssm_state_dtype = l->out_dtype = f32;
    l->head.features |= ATTN_F_GATE;
    if (r->limits.max_drafts)
        l->head.features |= ATTN_F_DRAFTS;
}

attn_status
mixer_describe(const struct runner *r, enum kind kind, attn_any_layer *desc,
               attn_error *err)
{
    attn_layer_init(attn_family_find(families[kind]), desc);
    if (kind == KIND_MLA)
        describe_latent(r, &desc->mla);
    else if (kind == KIND_MAMBA)
        describe_mamba(r, &desc->mamba2);
    else
        describe_softmax(r, kind, &desc->flash);
    return attn_layer_finish(desc, err);
}

attn_status
mixer_build(struct runner *r, const struct view *view, attn_error *err)
{
    attn_status st = ATTN_OK;
    for (int kind = 0; kind < NUM_KINDS && !st; kind++)
        if (r->lanes[kind].group)
            st = attn_group_build(r->lanes[kind].group, &view->batch,
                                  &view->groups[kind], NULL, err);
    if (!st && r->local)
        st = local_build(r, view, err);
    return st;
}

/* ------------------------------------------------------------ projections */

static void
rotate_heads(float *rows, size_t stride, uint32_t heads, uint32_t head_stride,
             uint32_t width, const struct view *view)
{
    for (uint32_t t = 0; t < view->batch.num_tokens; t++)
        for (uint32_t h = 0; h < heads; h++)
            rotate(rows + t * stride + (size_t)h * head_stride, width,
                   view->positions[t]);
}

static attn_status
update(struct runner *r, struct lane *lane, const attn_head *args,
       attn_error *err)
{
    if (r->skip_update && ++r->num_updates % r->skip_update == 0)
        return ATTN_OK;
    return attn_group_update_cache(lane->group, args, err);
}

static attn_status
softmax_layer(struct runner *r, uint32_t layer, const struct view *view,
              attn_error *err)
{
    const struct shape *s = &r->model->shape;
    const struct weights *w = &r->model->layers[layer];
    enum kind kind = s->kinds[layer];
    struct lane *lane = &r->lanes[kind];
    int64_t T = view->batch.num_tokens, D = s->head_dim;
    int64_t kv[] = {T, s->kv_heads, D}, qs[] = {T, s->heads, D};
    int64_t pages[] = {r->limits.num_blocks[kind], r->limits.block_size[kind],
                       s->kv_heads, D};
    struct tensor k, v, kc, vc, q, out;
    size_t wide = s->heads * s->head_dim, narrow = s->kv_heads * s->head_dim;
    double mark = now_seconds();
    linear(r->q, r->h, w->wq, (size_t)T, wide, s->hidden);
    linear(r->k, r->h, w->wk, (size_t)T, narrow, s->hidden);
    linear(r->v, r->h, w->wv, (size_t)T, narrow, s->hidden);
    rotate_heads(r->q, wide, s->heads, s->head_dim, s->head_dim, view);
    rotate_heads(r->k, narrow, s->kv_heads, s->head_dim, s->head_dim, view);
    runner_account(r, TIME_REST, &mark);
    attn_flash_update u = {
        .head = {sizeof u, 0},
        .stream = {.device = {ATTN_DEVICE_CPU, 0}},
        .k = tensor_set(&k, r->k, 3, kv),
        .v = tensor_set(&v, r->v, 3, kv),
        .k_cache = tensor_set(&kc, lane->caches[layer][0], 4, pages),
        .v_cache = tensor_set(&vc, lane->caches[layer][1], 4, pages)};
    attn_status st = update(r, lane, &u.head, err);
    runner_account(r, TIME_UPDATE, &mark);
    if (st)
        return st;
    attn_flash_forward f = {.head = {sizeof f, 0},
                            .stream = u.stream,
                            .q = tensor_set(&q, r->q, 3, qs),
                            .k_cache = u.k_cache,
                            .v_cache = u.v_cache,
                            .out = tensor_set(&out, r->out, 3, qs)};
    st = kind == KIND_LOCAL
             ? local_forward(r, layer, &f, err)
             : attn_group_forward(lane->group, lane->layers[layer], &f.head,
                                  err);
    runner_account(r, TIME_ATTENTION, &mark);
    return st;
}

/* Rows of `from` split at `first` into two dense arrays. */
static void
split_rows(const float *from, size_t rows, size_t width, size_t first, float *a,
           float *b)
{
    for (size_t t = 0; t < rows; t++) {
        memcpy(a + t * first, from + t * width, first * sizeof *a);
        memcpy(b + t * (width - first), from + t * width + first,
               (width - first) * sizeof *b);
    }
}

static attn_status
latent_layer(struct runner *r, uint32_t layer, const struct view *view,
             attn_error *err)
{
    const struct shape *s = &r->model->shape;
    const struct weights *w = &r->model->layers[layer];
    struct lane *lane = &r->lanes[KIND_MLA];
    int64_t T = view->batch.num_tokens, H = s->heads;
    size_t width = s->rank + s->rope, rows = (size_t)T;
    uint32_t dq = s->nope + s->rope;
    struct tensor latent, k_pe, cache, q_nope, q_pe, out;
    double mark = now_seconds();
    linear(r->scratch, r->h, w->wk, rows, width, s->hidden);
    split_rows(r->scratch, rows, width, s->rank, r->k, r->v);
    rotate_heads(r->v, s->rope, 1, s->rope, s->rope, view);
    linear(r->scratch, r->h, w->wq, rows, s->heads * dq, s->hidden);
    rotate_heads(r->scratch + s->nope, s->heads * dq, s->heads, dq, s->rope,
                 view);
    float *pe = r->q + rows * s->heads * s->nope;
    split_rows(r->scratch, rows * s->heads, dq, s->nope, r->q, pe);
    runner_account(r, TIME_REST, &mark);
    attn_mla_update u = {
        .head = {sizeof u, 0},
        .stream = {.device = {ATTN_DEVICE_CPU, 0}},
        .latent = tensor_set(&latent, r->k, 2, (int64_t[]){T, s->rank}),
        .k_pe = tensor_set(&k_pe, r->v, 2, (int64_t[]){T, s->rope}),
        .kv_cache = tensor_set(&cache, lane->caches[layer][0], 3,
                               (int64_t[]){r->limits.num_blocks[KIND_MLA],
                                           r->limits.block_size[KIND_MLA],
                                           (int64_t)width})};
    attn_status st = update(r, lane, &u.head, err);
    runner_account(r, TIME_UPDATE, &mark);
    if (st)
        return st;
    attn_mla_forward f = {
        .head = {sizeof f, 0},
        .stream = u.stream,
        .q_nope = tensor_set(&q_nope, r->q, 3, (int64_t[]){T, H, s->nope}),
        .q_pe = tensor_set(&q_pe, pe, 3, (int64_t[]){T, H, s->rope}),
        .kv_cache = u.kv_cache,
        .out = tensor_set(&out, r->out, 3, (int64_t[]){T, H, s->v_dim})};
    st = attn_group_forward(lane->group, lane->layers[layer], &f.head, err);
    runner_account(r, TIME_ATTENTION, &mark);
    return st;
}

static attn_status
mamba_layer(struct runner *r, uint32_t layer, const struct view *view,
            attn_error *err)
{
    const struct shape *s = &r->model->shape;
    const struct weights *w = &r->model->layers[layer];
    struct lane *lane = &r->lanes[KIND_MAMBA];
    int64_t T = view->batch.num_tokens, H = s->heads, P = s->head_dim;
    int64_t C = shape_channels(s), slots = r->limits.num_blocks[KIND_MAMBA];
    size_t inner = s->heads * s->head_dim, rows = (size_t)T;
    size_t width = shape_q_width(s, KIND_MAMBA);
    struct tensor xbc, dt, z, conv, ssm, out;
    double mark = now_seconds();
    linear(r->scratch, r->h, w->wq, rows, width, s->hidden);
    float *rest = r->scratch + rows * width;
    split_rows(r->scratch, rows, width, inner, r->q, rest);
    split_rows(rest, rows, width - inner, (size_t)C, r->k, r->v);
    runner_account(r, TIME_REST, &mark);
    attn_mamba2_forward f = {
        .head = {sizeof f, 0},
        .stream = {.device = {ATTN_DEVICE_CPU, 0}},
        .xbc = tensor_set(&xbc, r->k, 2, (int64_t[]){T, C}),
        .dt = tensor_set(&dt, r->v, 2, (int64_t[]){T, H}),
        .z = tensor_set(&z, r->q, 3, (int64_t[]){T, H, P}),
        .conv_state = tensor_set(&conv, lane->caches[layer][0], 3,
                                 (int64_t[]){slots, C, s->conv - 1}),
        .ssm_state = tensor_set(&ssm, lane->caches[layer][1], 4,
                                (int64_t[]){slots, H, P, s->state}),
        .out = tensor_set(&out, r->out, 3, (int64_t[]){T, H, P})};
    attn_status st =
        attn_group_forward(lane->group, lane->layers[layer], &f.head, err);
    runner_account(r, TIME_ATTENTION, &mark);
    return st;
}

attn_status
mixer_forward(struct runner *r, uint32_t layer, const struct view *view,
              attn_error *err)
{
    switch (r->model->shape.kinds[layer]) {
    case KIND_MLA:
        return latent_layer(r, layer, view, err);
    case KIND_MAMBA:
        return mamba_layer(r, layer, view, err);
    default:
        return softmax_layer(r, layer, view, err);
    }
}
