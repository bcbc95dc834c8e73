/* SPDX-License-Identifier: Apache-2.0 */
#include "flash/cpu/flash.h"

#include <stdio.h>

/* Takes a tensor of this type and these dimensions (-1: any) with a unit inner stride. */
static attn_status
take_view(const attn_tensor *t, const char *name, cpu_type type, int ndim, const int64_t *dims,
          flash_view *view, attn_error *err)
{
    char text[128];
    if (!t)
        return attn_fail(err, ATTN_E_ARG, name, "missing");
    if (t->ndim != ndim || cpu_type_of(t->dtype) != type) {
        snprintf(text, sizeof text, "%d dimensions of dtype code %d, %d bits: not the layer's",
                 t->ndim, t->dtype.code, t->dtype.bits);
        return attn_fail(err, ATTN_E_ARG, name, text);
    }
    for (int i = 0; i < ndim; i++)
        if (dims[i] >= 0 && t->shape[i] != dims[i]) {
            snprintf(text, sizeof text, "dimension %d is %lld, not %lld", i, (long long)t->shape[i],
                     (long long)dims[i]);
            return attn_fail(err, ATTN_E_ARG, name, text);
        }
    if (ndim > 2 && t->shape[ndim - 1] > 1 && t->strides[ndim - 1] != 1)
        return attn_fail(err, ATTN_E_ARG, name, "the inner stride must be 1");
    view->data = (char *)t->data + t->byte_offset;
    for (int i = 0; i < 3; i++)
        view->stride[i] = i < ndim ? t->strides[i] * (int64_t)cpu_type_size(type) : 0;
    return ATTN_OK;
}

static attn_status
take_cache(const attn_builder *b, const attn_tensor *t, const char *name, uint32_t dim,
           flash_view *view, attn_error *err)
{
    const int64_t dims[4] = {-1, b->shape.block_size, b->shape.kv_heads, dim};
    const attn_status status = take_view(t, name, b->shape.kv_type, 4, dims, view, err);
    if (!status && t->shape[0] < (int64_t)b->num_cache_blocks)
        return attn_fail(err, ATTN_E_ARG, name, "has fewer blocks than the group that was built");
    return status;
}

static attn_status
take_scale(const attn_builder *b, const attn_tensor *t, const char *name, flash_view *view,
           attn_error *err)
{
    const int64_t dims[1] = {b->shape.kv_heads};
    view->data = NULL;
    return t ? take_view(t, name, CPU_F32, 1, dims, view, err) : ATTN_OK;
}

static attn_status
not_built(const attn_builder *b, attn_error *err)
{
    return b->built ? ATTN_OK : attn_fail(err, ATTN_E_ARG, "builder", "no step was built");
}

static attn_status
take_forward(attn_builder *b, const attn_flash_forward *f, attn_error *err)
{
    const flash_shape *shape = &b->shape;
    flash_job *job = &b->job;
    const int64_t q[3] = {b->num_tokens, shape->heads, shape->dim};
    const int64_t out[3] = {b->num_tokens, shape->heads, shape->dim_v};
    attn_status status = not_built(b, err);
    if (!status)
        status = take_view(f->q, "args.q", shape->q_type, 3, q, &job->q, err);
    if (!status)
        status = take_cache(b, f->k_cache, "args.k_cache", shape->dim, &job->k, err);
    if (!status)
        status = take_cache(b, f->v_cache, "args.v_cache", shape->dim_v, &job->v, err);
    if (!status)
        status = take_scale(b, f->k_scale, "args.k_scale", &job->k_scale, err);
    if (!status)
        status = take_scale(b, f->v_scale, "args.v_scale", &job->v_scale, err);
    if (!status)
        status = take_view(f->out, "args.out", shape->out_type, 3, out, &job->out, err);
    job->lse.data = NULL;
    if (!status && f->lse)
        status = take_view(f->lse, "args.lse", CPU_F32, 2, out, &job->lse, err);
    job->sinks = f->layer ? f->layer->sinks : NULL;
    job->slopes = f->layer ? f->layer->slopes : NULL;
    return status;
}

static int
reads_in_place(const attn_builder *b, const flash_block *block)
{
    const int wide =
        b->kernel->word_size == 1 && flash_is_wide(&b->shape, b->job.seq_lens[block->req]);
    return !wide && block->count * b->shape.group <= FLASH_DECODE_ROWS;
}

/* The first of each decode_heads tasks of a block does the others' work too. */
static void
run_decode(const attn_builder *b, uint32_t block, uint32_t kv_head, char *scratch)
{
    const uint32_t heads = b->shape.kv_heads, each = b->decode_heads;
    const uint32_t teams = (heads + each - 1) / each;
    const uint32_t after = block * teams + kv_head / each + b->limits.num_threads;
    flash_task task = {.block = &b->sorted[block], .kv_head = kv_head};
    if (kv_head % each)
        return;
    task.count = heads - kv_head < each ? heads - kv_head : each;
    if (after / teams < b->num_blocks && reads_in_place(b, &b->sorted[after / teams])) {
        task.next = &b->sorted[after / teams];
        task.next_head = after % teams * each;
    }
    b->kernel->decode(&b->job, &task, scratch);
}

static void
run_block(void *arg, uint32_t task, uint32_t worker)
{
    const attn_builder *b = arg;
    const uint32_t block = task / b->shape.kv_heads, kv_head = task % b->shape.kv_heads;
    char *scratch = b->scratch + b->layout.bytes * worker;
    if (reads_in_place(b, &b->sorted[block]))
        run_decode(b, block, kv_head, scratch);
    else
        b->kernel->run(&b->job, &b->sorted[block], kv_head, scratch);
}

static void
run_merge(void *arg, uint32_t task, uint32_t worker)
{
    (void)worker;
    const attn_builder *b = arg;
    const uint32_t heads = b->shape.kv_heads;
    b->kernel->merge(&b->job, &b->merges[task / heads], task % heads);
}

attn_status
flash_forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_host *host = flash_host();
    const attn_status status = take_forward(b, (const attn_flash_forward *)args, err);
    if (status)
        return status;
    if (b->num_blocks)
        host->parallel_for(host, b->num_blocks * b->shape.kv_heads, b->limits.num_threads,
                           run_block, b);
    if (b->num_merges)
        host->parallel_for(host, b->num_merges * b->shape.kv_heads, b->limits.num_threads,
                           run_merge, b);
    return ATTN_OK;
}

/* ------------------------------------------------------------ update_cache */

#define UPDATE_TOKENS 16

typedef struct update_job {
    const attn_builder *b;
    flash_view k, v, k_cache, v_cache, k_scale, v_scale;
} update_job;

static float
scale_of(const flash_view *view, uint32_t head)
{
    return view->data ? cpu_get(CPU_F32, view->data + head * view->stride[0], 0) : 1;
}

static void
store_row(const flash_shape *shape, const char *from, char *to, uint32_t dim, float scale)
{
    if (shape->q_type == shape->kv_type) {
        memcpy(to, from, (size_t)dim * cpu_type_size(shape->kv_type));
        return;
    }
    const int fp8 = shape->kv_type == CPU_E4M3 || shape->kv_type == CPU_E5M2;
    for (uint32_t i = 0; i < dim; i++) {
        const float x = cpu_get(shape->q_type, from, i);
        cpu_put(shape->kv_type, to, i, fp8 ? x / scale : x);
    }
}

static void
store_token(const update_job *job, uint32_t token)
{
    const flash_shape *shape = &job->b->shape;
    const int64_t slot = job->b->slot_mapping[token];
    if (slot < 0)
        return;
    const int64_t block = slot / shape->block_size, offset = slot % shape->block_size;
    for (uint32_t h = 0; h < shape->kv_heads; h++) {
        const char *k = job->k.data + token * job->k.stride[0] + h * job->k.stride[1];
        const char *v = job->v.data + token * job->v.stride[0] + h * job->v.stride[1];
        const flash_view *kc = &job->k_cache, *vc = &job->v_cache;
        char *k_to = kc->data + block * kc->stride[0] + offset * kc->stride[1] + h * kc->stride[2];
        char *v_to = vc->data + block * vc->stride[0] + offset * vc->stride[1] + h * vc->stride[2];
        store_row(shape, k, k_to, shape->dim, scale_of(&job->k_scale, h));
        store_row(shape, v, v_to, shape->dim_v, scale_of(&job->v_scale, h));
    }
}

static void
run_update(void *arg, uint32_t task, uint32_t worker)
{
    (void)worker;
    const update_job *job = arg;
    const uint32_t first = task * UPDATE_TOKENS, left = job->b->num_tokens - first;
    for (uint32_t i = 0; i < UPDATE_TOKENS && i < left; i++)
        store_token(job, first + i);
}

attn_status
flash_update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)args;
    const flash_shape *shape = &b->shape;
    const attn_host *host = flash_host();
    update_job job = {.b = b};
    const int64_t k[3] = {b->num_tokens, shape->kv_heads, shape->dim};
    const int64_t v[3] = {b->num_tokens, shape->kv_heads, shape->dim_v};
    attn_status status = not_built(b, err);
    if (!status && !b->slot_mapping)
        status = attn_fail(err, ATTN_E_ARG, "group.slot_mapping", "missing on the host");
    if (!status)
        status = take_view(u->k, "args.k", shape->q_type, 3, k, &job.k, err);
    if (!status)
        status = take_view(u->v, "args.v", shape->q_type, 3, v, &job.v, err);
    if (!status)
        status = take_cache(b, u->k_cache, "args.k_cache", shape->dim, &job.k_cache, err);
    if (!status)
        status = take_cache(b, u->v_cache, "args.v_cache", shape->dim_v, &job.v_cache, err);
    if (!status)
        status = take_scale(b, u->k_scale, "args.k_scale", &job.k_scale, err);
    if (!status)
        status = take_scale(b, u->v_scale, "args.v_scale", &job.v_scale, err);
    if (status || !b->num_tokens)
        return status;
    host->parallel_for(host, (b->num_tokens + UPDATE_TOKENS - 1) / UPDATE_TOKENS,
                       b->limits.num_threads, run_update, &job);
    return ATTN_OK;
}
