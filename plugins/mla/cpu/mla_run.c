/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"

static attn_status
check_tensor(const attn_tensor *t, const char *name, cpu_type type, const int64_t *shape,
             int32_t ndim, attn_error *err)
{
    char text[160];
    int ok = t != NULL && t->ndim == ndim && cpu_type_of(t->dtype) == type;
    for (int32_t i = 0; ok && i < ndim; i++)
        ok = t->shape[i] == shape[i] || (i == 0 && t->shape[i] >= shape[i]);
    if (ok && (t->shape[ndim - 1] <= 1 || t->strides[ndim - 1] == 1))
        return ATTN_OK;
    if (!t)
        return attn_fail(err, ATTN_E_ARG, name, "missing");
    snprintf(text, sizeof text,
             "wants %d dimensions [%lld, ..., %lld], the layer's type and inner "
             "stride 1",
             ndim, (long long)shape[0], (long long)shape[ndim - 1]);
    return attn_fail(err, ATTN_E_ARG, name, text);
}

/* Only fp8 codes stand for something else than themselves. */
static float
scale_of(const attn_builder *b, const attn_tensor *t)
{
    return t && cpu_type_size(b->kv_type) == 1 ? *(const float *)(const void *)cpu_data(t) : 1.0f;
}

static attn_status
check_scale(const attn_tensor *t, attn_error *err)
{
    const int64_t one[] = {1};
    return t ? check_tensor(t, "kv_scale", CPU_F32, one, 1, err) : ATTN_OK;
}

static attn_status
check_cache(const attn_builder *b, const attn_tensor *cache, const char *name, attn_error *err)
{
    const int64_t shape[] = {b->group->num_blocks, b->group->block_size, b->c + b->dr};
    return check_tensor(cache, name, b->kv_type, shape, 3, err);
}

typedef struct store_job {
    const attn_builder *b;
    const attn_mla_update *args;
    float scale;
} store_job;

#define STORE_TOKENS 64u

static void
store_tokens(void *arg, uint32_t task, uint32_t worker)
{
    (void)worker;
    const store_job *j = arg;
    const attn_builder *b = j->b;
    const attn_tensor *cache = j->args->kv_cache, *lat = j->args->latent, *pe = j->args->k_pe;
    const int64_t q = (int64_t)cpu_type_size(b->q_type), kv = (int64_t)cpu_type_size(b->kv_type);
    const uint32_t end = b->batch->num_tokens - task * STORE_TOKENS < STORE_TOKENS
                             ? b->batch->num_tokens
                             : (task + 1) * STORE_TOKENS;
    for (uint32_t t = task * STORE_TOKENS; t < end; t++) {
        const int64_t slot = b->group->slot_mapping[t], bs = b->group->block_size;
        if (slot < 0)
            continue;
        char *row =
            cpu_data(cache) + (slot / bs * cache->strides[0] + slot % bs * cache->strides[1]) * kv;
        b->kernels->store_row(b, row, cpu_data(lat) + t * lat->strides[0] * q, b->c, j->scale);
        b->kernels->store_row(b, row + b->c * kv, cpu_data(pe) + t * pe->strides[0] * q, b->dr,
                              j->scale);
    }
}

attn_status
mla_update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_mla_update *a = (const attn_mla_update *)args;
    if (!b->batch)
        return attn_fail(err, ATTN_E_ARG, "builder", "update_cache before build");
    if (a->head.struct_size < sizeof *a)
        return attn_fail(err, ATTN_E_ARG, "args", "not an attn_mla_update block");
    if (!b->group->slot_mapping)
        return attn_fail(err, ATTN_E_ARG, "group.slot_mapping", "missing on the host");
    const int64_t lat[] = {b->batch->num_tokens, b->c}, pe[] = {b->batch->num_tokens, b->dr};
    attn_status status = check_tensor(a->latent, "latent", b->q_type, lat, 2, err);
    if (status == ATTN_OK)
        status = check_tensor(a->k_pe, "k_pe", b->q_type, pe, 2, err);
    if (status == ATTN_OK)
        status = check_cache(b, a->kv_cache, "kv_cache", err);
    if (status == ATTN_OK)
        status = check_scale(a->kv_scale, err);
    if (status != ATTN_OK)
        return status;
    store_job job = {b, a, scale_of(b, a->kv_scale)};
    const uint32_t tasks = (b->batch->num_tokens + STORE_TOKENS - 1) / STORE_TOKENS;
    if (tasks)
        mla_opts.host->parallel_for(mla_opts.host, tasks, b->limits.num_threads, store_tokens,
                                    &job);
    return ATTN_OK;
}

static char *
scratch_of(const mla_step *s, uint32_t worker)
{
    return s->b->workers + worker * s->b->scratch_bytes;
}

static void
run_expanded(void *arg, uint32_t task, uint32_t worker)
{
    const mla_step *s = arg;
    s->b->kernels->expanded(s, task, scratch_of(s, worker));
}

static void
run_query(void *arg, uint32_t task, uint32_t worker)
{
    const mla_step *s = arg;
    s->b->kernels->query(s, task, scratch_of(s, worker));
}

static void
run_attend(void *arg, uint32_t task, uint32_t worker)
{
    const mla_step *s = arg;
    s->b->kernels->attend(s, task, scratch_of(s, worker));
}

static void
run_output(void *arg, uint32_t task, uint32_t worker)
{
    const mla_step *s = arg;
    s->b->kernels->output(s, task, scratch_of(s, worker));
}

static void
run_tasks(mla_step *s, uint32_t num, attn_task task)
{
    if (num)
        mla_opts.host->parallel_for(mla_opts.host, num, s->b->limits.num_threads, task, s);
}

static attn_status
check_forward(const attn_builder *b, const attn_mla_forward *a, attn_error *err)
{
    if (!b->batch)
        return attn_fail(err, ATTN_E_ARG, "builder", "forward before build");
    if (a->head.struct_size < sizeof *a || !a->layer)
        return attn_fail(err, ATTN_E_ARG, "layer", "not an attn_mla_forward block with a layer");
    const int64_t t = b->batch->num_tokens, h = b->heads;
    const int64_t nope[] = {t, h, b->dn}, pe[] = {t, h, b->dr}, out[] = {t, h, b->dv};
    const int64_t lse[] = {t, h};
    attn_status status = check_tensor(a->q_nope, "q_nope", b->q_type, nope, 3, err);
    if (status == ATTN_OK)
        status = check_tensor(a->q_pe, "q_pe", b->q_type, pe, 3, err);
    if (status == ATTN_OK)
        status = check_cache(b, a->kv_cache, "kv_cache", err);
    if (status == ATTN_OK)
        status = check_scale(a->kv_scale, err);
    if (status == ATTN_OK)
        status = check_tensor(a->out, "out", b->out_type, out, 3, err);
    if (status == ATTN_OK && a->lse)
        status = check_tensor(a->lse, "lse", CPU_F32, lse, 2, err);
    return status;
}

attn_status
mla_forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_mla_forward *a = (const attn_mla_forward *)args;
    const attn_status status = check_forward(b, a, err);
    if (status != ATTN_OK)
        return status;
    mla_step step = {.b = b, .args = a, .kv_scale = scale_of(b, a->kv_scale)};
    run_tasks(&step, b->num_pieces * b->heads, run_expanded);
    for (uint32_t w = 0; w < b->num_waves; w++) {
        step.wave = &b->waves[w];
        const uint32_t blocks = (step.wave->num_tokens + MLA_BLOCK_TOKENS - 1) / MLA_BLOCK_TOKENS;
        run_tasks(&step, blocks * b->heads, run_query);
        run_tasks(&step, step.wave->num_tasks, run_attend);
        run_tasks(&step, blocks * b->heads, run_output);
    }
    return ATTN_OK;
}
