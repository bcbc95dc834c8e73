// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/builder.h"

#include "common/gpu/on_device.h"
#include "common/gpu/types.h"

#include <algorithm>

namespace flash
{

static attn_status
check_step(const attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
           attn_error *err)
{
    if (!b->bound)
        return attn_fail(err, ATTN_E_WORKSPACE, "builder", "no workspace is bound");
    if (batch->num_reqs > b->limits.max_reqs)
        return gpu::failf(err, ATTN_E_ARG, "num_reqs", "%u: the limit is %u", batch->num_reqs,
                          b->limits.max_reqs);
    if (batch->num_tokens > b->limits.max_tokens)
        return gpu::failf(err, ATTN_E_ARG, "num_tokens", "%u: the limit is %u", batch->num_tokens,
                          b->limits.max_tokens);
    if (batch->num_reqs && (!batch->query_start_loc_device || !batch->seq_lens_device))
        return attn_fail(err, ATTN_E_ARG, "batch", "device mirrors are missing");
    if (batch->num_reqs && !group->block_table_device)
        return attn_fail(err, ATTN_E_ARG, "block_table_device", "missing");
    if (batch->causal && !batch->causal_device)
        return attn_fail(err, ATTN_E_ARG, "causal_device", "missing");
    if (group->block_size != b->layer.block_size)
        return gpu::failf(err, ATTN_E_ARG, "block_size", "%u: the layer has %u", group->block_size,
                          b->layer.block_size);
    return ATTN_OK;
}

static attn_status
fill_ranges(Batch &out, const attn_batch *batch, attn_error *err)
{
    const attn_ext *ext = attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES);
    if (!ext)
        return ATTN_OK;
    const attn_ext_prefix_ranges *r = reinterpret_cast<const attn_ext_prefix_ranges *>(ext);
    if (!r->ranges_device)
        return attn_fail(err, ATTN_E_ARG, "ranges_device", "missing");
    out.ranges = static_cast<const int32_t *>(data_of(r->ranges_device));
    out.num_ranges = int32_t(r->max_ranges);
    return ATTN_OK;
}

static attn_status
fill_batch(Batch &out, const attn_batch *batch, const attn_kv_group *group, attn_error *err)
{
    out.num_reqs = int32_t(batch->num_reqs);
    out.num_tokens = int32_t(batch->num_tokens);
    out.cross = (batch->flags & ATTN_BATCH_CROSS) != 0;
    if (group->slot_mapping_device)
        out.slots = static_cast<const int64_t *>(data_of(group->slot_mapping_device));
    if (!batch->num_reqs)
        return ATTN_OK;
    out.query_start = static_cast<const int32_t *>(data_of(batch->query_start_loc_device));
    out.seq_lens = static_cast<const int32_t *>(data_of(batch->seq_lens_device));
    if (batch->causal_device)
        out.causal = static_cast<const uint8_t *>(data_of(batch->causal_device));
    out.table = static_cast<const int32_t *>(data_of(group->block_table_device));
    out.table_stride = group->block_table_device->strides[0];
    return fill_ranges(out, batch, err);
}

/* Which lists can hold items, so that a launch for an empty one can be left out. */
static void
look_at_queries(attn_builder *b, const attn_batch *batch)
{
    const uint32_t group = uint32_t(b->kernel_layer.group);
    const uint32_t decode_len = kDecodeRows / group;
    b->has_prefill = batch->max_query_len > decode_len;
    b->has_decode = decode_len > 0;
    b->one_token_each = batch->max_query_len <= 1;
    if (batch->query_start_loc_state != ATTN_EXACT || !batch->query_start_loc)
        return;
    b->has_decode = b->has_prefill = false;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        const uint32_t q = uint32_t(batch->query_start_loc[r + 1] - batch->query_start_loc[r]);
        b->has_prefill |= q > decode_len;
        b->has_decode |= q > 0 && q <= decode_len;
    }
}

attn_status
build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
      const attn_stream *stream, attn_error *err)
{
    b->built = false;
    attn_status status = check_step(b, batch, group, err);
    Plan plan = {};
    if (!status)
        status = fill_batch(plan.batch, batch, group, err);
    if (status)
        return status;
    look_at_queries(b, batch);
    b->num_tokens = int(batch->num_tokens);
    b->num_blocks = group->num_blocks;
    plan.layer = b->kernel_layer;
    plan.batch_out = b->batch;
    plan.decode = b->decode;
    plan.prefill = b->prefill;
    const gpu::OnDevice here(b->device.device.id);
    status = launch_plan(*stream, plan, err);
    b->built = status == ATTN_OK;
    return status;
}

static bool
aligned(const void *p, int64_t bytes)
{
    return reinterpret_cast<uintptr_t>(p) % uintptr_t(bytes) == 0;
}

static bool
same(attn_dtype a, attn_dtype b)
{
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

static attn_status
check_tensor(const char *name, const attn_tensor *t, attn_dtype dtype, int ndim,
             const int64_t *shape, attn_error *err)
{
    if (!t)
        return attn_fail(err, ATTN_E_ARG, name, "missing");
    if (t->ndim != ndim)
        return gpu::failf(err, ATTN_E_ARG, name, "%d dimensions: needs %d", t->ndim, ndim);
    if (!same(t->dtype, dtype))
        return gpu::failf(err, ATTN_E_ARG, name, "dtype code %u of %u bits: needs code %u of %u",
                          t->dtype.code, t->dtype.bits, dtype.code, dtype.bits);
    for (int i = 0; i < ndim; i++)
        if (shape[i] >= 0 && t->shape[i] < shape[i])
            return gpu::failf(err, ATTN_E_ARG, name, "shape[%d] is %lld: needs %lld", i,
                              static_cast<long long>(t->shape[i]),
                              static_cast<long long>(shape[i]));
    if (shape[ndim - 1] > 1 && t->strides[ndim - 1] != 1)
        return gpu::failf(err, ATTN_E_ARG, name, "inner stride is %lld: needs 1",
                          static_cast<long long>(t->strides[ndim - 1]));
    return ATTN_OK;
}

/* Rows can be read eight elements at a time. */
static bool
vector_rows(const attn_tensor *t, int width)
{
    const int64_t bytes = t->dtype.bits;
    bool good = width % 8 == 0 && aligned(data_of(t), bytes);
    for (int i = 0; i + 1 < t->ndim; i++)
        good &= t->strides[i] % 8 == 0;
    return good;
}

static attn_status
cache_of(const attn_builder *b, const char *name, const attn_tensor *t, int width, Cache &out,
         attn_error *err)
{
    const int64_t shape[4] = {b->num_blocks, b->kernel_layer.block_size,
                              b->kernel_layer.num_kv_heads, width};
    const attn_status status = check_tensor(name, t, b->layer.kv_dtype, 4, shape, err);
    if (!status)
        out = {data_of(t), t->strides[0], t->strides[1], t->strides[2], vector_rows(t, width)};
    return status;
}

static attn_status
scales_of(const attn_builder *b, const char *name, const attn_tensor *t, const float **out,
          attn_error *err)
{
    if (!t)
        return ATTN_OK;
    const int64_t shape[1] = {b->kernel_layer.num_kv_heads};
    const attn_status status = check_tensor(name, t, attn_dtype ATTN_F32, 1, shape, err);
    if (!status)
        *out = static_cast<const float *>(data_of(t));
    return status;
}

static attn_status
check_rows(const attn_builder *b, const char *name, const attn_tensor *t, int heads, int width,
           attn_error *err)
{
    const int64_t shape[3] = {b->num_tokens, heads, width};
    return check_tensor(name, t, b->layer.q_dtype, 3, shape, err);
}

attn_status
update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *a = reinterpret_cast<const attn_flash_update *>(args);
    if (!b->built)
        return attn_fail(err, ATTN_E_ARG, "builder", "no step was built");
    const Layer &l = b->kernel_layer;
    Update p = {};
    attn_status status = check_rows(b, "k", a->k, l.num_kv_heads, l.d, err);
    if (!status)
        status = check_rows(b, "v", a->v, l.num_kv_heads, l.dv, err);
    if (!status)
        status = cache_of(b, "k_cache", a->k_cache, l.d, p.k_cache, err);
    if (!status)
        status = cache_of(b, "v_cache", a->v_cache, l.dv, p.v_cache, err);
    if (!status)
        status = scales_of(b, "k_scale", a->k_scale, &p.k_scale, err);
    if (!status)
        status = scales_of(b, "v_scale", a->v_scale, &p.v_scale, err);
    if (status)
        return status;
    p.layer = l;
    p.batch = b->batch;
    p.k = data_of(a->k);
    p.v = data_of(a->v);
    p.k_token = a->k->strides[0];
    p.k_head = a->k->strides[1];
    p.v_token = a->v->strides[0];
    p.v_head = a->v->strides[1];
    const uint32_t limit = uint32_t(b->device.multiprocessors) * 4;
    const uint32_t blocks = std::min(limit, b->limits.max_tokens);
    const gpu::OnDevice here(b->device.device.id);
    return launch_update(a->stream, blocks, b->instance->bf16, p, err);
}

static attn_status
fill_forward(const attn_builder *b, const attn_flash_forward *a, Forward &p, attn_error *err)
{
    const Layer &l = b->kernel_layer;
    attn_status status = check_rows(b, "q", a->q, l.num_heads, l.d, err);
    if (!status)
        status = check_rows(b, "out", a->out, l.num_heads, l.dv, err);
    if (!status)
        status = cache_of(b, "k_cache", a->k_cache, l.d, p.k, err);
    if (!status)
        status = cache_of(b, "v_cache", a->v_cache, l.dv, p.v, err);
    if (!status)
        status = scales_of(b, "k_scale", a->k_scale, &p.k_scale, err);
    if (!status)
        status = scales_of(b, "v_scale", a->v_scale, &p.v_scale, err);
    if (status || !a->lse)
        return status;
    const int64_t shape[2] = {b->num_tokens, l.num_heads};
    status = check_tensor("lse", a->lse, attn_dtype ATTN_F32, 2, shape, err);
    if (!status) {
        p.lse = static_cast<float *>(const_cast<void *>(data_of(a->lse)));
        p.lse_token = a->lse->strides[0];
        p.lse_head = a->lse->strides[1];
    }
    return status;
}

static void
fill_rows(const attn_builder *b, const attn_flash_forward *a, Forward &p)
{
    p.layer = b->kernel_layer;
    p.batch = b->batch;
    p.q = data_of(a->q);
    p.out = const_cast<void *>(data_of(a->out));
    p.q_token = a->q->strides[0];
    p.q_head = a->q->strides[1];
    p.out_token = a->out->strides[0];
    p.out_head = a->out->strides[1];
    p.early = b->device.hopper;
    p.q_vector = vector_rows(a->q, p.layer.d);
    for (int32_t n : {2, 8})
        if (p.layer.dv % n == 0 && aligned(p.out, 2 * n) && p.out_token % n == 0 &&
            p.out_head % n == 0)
            p.out_vector = n;
    if (a->layer) {
        p.sinks = a->layer->sinks;
        p.slopes = a->layer->slopes;
    }
}

/* Under capture the limits decide what is launched, so that a replay may hold any step. */
static attn_status
choose_launches(const attn_builder *b, const attn_stream &stream, bool *decode, bool *prefill,
                attn_error *err)
{
    *decode = b->has_decode;
    *prefill = b->has_prefill;
    if (!stream.capturing)
        return ATTN_OK;
    const bool tokens_only = b->limits.capture == ATTN_CAPTURE_DECODE;
    if (tokens_only && !b->one_token_each)
        return attn_fail(err, ATTN_E_CAPTURE, "limits.capture",
                         "one token a request is the level asked for: this step has more");
    const uint32_t decode_len = uint32_t(kDecodeRows / b->kernel_layer.group);
    *decode = decode_len > 0;
    *prefill = (tokens_only ? 1 : b->limits.max_query_len) > decode_len;
    return ATTN_OK;
}

/* Bulk copies: rows start at multiples of 16 bytes. */
static bool
bulk_rows(const Cache &c, bool bytes)
{
    if (!c.vector || !bytes)
        return c.vector;
    return aligned(c.data, 16) && ((c.block | c.token | c.head) & 15) == 0;
}

static attn_status
launch_prefill(const attn_builder *b, const attn_flash_forward *a, Forward &p, attn_error *err)
{
    p.list = b->prefill;
    if (b->hopper && p.q_vector && bulk_rows(p.k, b->hopper->bytes) &&
        bulk_rows(p.v, b->hopper->bytes))
        return launch_hopper(b, a, p, err);
    return b->instance->prefill.launch(a->stream, uint32_t(b->prefill.grid), p, err);
}

attn_status
forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_forward *a = reinterpret_cast<const attn_flash_forward *>(args);
    if (!b->built)
        return attn_fail(err, ATTN_E_ARG, "builder", "no step was built");
    bool decode, prefill;
    Forward p = {};
    attn_status status = choose_launches(b, a->stream, &decode, &prefill, err);
    if (!status)
        status = fill_forward(b, a, p, err);
    if (status)
        return status;
    fill_rows(b, a, p);
    const gpu::OnDevice here(b->device.device.id);
    if (prefill)
        status = launch_prefill(b, a, p, err);
    if (decode && !status) {
        p.list = b->decode;
        status = b->decode_kernel->launch(a->stream, uint32_t(b->decode.grid), p, err);
    }
    return status;
}

} // namespace flash
