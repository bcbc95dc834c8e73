// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/builder.h"

#include "common/gpu/on_device.h"
#include "common/gpu/types.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace flash
{

Options options;

static constexpr uint64_t kAlign = 256;

static Layer
kernel_layer_of(const attn_flash_layer &l)
{
    const uint32_t bs = l.block_size;
    int shift = -1;
    if (bs && !(bs & (bs - 1)))
        shift = __builtin_ctz(bs);
    const int32_t kind = l.kv_dtype.bits == 16                     ? gpu::kKv16
                         : l.kv_dtype.code == ATTN_CODE_FP8_E4M3FN ? gpu::kKvE4M3
                                                                   : gpu::kKvE5M2;
    return {int32_t(l.num_heads),
            int32_t(l.num_kv_heads),
            int32_t(l.num_heads / l.num_kv_heads),
            int32_t(l.head_dim),
            int32_t(l.head_dim_v),
            int32_t(bs),
            shift,
            int32_t(l.causal),
            l.window_left,
            l.window_right,
            kind,
            l.scale,
            l.softcap};
}

static attn_status
prepare_kernels(attn_builder *b, int *decode, int *prefill, attn_error *err)
{
    int hopper_blocks = 1;
    attn_status status = b->decode_kernel->prepare(decode, err);
    if (!status)
        status = b->instance->prefill.prepare(prefill, err);
    b->hopper = choose_hopper(b);
    if (!status && b->hopper)
        status = b->hopper->prepare(&hopper_blocks, err);
    b->hopper_grid = b->device.multiprocessors * std::max(1, hopper_blocks);
    return status;
}

/* Grids and capacities; line.h says why so many decode items and slots are enough. */
static attn_status
size_lists(attn_builder *b, attn_error *err)
{
    const Instance &i = *b->instance;
    int decode = 1, prefill = 1;
    const attn_status status = prepare_kernels(b, &decode, &prefill, err);
    if (status)
        return status;
    const int sms = b->device.multiprocessors;
    b->decode.rows = b->decode_kernel->rows;
    b->decode.keys = b->decode_kernel->keys;
    b->decode.grid = sms * std::max(1, decode);
    const int group = b->kernel_layer.group;
    b->prefill.rows = b->hopper ? b->hopper->rows / group * group : i.prefill.rows;
    b->prefill.keys = b->hopper ? b->hopper->keys : i.prefill.keys;
    b->prefill.grid = b->hopper ? b->hopper_grid : sms * std::max(1, prefill);
    b->decode.max_slots = options.split_kv ? 2 * b->decode.grid : 0;
    b->prefill.max_slots = options.split_kv ? 2 * b->prefill.grid : 0;
    const uint64_t heads = b->layer.num_kv_heads, rows = uint64_t(b->prefill.rows);
    const uint64_t packed = uint64_t{b->limits.max_tokens} * uint64_t(b->kernel_layer.group);
    const uint64_t tiles = packed / rows + b->limits.max_reqs;
    b->decode_items = uint32_t(uint64_t(b->decode.grid) + b->limits.max_reqs * heads);
    b->prefill_items = uint32_t(tiles * heads + uint64_t(b->prefill.max_slots));
    return ATTN_OK;
}

static attn_status
create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer, const attn_limits *limits,
       attn_builder **builder, attn_error *err)
{
    if (check_layer(self, ctx->device.arch, layer, nullptr))
        return attn_fail(err, ATTN_E_UNSUPPORTED, "layer", "refused by check");
    if (!limits->max_reqs || !limits->max_tokens)
        return attn_fail(err, ATTN_E_ARG, "limits", "max_reqs or max_tokens is 0");
    attn_builder *b = new (std::nothrow) attn_builder();
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    b->device = ctx->device;
    memcpy(&b->layer, layer, sizeof b->layer);
    b->limits = *limits;
    b->kernel_layer = kernel_layer_of(b->layer);
    b->instance = instance_find(b->layer.q_dtype.code == ATTN_CODE_BFLOAT, int(b->layer.head_dim),
                                int(b->layer.head_dim_v));
    const gpu::OnDevice here(b->device.device.id);
    b->decode_kernel = &b->instance->decode_of(b->kernel_layer.kv_kind);
    const attn_status status = size_lists(b, err);
    if (status) {
        delete b;
        return status;
    }
    *builder = b;
    return ATTN_OK;
}

static void
destroy(attn_builder *b)
{
    delete b;
}

/* Hands out pieces of the workspace, or only counts them. */
struct Arena {
    uint8_t *base;
    uint64_t used = 0;
    template <class T> T *take(uint64_t count)
    {
        T *piece = base ? reinterpret_cast<T *>(base + used) : nullptr;
        used += (count * sizeof(T) + kAlign - 1) / kAlign * kAlign;
        return piece;
    }
};

static void
lay_list(Arena &a, List &l, uint64_t items, int dv)
{
    const uint64_t slots = uint64_t(l.max_slots), rows = uint64_t(l.rows);
    l.items = a.take<Item>(items);
    l.head = a.take<int32_t>(4);
    l.arrived = a.take<int32_t>(slots);
    l.partial_ml = a.take<float>(slots * rows * 2);
    l.partial = a.take<float>(slots * rows * uint64_t(dv));
}

static uint64_t
lay_out(attn_builder *b, void *device)
{
    Arena a = {static_cast<uint8_t *>(device)};
    b->batch = a.take<Batch>(1);
    lay_list(a, b->decode, b->decode_items, b->instance->dv);
    lay_list(a, b->prefill, b->prefill_items, b->instance->dv);
    return a.used;
}

static attn_status
workspace(const attn_builder *builder, attn_workspace *need)
{
    attn_builder counted = *builder;
    need->host_bytes = need->pinned_bytes = 0;
    need->host_align = need->pinned_align = 1;
    need->device_bytes = lay_out(&counted, nullptr);
    need->device_align = kAlign;
    return ATTN_OK;
}

static attn_status
bind(attn_builder *b, const attn_binding *memory, attn_error *err)
{
    if (!memory->device || reinterpret_cast<uintptr_t>(memory->device) % kAlign)
        return gpu::failf(err, ATTN_E_WORKSPACE, "device", "%p: not memory aligned to %u",
                          memory->device, unsigned(kAlign));
    lay_out(b, memory->device);
    b->bound = true;
    return ATTN_OK;
}

static attn_status
layer_bytes(const attn_builder *b, attn_workspace *need)
{
    need->host_bytes = sizeof(attn_prepared);
    need->host_align = alignof(attn_prepared);
    need->pinned_bytes = 0;
    need->pinned_align = 1;
    need->device_bytes = uint64_t{2} * b->layer.num_heads * sizeof(float);
    need->device_align = kAlign;
    return ATTN_OK;
}

static attn_status
prepare_constants(attn_builder *b, const attn_flash_constants *c, float *device,
                  const attn_stream *stream, attn_prepared *out, attn_error *err)
{
    Constants k = {};
    k.num_heads = int32_t(b->layer.num_heads);
    k.sinks_out = device;
    k.slopes_out = device + k.num_heads;
    if (c->sinks) {
        k.sinks = data_of(c->sinks);
        k.sinks_stride = c->sinks->strides[0];
        k.sinks_type = c->sinks->dtype.bits == 32                 ? 0
                       : c->sinks->dtype.code == ATTN_CODE_BFLOAT ? 1
                                                                  : 2;
        out->sinks = k.sinks_out;
    }
    if (c->alibi_slopes) {
        k.slopes = static_cast<const float *>(data_of(c->alibi_slopes));
        k.slopes_stride = c->alibi_slopes->strides[0];
        out->slopes = k.slopes_out;
    }
    return c->sinks || c->alibi_slopes ? launch_constants(*stream, k, err) : ATTN_OK;
}

static attn_status
layer_prepare(attn_builder *b, const attn_head *constants, const attn_binding *memory,
              const attn_stream *stream, attn_prepared **layer, attn_error *err)
{
    if (!memory->host || !memory->device)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory", "host or device memory is missing");
    attn_prepared *p = new (memory->host) attn_prepared();
    attn_status status = ATTN_OK;
    const gpu::OnDevice here(b->device.device.id);
    if (constants)
        status = prepare_constants(b, reinterpret_cast<const attn_flash_constants *>(constants),
                                   static_cast<float *>(memory->device), stream, p, err);
    if (!status)
        *layer = p;
    return status;
}

const attn_op op = {
    sizeof(attn_op), 0,     check_layer,  nullptr, create,  workspace, bind, layer_bytes,
    layer_prepare,   build, update_cache, forward, destroy,
};

} // namespace flash
