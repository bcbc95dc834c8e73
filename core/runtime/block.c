/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/block.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

/* Sizes that a shape may name: a field of the layer by its offset, or one
 * that is computed. */
#define DIM(t, f) ((uint32_t)offsetof(t, f))
#define DIM_ROWS 0x1000u /* tokens or slots */
#define DIM_ONE 0x1001u
#define DIM_LATENT 0x1002u   /* MLA: kv_lora_rank + qk_rope_head_dim */
#define DIM_CHANNELS 0x1003u /* Mamba-2: H P + 2 G N */
#define DIM_HISTORY 0x1004u  /* Mamba-2: conv_width - 1 */
#define DIM_HISTORY1 0x1005u /* the same of Mamba-1 */

#define TYPE(t, f) ((uint32_t)offsetof(t, f))
#define TYPE_F32 0x1000u
#define TYPE_ANY 0x1001u

#define OPTIONAL ATTN_ARG_OPTIONAL
#define TOKENS ATTN_ARG_TOKENS
#define SLOTS ATTN_ARG_SLOTS
#define OUTPUT ATTN_ARG_OUTPUT

struct row {
    const char *name;
    uint32_t offset;
    uint32_t flags;
    uint64_t feature;
    uint32_t type;
    uint32_t ndim;
    uint32_t dims[4];
};

#define ROW(t, f, flags, feature, type, ndim, ...)                \
    {                                                             \
#f, (uint32_t)offsetof(t, f), flags, feature, type, ndim, \
        {                                                         \
            __VA_ARGS__                                           \
        }                                                         \
    }
#define NUM_ROWS(a) (sizeof(a) / sizeof *(a))

/* clang-format off */
#define L attn_flash_layer
#define H DIM(L, num_heads)
#define HKV DIM(L, num_kv_heads)
#define D DIM(L, head_dim)
#define DV DIM(L, head_dim_v)
#define BS DIM(L, block_size)
#define Q TYPE(L, q_dtype)
#define KV TYPE(L, kv_dtype)
#define OUT TYPE(L, out_dtype)
#define F attn_flash_forward
static const struct row flash_forward[] = {
    ROW(F, q, TOKENS, 0, Q, 3, DIM_ROWS, H, D),
    ROW(F, k_cache, SLOTS, 0, KV, 4, DIM_ROWS, BS, HKV, D),
    ROW(F, v_cache, SLOTS, 0, KV, 4, DIM_ROWS, BS, HKV, DV),
    ROW(F, k_scale, OPTIONAL, ATTN_F_KV_SCALES, TYPE_F32, 1, HKV),
    ROW(F, v_scale, OPTIONAL, ATTN_F_KV_SCALES, TYPE_F32, 1, HKV),
    ROW(F, out, TOKENS | OUTPUT, 0, OUT, 3, DIM_ROWS, H, DV),
    ROW(F, lse, TOKENS | OUTPUT | OPTIONAL, ATTN_F_LSE, TYPE_F32, 2,
        DIM_ROWS, H),
};
#undef F
#define F attn_flash_update
static const struct row flash_update[] = {
    ROW(F, k, TOKENS, 0, Q, 3, DIM_ROWS, HKV, D),
    ROW(F, v, TOKENS, 0, Q, 3, DIM_ROWS, HKV, DV),
    ROW(F, k_cache, SLOTS | OUTPUT, 0, KV, 4, DIM_ROWS, BS, HKV, D),
    ROW(F, v_cache, SLOTS | OUTPUT, 0, KV, 4, DIM_ROWS, BS, HKV, DV),
    ROW(F, k_scale, OPTIONAL, ATTN_F_KV_SCALES, TYPE_F32, 1, HKV),
    ROW(F, v_scale, OPTIONAL, ATTN_F_KV_SCALES, TYPE_F32, 1, HKV),
};
#undef F
#define F attn_flash_constants
static const struct row flash_constants[] = {
    ROW(F, sinks, 0, ATTN_F_SINKS, TYPE_ANY, 1, H),
    ROW(F, alibi_slopes, 0, ATTN_F_ALIBI, TYPE_F32, 1, H),
};
#undef F
#undef L
#undef H
#undef BS
#undef Q
#undef KV
#undef OUT

#define L attn_mla_layer
#define H DIM(L, num_heads)
#define DN DIM(L, qk_nope_head_dim)
#define DR DIM(L, qk_rope_head_dim)
#define VD DIM(L, v_head_dim)
#define C DIM(L, kv_lora_rank)
#define BS DIM(L, block_size)
#define Q TYPE(L, q_dtype)
#define KV TYPE(L, kv_dtype)
#define OUT TYPE(L, out_dtype)
#define W TYPE(L, weight_dtype)
#define F attn_mla_forward
static const struct row mla_forward[] = {
    ROW(F, q_nope, TOKENS, 0, Q, 3, DIM_ROWS, H, DN),
    ROW(F, q_pe, TOKENS, 0, Q, 3, DIM_ROWS, H, DR),
    ROW(F, kv_cache, SLOTS, 0, KV, 3, DIM_ROWS, BS, DIM_LATENT),
    ROW(F, kv_scale, OPTIONAL, ATTN_F_KV_SCALES, TYPE_F32, 1, DIM_ONE),
    ROW(F, out, TOKENS | OUTPUT, 0, OUT, 3, DIM_ROWS, H, VD),
    ROW(F, lse, TOKENS | OUTPUT | OPTIONAL, ATTN_F_LSE, TYPE_F32, 2,
        DIM_ROWS, H),
};
#undef F
#define F attn_mla_update
static const struct row mla_update[] = {
    ROW(F, latent, TOKENS, 0, Q, 2, DIM_ROWS, C),
    ROW(F, k_pe, TOKENS, 0, Q, 2, DIM_ROWS, DR),
    ROW(F, kv_cache, SLOTS | OUTPUT, 0, KV, 3, DIM_ROWS, BS, DIM_LATENT),
    ROW(F, kv_scale, OPTIONAL, ATTN_F_KV_SCALES, TYPE_F32, 1, DIM_ONE),
};
#undef F
#define F attn_mla_constants
static const struct row mla_constants[] = {
    ROW(F, w_uk, 0, 0, W, 3, H, DN, C),
    ROW(F, w_uv, 0, 0, W, 3, H, VD, C),
};
#undef F
#undef L
#undef H
#undef D
#undef C
#undef Q
#undef OUT
#undef BS

#define L attn_mamba2_layer
#define H DIM(L, num_heads)
#define P DIM(L, head_dim)
#define N DIM(L, state_dim)
#define X TYPE(L, x_dtype)
#define CONV TYPE(L, conv_state_dtype)
#define SSM TYPE(L, ssm_state_dtype)
#define OUT TYPE(L, out_dtype)
#define F attn_mamba2_forward
static const struct row mamba2_forward[] = {
    ROW(F, xbc, TOKENS, 0, X, 2, DIM_ROWS, DIM_CHANNELS),
    ROW(F, dt, TOKENS, 0, X, 2, DIM_ROWS, H),
    ROW(F, z, TOKENS | OPTIONAL, ATTN_F_GATE, X, 3, DIM_ROWS, H, P),
    ROW(F, conv_state, SLOTS | OUTPUT, 0, CONV, 3, DIM_ROWS, DIM_CHANNELS,
        DIM_HISTORY),
    ROW(F, ssm_state, SLOTS | OUTPUT, 0, SSM, 4, DIM_ROWS, H, P, N),
    ROW(F, out, TOKENS | OUTPUT, 0, OUT, 3, DIM_ROWS, H, P),
};
#undef F
#define F attn_mamba_constants
static const struct row mamba2_constants[] = {
    ROW(F, conv_weight, 0, 0, X, 2, DIM_CHANNELS, DIM(L, conv_width)),
    ROW(F, conv_bias, OPTIONAL, 0, X, 1, DIM_CHANNELS),
    ROW(F, a, 0, 0, TYPE_F32, 1, H),
    ROW(F, d, OPTIONAL, 0, TYPE_F32, 1, H),
    ROW(F, dt_bias, OPTIONAL, 0, TYPE_F32, 1, H),
};
#undef F
#undef L
#undef N
#undef X
#undef CONV
#undef SSM
#undef OUT

#define L attn_mamba1_layer
#define C DIM(L, num_channels)
#define N DIM(L, state_dim)
#define X TYPE(L, x_dtype)
#define CONV TYPE(L, conv_state_dtype)
#define SSM TYPE(L, ssm_state_dtype)
#define OUT TYPE(L, out_dtype)
#define F attn_mamba1_forward
static const struct row mamba1_forward[] = {
    ROW(F, x, TOKENS, 0, X, 2, DIM_ROWS, C),
    ROW(F, dt, TOKENS, 0, X, 2, DIM_ROWS, C),
    ROW(F, b, TOKENS, 0, X, 2, DIM_ROWS, N),
    ROW(F, c, TOKENS, 0, X, 2, DIM_ROWS, N),
    ROW(F, z, TOKENS | OPTIONAL, ATTN_F_GATE, X, 2, DIM_ROWS, C),
    ROW(F, conv_state, SLOTS | OUTPUT, 0, CONV, 3, DIM_ROWS, C,
        DIM_HISTORY1),
    ROW(F, ssm_state, SLOTS | OUTPUT, 0, SSM, 3, DIM_ROWS, C, N),
    ROW(F, out, TOKENS | OUTPUT, 0, OUT, 2, DIM_ROWS, C),
};
#undef F
#define F attn_mamba_constants
static const struct row mamba1_constants[] = {
    ROW(F, conv_weight, 0, 0, X, 2, C, DIM(L, conv_width)),
    ROW(F, conv_bias, OPTIONAL, 0, X, 1, C),
    ROW(F, a, 0, 0, TYPE_F32, 2, C, N),
    ROW(F, d, OPTIONAL, 0, TYPE_F32, 1, C),
    ROW(F, dt_bias, OPTIONAL, 0, TYPE_F32, 1, C),
};
#undef F
/* clang-format on */

struct table {
    uint32_t size, least, layer_offset;
    const struct row *rows;
    size_t num_rows;
};

#define TABLE(t, least, rows, layer)                  \
    {                                                 \
        sizeof(t), least, layer, rows, NUM_ROWS(rows) \
    }
#define NO_TABLE         \
    {                    \
        0, 0, 0, NULL, 0 \
    }

static const struct family_tables {
    const char *family;
    struct table forward, update, constants;
} tables[] = {
    {ATTN_FAMILY_FLASH,
     TABLE(attn_flash_forward, ATTN_FLASH_FORWARD_SIZE_1_0, flash_forward,
           offsetof(attn_flash_forward, layer)),
     TABLE(attn_flash_update, ATTN_FLASH_UPDATE_SIZE_1_0, flash_update, 0),
     TABLE(attn_flash_constants, ATTN_FLASH_CONSTANTS_SIZE_1_0, flash_constants,
           0)},
    {ATTN_FAMILY_MLA,
     TABLE(attn_mla_forward, ATTN_MLA_FORWARD_SIZE_1_0, mla_forward,
           offsetof(attn_mla_forward, layer)),
     TABLE(attn_mla_update, ATTN_MLA_UPDATE_SIZE_1_0, mla_update, 0),
     TABLE(attn_mla_constants, ATTN_MLA_CONSTANTS_SIZE_1_0, mla_constants, 0)},
    {ATTN_FAMILY_MAMBA2,
     TABLE(attn_mamba2_forward, ATTN_MAMBA2_FORWARD_SIZE_1_0, mamba2_forward,
           offsetof(attn_mamba2_forward, layer)),
     NO_TABLE,
     TABLE(attn_mamba_constants, ATTN_MAMBA_CONSTANTS_SIZE_1_0,
           mamba2_constants, 0)},
    {ATTN_FAMILY_MAMBA1,
     TABLE(attn_mamba1_forward, ATTN_MAMBA1_FORWARD_SIZE_1_0, mamba1_forward,
           offsetof(attn_mamba1_forward, layer)),
     NO_TABLE,
     TABLE(attn_mamba_constants, ATTN_MAMBA_CONSTANTS_SIZE_1_0,
           mamba1_constants, 0)},
};

static uint32_t
u32_at(const attn_layer *layer, uint32_t offset)
{
    uint32_t v;
    memcpy(&v, (const char *)layer + offset, sizeof v);
    return v;
}

static int64_t
dim_size(const attn_layer *layer, uint32_t dim)
{
    const attn_mla_layer *mla = (const attn_mla_layer *)layer;
    const attn_mamba2_layer *m2 = (const attn_mamba2_layer *)layer;
    const attn_mamba1_layer *m1 = (const attn_mamba1_layer *)layer;
    switch (dim) {
    case DIM_ROWS:
        return 0;
    case DIM_ONE:
        return 1;
    case DIM_LATENT:
        return (int64_t)mla->kv_lora_rank + mla->qk_rope_head_dim;
    case DIM_CHANNELS:
        return (int64_t)m2->num_heads * m2->head_dim +
               2 * (int64_t)m2->num_groups * m2->state_dim;
    case DIM_HISTORY:
        return (int64_t)m2->conv_width - 1;
    case DIM_HISTORY1:
        return (int64_t)m1->conv_width - 1;
    default:
        return u32_at(layer, dim);
    }
}

static void
resolve_row(const attn_layer *layer, const struct row *row, attn_arg *arg)
{
    *arg = (attn_arg){.name = row->name,
                      .offset = row->offset,
                      .flags = row->flags,
                      .feature = row->feature,
                      .ndim = row->ndim,
                      .dtype = ATTN_F32};
    if (row->type == TYPE_ANY)
        arg->flags |= ATTN_ARG_ANY_DTYPE;
    else if (row->type != TYPE_F32)
        memcpy(&arg->dtype, (const char *)layer + row->type, sizeof arg->dtype);
    for (uint32_t i = 0; i < row->ndim; i++)
        arg->shape[i] = dim_size(layer, row->dims[i]);
}

/* Constants that a feature stands for are required with it, absent without. */
static void
resolve(const attn_layer *layer, const struct table *table, attn_block *block)
{
    block->size = table->size;
    block->least = table->least;
    block->layer_offset = table->layer_offset;
    for (size_t i = 0; i < table->num_rows; i++) {
        attn_arg *arg = &block->args[block->num_args++];
        resolve_row(layer, &table->rows[i], arg);
        if (arg->feature && !(layer->features & arg->feature))
            arg->flags |= ATTN_ARG_OPTIONAL;
    }
}

void
attn_blocks_resolve(const attn_layer *layer, attn_blocks *blocks)
{
    memset(blocks, 0, sizeof *blocks);
    blocks->forward.layer_offset = offsetof(attn_flash_forward, layer);
    for (size_t i = 0; i < NUM_ROWS(tables); i++)
        if (strcmp(tables[i].family, layer->family) == 0) {
            resolve(layer, &tables[i].forward, &blocks->forward);
            resolve(layer, &tables[i].update, &blocks->update);
            resolve(layer, &tables[i].constants, &blocks->constants);
        }
}

static attn_status
bad_shape(const attn_arg *arg, const attn_tensor *t, int dim, int64_t want,
          attn_error *err)
{
    return attn_error_set(
        err, ATTN_E_ARG, arg->name,
        "%s: dimension %d is %" PRId64 ", must be %s%" PRId64, arg->name, dim,
        t->shape[dim],
        dim == 0 && (arg->flags & ATTN_ARG_SLOTS) ? "at least " : "", want);
}

static attn_status
check_shape(const attn_arg *arg, const attn_tensor *t,
            const attn_extent *extent, attn_error *err)
{
    uint32_t first = (arg->flags & (ATTN_ARG_TOKENS | ATTN_ARG_SLOTS)) != 0;
    for (uint32_t i = first; i < arg->ndim; i++)
        if (t->shape[i] != arg->shape[i])
            return bad_shape(arg, t, (int)i, arg->shape[i], err);
    if ((arg->flags & ATTN_ARG_TOKENS) && t->shape[0] != extent->num_tokens)
        return bad_shape(arg, t, 0, extent->num_tokens, err);
    if ((arg->flags & ATTN_ARG_SLOTS) && t->shape[0] < extent->num_slots)
        return bad_shape(arg, t, 0, extent->num_slots, err);
    uint32_t last = arg->ndim - 1;
    if (t->shape[last] > 1 && t->strides[last] != 1)
        return attn_error_set(err, ATTN_E_ARG, arg->name,
                              "%s: inner stride %" PRId64 ", must be 1",
                              arg->name, t->strides[last]);
    return ATTN_OK;
}

static int
on_device(const attn_tensor *t, attn_device device)
{
    if (device.type == ATTN_DEVICE_CPU)
        return t->device.type == device.type ||
               t->device.type == 3 /* pinned */;
    return t->device.type == device.type && t->device.id == device.id;
}

static attn_status
check_tensor(const attn_arg *arg, const attn_tensor *t,
             const attn_extent *extent, attn_error *err)
{
    if ((uint32_t)t->ndim != arg->ndim)
        return attn_error_set(err, ATTN_E_ARG, arg->name,
                              "%s: %d dimensions, must be %u", arg->name,
                              t->ndim, arg->ndim);
    if (!(arg->flags & ATTN_ARG_ANY_DTYPE) &&
        memcmp(&t->dtype, &arg->dtype, sizeof t->dtype) != 0)
        return attn_error_set(
            err, ATTN_E_ARG, arg->name, "%s: type %s, must be %s", arg->name,
            attn_dtype_str(t->dtype), attn_dtype_str(arg->dtype));
    if (!on_device(t, extent->device))
        return attn_error_set(
            err, ATTN_E_ARG, arg->name,
            "%s: on device type %d number %d, the backend runs on %d number %d",
            arg->name, t->device.type, t->device.id, extent->device.type,
            extent->device.id);
    if (!t->shape || !t->strides)
        return attn_error_set(err, ATTN_E_ARG, arg->name,
                              "%s: shape or strides NULL", arg->name);
    attn_status s = check_shape(arg, t, extent, err);
    if (s == ATTN_OK && !t->data && t->shape[0] != 0)
        return attn_error_set(err, ATTN_E_ARG, arg->name, "%s: data NULL",
                              arg->name);
    return s;
}

attn_status
attn_block_check(const attn_block *block, const attn_head *args,
                 const attn_extent *extent, attn_error *err)
{
    if (args->struct_size < block->least)
        return attn_error_set(err, ATTN_E_ARG, "args.struct_size",
                              "struct_size %u: the block has %u bytes",
                              args->struct_size, block->least);
    for (uint32_t i = 0; i < block->num_args; i++) {
        const attn_arg *arg = &block->args[i];
        const attn_tensor *t = attn_block_tensor(args, arg);
        if (!t && (arg->flags & ATTN_ARG_OPTIONAL))
            continue;
        if (!t)
            return attn_error_set(err, ATTN_E_ARG, arg->name, "%s is NULL",
                                  arg->name);
        if (arg->feature && !(extent->features & arg->feature))
            return attn_error_set(
                err, ATTN_E_ARG, arg->name,
                "%s: the layer was described without feature %s", arg->name,
                attn_feature_str(arg->feature));
        attn_status s = check_tensor(arg, t, extent, err);
        if (s != ATTN_OK)
            return s;
    }
    return ATTN_OK;
}
