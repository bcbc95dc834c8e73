/* SPDX-License-Identifier: Apache-2.0 */
/* Chunk-local layers, two ways that must agree. Both write the cache through
 * the lane's own group; they differ in how the queries are described. */
#include "runner.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CHUNK 16

struct local {
    /* LOCAL_VIRTUAL */
    attn_group *group;
    attn_group_layer *layers[MAX_LAYERS];
    attn_batch_room room;
    void *memory;
    /* LOCAL_MASK: tokens at distance w from their chunk's start, each a
     * request of one token under a window of w. */
    attn_group *masked[MAX_CHUNK];
    attn_group_layer *masked_layers[MAX_CHUNK][MAX_LAYERS];
    struct step one[MAX_CHUNK];
    uint32_t *source[MAX_CHUNK]; /* [T] token of the step */
    uint32_t count[MAX_CHUNK];
    float *q, *out;
};

static attn_status
no_memory(attn_error *err)
{
    return attn_fail(err, ATTN_E_NOMEM, "engine", "out of memory");
}

static attn_status
create_virtual(struct runner *r, attn_error *err)
{
    struct local *l = r->local;
    uint32_t chunk = r->model->shape.chunk;
    attn_batch_size size = {
        .struct_size = sizeof size,
        .num_reqs = attn_local_attention_bound(r->limits.max_reqs,
                                               r->limits.max_tokens, chunk),
        .num_tokens = r->limits.max_tokens,
        .table_cols = chunk / r->limits.block_size[KIND_LOCAL]};
    uint64_t bytes;
    attn_status st = attn_batch_room_bytes(&size, &bytes, err);
    if (st)
        return st;
    if (!(l->memory = aligned_alloc(64, (bytes + 63) / 64 * 64)))
        return no_memory(err);
    l->room.struct_size = sizeof l->room;
    st = attn_batch_room_bind(&size, l->memory, bytes, &l->room, err);
    if (!st)
        st = runner_group(r, &r->lanes[KIND_LOCAL].desc, size.num_reqs,
                          size.table_cols, &l->group, err);
    if (!st)
        st = runner_add_layers(r, KIND_LOCAL, l->group, l->layers, err);
    return st;
}

static attn_status
create_masked(struct runner *r, uint32_t w, attn_error *err)
{
    struct local *l = r->local;
    struct limits limits = r->limits;
    attn_any_layer desc = r->lanes[KIND_LOCAL].desc;
    attn_status st;
    for (int kind = 0; kind < NUM_KINDS; kind++)
        if (kind != KIND_LOCAL)
            limits.num_blocks[kind] = 0;
    limits.max_reqs = limits.max_tokens;
    l->source[w] = calloc(limits.max_tokens, sizeof *l->source[w]);
    if (!l->source[w] || step_init(&l->one[w], &limits))
        return no_memory(err);
    desc.flash.window_left = (int32_t)w;
    st = attn_layer_finish(&desc, err);
    if (!st)
        st =
            runner_group(r, &desc, limits.max_reqs,
                         step_columns(&limits, KIND_LOCAL), &l->masked[w], err);
    if (!st)
        st = runner_add_layers(r, KIND_LOCAL, l->masked[w], l->masked_layers[w],
                               err);
    return st;
}

attn_status
local_create(struct runner *r, attn_error *err)
{
    const struct shape *s = &r->model->shape;
    size_t row = s->heads * s->head_dim;
    attn_status st = ATTN_OK;
    struct local *l = r->local = calloc(1, sizeof *l);
    if (!l)
        return no_memory(err);
    if (r->local_mode == LOCAL_VIRTUAL)
        return create_virtual(r, err);
    l->q = calloc(r->limits.max_tokens, row * sizeof *l->q);
    l->out = calloc(r->limits.max_tokens, row * sizeof *l->out);
    if (!l->q || !l->out)
        return no_memory(err);
    for (uint32_t w = 0; w < s->chunk && !st; w++)
        st = create_masked(r, w, err);
    return st;
}

void
local_destroy(struct runner *r)
{
    struct local *l = r->local;
    if (!l)
        return;
    for (int w = 0; w < MAX_CHUNK; w++) {
        step_destroy(&l->one[w]);
        free(l->source[w]);
    }
    free(l->memory);
    free(l->q);
    free(l->out);
    free(l);
    r->local = NULL;
}

/* ------------------------------------------------------------ once per step */

static void
add_token(struct runner *r, const struct view *view, uint32_t req, uint32_t t)
{
    struct local *l = r->local;
    const attn_kv_group *kv = &view->groups[KIND_LOCAL];
    uint32_t w = (uint32_t)view->positions[t] % r->model->shape.chunk;
    struct step *one = &l->one[w];
    uint32_t row = l->count[w]++;
    uint32_t cols = step_columns(&one->limits, KIND_LOCAL);
    one->query_start_loc[row + 1] = (int32_t)row + 1;
    one->seq_lens[row] = view->batch.seq_lens[req] -
                         view->batch.query_start_loc[req + 1] + (int32_t)t + 1;
    l->source[w][row] = t;
    memcpy(one->groups[KIND_LOCAL].table + (size_t)row * cols,
           kv->block_table + (size_t)req * (size_t)kv->block_table_stride,
           cols * sizeof(int32_t));
}

static attn_status
build_masked(struct runner *r, const struct view *view, attn_error *err)
{
    struct local *l = r->local;
    const attn_batch *b = &view->batch;
    attn_status st = ATTN_OK;
    memset(l->count, 0, sizeof l->count);
    for (uint32_t req = 0; req < b->num_reqs; req++)
        for (int32_t t = b->query_start_loc[req];
             t < b->query_start_loc[req + 1]; t++)
            add_token(r, view, req, (uint32_t)t);
    for (uint32_t w = 0; w < r->model->shape.chunk && !st; w++) {
        struct step *one = &l->one[w];
        if (!l->count[w])
            continue;
        st = step_finish(one, l->count[w], err);
        if (!st)
            st = attn_group_build(l->masked[w], &one->batch,
                                  &one->groups[KIND_LOCAL].kv, NULL, err);
    }
    return st;
}

attn_status
local_build(struct runner *r, const struct view *view, attn_error *err)
{
    struct local *l = r->local;
    attn_batch batch = {.struct_size = sizeof batch};
    attn_kv_group kv = {.struct_size = sizeof kv};
    if (r->local_mode == LOCAL_MASK)
        return build_masked(r, view, err);
    attn_status st =
        attn_local_attention(&view->batch, &view->groups[KIND_LOCAL],
                             r->model->shape.chunk, &l->room, &batch, &kv, err);
    return st ? st : attn_group_build(l->group, &batch, &kv, NULL, err);
}

/* ---------------------------------------------------------- once per layer */

static attn_status
forward_masked(struct runner *r, uint32_t layer, uint32_t w,
               const attn_flash_forward *args, attn_error *err)
{
    const struct shape *s = &r->model->shape;
    struct local *l = r->local;
    size_t row = s->heads * s->head_dim;
    int64_t shape[] = {l->count[w], s->heads, s->head_dim};
    const float *q = args->q->data;
    float *out = args->out->data;
    attn_flash_forward f = *args;
    struct tensor tq, to;
    for (uint32_t i = 0; i < l->count[w]; i++)
        memcpy(l->q + i * row, q + l->source[w][i] * row, row * sizeof *q);
    f.q = tensor_set(&tq, l->q, 3, shape);
    f.out = tensor_set(&to, l->out, 3, shape);
    attn_status st = attn_group_forward(
        l->masked[w], l->masked_layers[w][layer], &f.head, err);
    for (uint32_t i = 0; i < l->count[w]; i++)
        memcpy(out + l->source[w][i] * row, l->out + i * row,
               row * sizeof *out);
    return st;
}

attn_status
local_forward(struct runner *r, uint32_t layer, const attn_flash_forward *args,
              attn_error *err)
{
    struct local *l = r->local;
    attn_status st = ATTN_OK;
    if (r->local_mode == LOCAL_VIRTUAL)
        return attn_group_forward(l->group, l->layers[layer], &args->head, err);
    for (uint32_t w = 0; w < r->model->shape.chunk && !st; w++)
        if (l->count[w])
            st = forward_masked(r, layer, w, args, err);
    return st;
}
