// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/builder.h"

#include "common/gpu/types.h"

#include <algorithm>

namespace flash
{

/* Smallest first: the first that holds a pair is taken. */
#define HOPPER_WIDTHS(X, type) X(type, 64, 64) X(type, 128, 128) X(type, 192, 128) X(type, 256, 256)
#define HOPPER_DECLARE(type, d, dv) extern const HopperInstance hopper_##type##_##d##_##dv[2];
#define HOPPER_ADDRESS(type, d, dv) hopper_##type##_##d##_##dv,

HOPPER_WIDTHS(HOPPER_DECLARE, bf16)
HOPPER_WIDTHS(HOPPER_DECLARE, f16)

static const HopperInstance *const hoppers[] = {HOPPER_WIDTHS(HOPPER_ADDRESS, bf16)
                                                    HOPPER_WIDTHS(HOPPER_ADDRESS, f16)};

static const HopperInstance *
hopper_find(bool bf16, bool bytes, int d, int dv)
{
    for (const HopperInstance *pair : hoppers) {
        const HopperInstance *i = pair + bytes;
        if (i->bf16 == bf16 && i->d >= d && i->dv >= dv)
            return i;
    }
    return nullptr;
}

/* What hopper.h asks for, as far as the layer decides it. */
const HopperInstance *
choose_hopper(const attn_builder *b)
{
    const Layer &l = b->kernel_layer;
    if (!b->device.hopper || options.general_only)
        return nullptr;
    const HopperInstance *i = hopper_find(b->instance->bf16, l.kv_kind != gpu::kKv16, l.d, l.dv);
    if (!i || l.d % 8 || l.dv % 8 || l.group > i->rows || l.block_size % 8)
        return nullptr;
    return i->keys % l.block_size == 0 || l.block_size % i->keys == 0 ? i : nullptr;
}

/* What is recorded in a graph is read at other steps: extents are those of the tensors, whatever
 * this step has of tokens and blocks. */
static uint64_t
extent(const attn_tensor *t)
{
    return uint64_t(t->shape[0]);
}

/* [blocks, block_size, heads, width] in boxes of one slab of a page, or of a tile's keys. */
static gpu::TensorShape
slab_boxes(const attn_builder *b, const Cache &c, uint64_t blocks, int width)
{
    const Layer &l = b->kernel_layer;
    return {c.data,
            4,
            {uint64_t(width), uint64_t(l.num_kv_heads), uint64_t(l.block_size), blocks},
            {2, uint64_t(c.head) * 2, uint64_t(c.token) * 2, uint64_t(c.block) * 2},
            {64, 1, uint32_t(std::min(l.block_size, b->hopper->keys)), 1},
            b->hopper->bf16};
}

/* The same in boxes of all slabs: heads and slabs are one dimension, a page's groups of eight rows
 * another, so that a box has group by group, and in it slab by slab. */
static gpu::TensorShape
page_boxes(const attn_builder *b, const Cache &c, uint64_t blocks, int width)
{
    const Layer &l = b->kernel_layer;
    const uint64_t slabs = uint64_t(width) / 64;
    const uint64_t all = uint64_t(l.num_kv_heads - 1) * uint64_t(c.head) / 64 + slabs;
    return {c.data,
            5,
            {64, 8, all, uint64_t(l.block_size) / 8, blocks},
            {2, uint64_t(c.token) * 2, 128, uint64_t(c.token) * 16, uint64_t(c.block) * 2},
            {64, 8, uint32_t(slabs), uint32_t(std::min(l.block_size, b->hopper->keys)) / 8, 1},
            b->hopper->bf16};
}

/* A cache of bytes in boxes of a page's rows, or of a tile's, as they are; pairs of bytes are what
 * a copy counts. What widens them makes tiles slab by slab. */
static gpu::TensorShape
byte_boxes(const attn_builder *b, const Cache &c, uint64_t blocks, int width, int padded)
{
    const Layer &l = b->kernel_layer;
    return {c.data,
            4,
            {uint64_t(width) / 2, uint64_t(l.num_kv_heads), uint64_t(l.block_size), blocks},
            {2, uint64_t(c.head), uint64_t(c.token), uint64_t(c.block)},
            {uint32_t(padded) / 2, 1, uint32_t(std::min(l.block_size, b->hopper->keys)), 1},
            b->hopper->bf16,
            true};
}

/* padded: the kernel's width; zeros that fill it up come slab by slab. */
static attn_status
cache_map(const attn_builder *b, const Cache &c, uint64_t blocks, int width, int padded,
          HopperMap *map, attn_error *err)
{
    const bool bytes = b->hopper->bytes;
    const bool whole = !bytes && width == padded && c.head >= 64 && c.head % 64 == 0;
    map->head_slabs = whole ? int32_t(c.head / 64) : 0;
    map->group_bytes = whole ? width / 64 * 1024 : 1024;
    map->slab_bytes = whole ? 1024 : b->hopper->keys * 128;
    return gpu::tensor_map(bytes   ? byte_boxes(b, c, blocks, width, padded)
                           : whole ? page_boxes(b, c, blocks, width)
                                   : slab_boxes(b, c, blocks, width),
                           &map->map, err);
}

static attn_status
query_map(const attn_builder *b, const Forward &p, uint64_t tokens, gpu::TensorMap *map,
          attn_error *err)
{
    const Layer &l = b->kernel_layer;
    const gpu::TensorShape shape = {p.q,
                                    3,
                                    {uint64_t(l.d), uint64_t(l.num_heads), tokens},
                                    {2, uint64_t(p.q_head) * 2, uint64_t(p.q_token) * 2},
                                    {64, uint32_t(l.group), uint32_t(b->prefill.rows / l.group)},
                                    b->hopper->bf16};
    return gpu::tensor_map(shape, map, err);
}

attn_status
launch_hopper(const attn_builder *b, const attn_flash_forward *a, const Forward &p, attn_error *err)
{
    HopperForward h = {};
    h.forward = p;
    attn_status status = query_map(b, p, extent(a->q), &h.q, err);
    if (!status)
        status = cache_map(b, p.k, extent(a->k_cache), p.layer.d, b->hopper->d, &h.k, err);
    if (!status)
        status = cache_map(b, p.v, extent(a->v_cache), p.layer.dv, b->hopper->dv, &h.v, err);
    return status ? status : b->hopper->launch(a->stream, uint32_t(b->hopper_grid), h, err);
}

} // namespace flash
