/* SPDX-License-Identifier: Apache-2.0 */
#include "mamba/cpu/mamba.h"

static attn_status
check_step(const attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
           attn_error *err)
{
    char text[96];
    if (!b->workers)
        return attn_fail(err, ATTN_E_WORKSPACE, "builder", "build before bind");
    if (!(group->flags & ATTN_KV_STATE))
        return attn_fail(err, ATTN_E_ARG, "group.flags", "not a state group (ATTN_KV_STATE)");
    if (batch->query_start_loc_state != ATTN_EXACT || batch->seq_lens_state != ATTN_EXACT)
        return attn_fail(err, ATTN_E_UNSUPPORTED, "batch", "host lengths are not exact");
    if (!group->block_table && batch->num_reqs)
        return attn_fail(err, ATTN_E_ARG, "group.block_table", "missing on the host");
    if (batch->num_tokens > b->limits.max_tokens || batch->num_reqs > b->limits.max_reqs) {
        snprintf(text, sizeof text, "%u requests, %u tokens: beyond the limits", batch->num_reqs,
                 batch->num_tokens);
        return attn_fail(err, ATTN_E_ARG, "batch", text);
    }
    return ATTN_OK;
}

static mamba_request
read_request(const attn_builder *b, uint32_t r)
{
    const attn_batch *t = b->batch;
    const attn_ext_state *s = b->state;
    mamba_request q = {.req = r, .first = (uint32_t)t->query_start_loc[r]};
    q.num = (uint32_t)t->query_start_loc[r + 1] - q.first;
    q.context = (int64_t)t->seq_lens[r] - q.num;
    const uint32_t cols = b->group->block_table_cols;
    const int initial = s && s->has_initial_state ? s->has_initial_state[r] != 0 : q.context > 0;
    const int32_t accepted =
        s && s->num_accepted_tokens && cols > 1 ? s->num_accepted_tokens[r] : 1;
    q.slot_in = initial ? mamba_column(b, r, (uint32_t)accepted - 1) : -1;
    q.drafts = cols > 1 && q.num <= cols;
    return q;
}

/* Longest first, since tasks start in order. */
static void
sort_requests(mamba_request *p, uint32_t n)
{
    for (uint32_t gap = n / 2; gap > 0; gap /= 2) {
        for (uint32_t i = gap; i < n; i++) {
            const mamba_request x = p[i];
            uint32_t j = i;
            for (; j >= gap && x.num > p[j - gap].num; j -= gap)
                p[j] = p[j - gap];
            p[j] = x;
        }
    }
}

attn_status
mamba_build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
            const attn_stream *stream, attn_error *err)
{
    (void)stream;
    b->batch = NULL;
    const attn_status status = check_step(b, batch, group, err);
    if (status != ATTN_OK)
        return status;
    b->batch = batch;
    b->group = group;
    b->state = (const attn_ext_state *)(const void *)attn_ext_find(group->ext, ATTN_EXT_STATE);
    b->num_requests = 0;
    uint32_t longest = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        const mamba_request q = read_request(b, r);
        if (!q.num || mamba_column(b, r, 0) < 0)
            continue;
        b->requests[b->num_requests++] = q;
        longest = q.num > longest ? q.num : longest;
    }
    if (longest > 1)
        sort_requests(b->requests, b->num_requests);
    return ATTN_OK;
}

/* rest: the sizes behind rows, which the tensor may exceed. */
static attn_status
check_tensor(const attn_tensor *t, const char *name, cpu_type type, int64_t rows,
             const int64_t *rest, int32_t ndim, attn_error *err)
{
    char text[128];
    if (!t)
        return attn_fail(err, ATTN_E_ARG, name, "missing");
    int ok = t->ndim == ndim && cpu_type_of(t->dtype) == type && t->shape[0] >= rows;
    for (int32_t i = 1; ok && i < ndim; i++)
        ok = t->shape[i] == rest[i - 1];
    if (ok && (t->shape[ndim - 1] <= 1 || t->strides[ndim - 1] == 1))
        return ATTN_OK;
    snprintf(text, sizeof text,
             "wants %d dimensions [%lld, %lld, .., %lld] of %zu-byte floats, inner stride 1", ndim,
             (long long)rows, (long long)rest[0], (long long)rest[ndim - 2], cpu_type_size(type));
    return attn_fail(err, ATTN_E_ARG, name, text);
}

static attn_status
check_common(const mamba_step *s, attn_error *err)
{
    const attn_builder *b = s->b;
    const int64_t t = b->batch->num_tokens, slots = b->group->num_blocks;
    const int64_t conv[] = {b->channels, (int64_t)b->width - 1};
    const int64_t head[] = {b->heads, b->p, b->n}, channel[] = {b->heads, b->n};
    const int32_t nd = b->mamba1 ? 2 : 3;
    attn_status st = check_tensor(s->x, b->mamba1 ? "x" : "xbc", b->x_type, t, conv, 2, err);
    if (st == ATTN_OK)
        st = check_tensor(s->dt, "dt", b->x_type, t, head, 2, err);
    if (st == ATTN_OK && s->z)
        st = check_tensor(s->z, "z", b->x_type, t, head, nd, err);
    if (st == ATTN_OK)
        st = check_tensor(s->conv, "conv_state", b->conv_type, slots, conv, 3, err);
    if (st == ATTN_OK)
        st = check_tensor(s->ssm, "ssm_state", b->ssm_type, slots, b->mamba1 ? channel : head,
                          nd + 1, err);
    if (st == ATTN_OK)
        st = check_tensor(s->out, "out", b->out_type, t, head, nd, err);
    if (st == ATTN_OK && b->mamba1)
        st = check_tensor(s->bb, "b", b->x_type, t, channel + 1, 2, err);
    if (st == ATTN_OK && b->mamba1)
        st = check_tensor(s->cc, "c", b->x_type, t, channel + 1, 2, err);
    return st;
}

static void
run_scan(void *arg, uint32_t task, uint32_t worker)
{
    const mamba_step *s = arg;
    char *scratch = s->b->workers + worker * s->b->scratch_bytes;
    if (s->b->mamba1)
        s->b->kernels->scan1(s, task, scratch);
    else
        s->b->kernels->scan2(s, task, scratch);
}

static void
run_windows(void *arg, uint32_t task, uint32_t worker)
{
    const mamba_step *s = arg;
    s->b->kernels->windows(s, task, s->b->workers + worker * s->b->scratch_bytes);
}

static attn_status
read_args(mamba_step *s, const attn_head *args, attn_error *err)
{
    if (s->b->mamba1) {
        const attn_mamba1_forward *a = (const attn_mamba1_forward *)args;
        if (a->head.struct_size < sizeof *a || !a->layer)
            return attn_fail(err, ATTN_E_ARG, "args", "not an attn_mamba1_forward with a layer");
        s->layer = a->layer;
        s->x = a->x, s->dt = a->dt, s->bb = a->b, s->cc = a->c, s->z = a->z;
        s->conv = a->conv_state, s->ssm = a->ssm_state, s->out = a->out;
        return ATTN_OK;
    }
    const attn_mamba2_forward *a = (const attn_mamba2_forward *)args;
    if (a->head.struct_size < sizeof *a || !a->layer)
        return attn_fail(err, ATTN_E_ARG, "args", "not an attn_mamba2_forward with a layer");
    s->layer = a->layer;
    s->x = a->xbc, s->dt = a->dt, s->z = a->z;
    s->conv = a->conv_state, s->ssm = a->ssm_state, s->out = a->out;
    return ATTN_OK;
}

attn_status
mamba_forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    mamba_step s = {.b = b};
    if (!b->batch)
        return attn_fail(err, ATTN_E_ARG, "builder", "forward before build");
    attn_status status = read_args(&s, args, err);
    if (status == ATTN_OK)
        status = check_common(&s, err);
    if (status != ATTN_OK || !b->num_requests)
        return status;
    const uint32_t blocks = (b->channels + MAMBA_WINDOW_CHANNELS - 1) / MAMBA_WINDOW_CHANNELS;
    mamba_host->parallel_for(mamba_host, b->num_requests * b->num_blocks, b->limits.num_threads,
                             run_scan, &s);
    mamba_host->parallel_for(mamba_host, b->num_requests * blocks, b->limits.num_threads,
                             run_windows, &s);
    return ATTN_OK;
}
