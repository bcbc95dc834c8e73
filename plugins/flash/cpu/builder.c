/* SPDX-License-Identifier: Apache-2.0 */
#include "flash/cpu/flash.h"

#include <stdlib.h>

static attn_status
builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
               const attn_limits *limits, attn_builder **builder, attn_error *err)
{
    (void)ctx;
    char text[256] = "";
    attn_reasons reasons = {.struct_size = sizeof reasons, .buf = text, .capacity = sizeof text};
    const attn_status status = flash_check(self, NULL, layer, &reasons);
    if (status)
        return attn_fail(err, status, "layer", text);
    if (!limits->max_reqs || !limits->max_tokens || !limits->num_threads)
        return attn_fail(err, ATTN_E_ARG, "limits",
                         "max_reqs, max_tokens and num_threads must not be 0");
    attn_builder *b = calloc(1, sizeof *b);
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    b->options = *flash_get_options();
    b->limits = *limits;
    b->features = layer->features;
    flash_shape_take(&b->shape, (const attn_flash_layer *)layer);
    b->kernel = flash_kernel_pick(b->options.isa, b->shape.q_type, b->shape.kv_type);
    flash_shape_plan(&b->shape, b->kernel, &b->options);
    flash_scratch_plan(&b->layout, &b->shape, b->kernel);
    b->max_blocks = flash_max_blocks(&b->shape, &b->options, limits);
    b->max_partials = flash_max_partials(&b->shape, &b->options, limits);
    *builder = b;
    return ATTN_OK;
}

static void
builder_destroy(attn_builder *b)
{
    free(b);
}

/* Lays the workspace out at base (NULL: only sizes it); returns its size. */
static size_t
lay_out(attn_builder *b, char *base)
{
    size_t at = 0;
    const size_t blocks = flash_take(&at, b->max_blocks * sizeof *b->blocks);
    const size_t sorted = flash_take(&at, b->max_blocks * sizeof *b->sorted);
    const size_t merges = flash_take(&at, b->limits.max_reqs * sizeof *b->merges);
    const size_t scratch = flash_take(&at, b->layout.bytes * b->limits.num_threads);
    const size_t out = flash_take(&at, b->max_partials * b->shape.cols * sizeof(float));
    const size_t stat = flash_take(&at, b->max_partials * 2 * sizeof(float));
    if (base) {
        b->blocks = (flash_block *)(base + blocks);
        b->sorted = (flash_block *)(base + sorted);
        b->merges = (flash_merge *)(base + merges);
        b->scratch = base + scratch;
        b->partial_out = (float *)(base + out);
        b->partial_stat = (float *)(base + stat);
    }
    return at;
}

static attn_status
workspace(const attn_builder *b, attn_workspace *need)
{
    attn_builder copy = *b;
    need->host_bytes = lay_out(&copy, NULL);
    need->host_align = FLASH_ALIGN;
    need->pinned_bytes = need->device_bytes = 0;
    need->pinned_align = need->device_align = 1;
    return ATTN_OK;
}

static attn_status
bind_memory(attn_builder *b, const attn_binding *memory, attn_error *err)
{
    char *host = memory->host;
    if (!host || (uintptr_t)host % FLASH_ALIGN)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory.host", "missing or not aligned to 64");
    lay_out(b, host);
    return ATTN_OK;
}

static attn_status
layer_bytes(const attn_builder *b, attn_workspace *need)
{
    need->host_bytes = sizeof(attn_prepared) + 2 * sizeof(float) * b->shape.heads;
    need->host_align = FLASH_ALIGN;
    need->pinned_bytes = need->device_bytes = 0;
    need->pinned_align = need->device_align = 1;
    return ATTN_OK;
}

static attn_status
copy_vector(const attn_builder *b, const attn_tensor *t, const char *name, float *to,
            attn_error *err)
{
    const cpu_type type = cpu_type_of(t->dtype);
    if (t->ndim != 1 || t->shape[0] != (int64_t)b->shape.heads || type == CPU_NONE)
        return attn_fail(err, ATTN_E_ARG, name, "must be [num_heads] of a float type");
    const char *from = (const char *)t->data + t->byte_offset;
    for (uint32_t h = 0; h < b->shape.heads; h++)
        to[h] = cpu_get(type, from + h * t->strides[0] * (int64_t)cpu_type_size(type), 0);
    return ATTN_OK;
}

static attn_status
layer_prepare(attn_builder *b, const attn_head *constants, const attn_binding *memory,
              const attn_stream *stream, attn_prepared **layer, attn_error *err)
{
    (void)stream;
    const attn_flash_constants *c = (const void *)constants;
    attn_prepared *p = memory->host;
    attn_status status = ATTN_OK;
    if (!p || (uintptr_t)p % FLASH_ALIGN)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory.host", "missing or not aligned to 64");
    float *sinks = (float *)(p + 1), *slopes = sinks + b->shape.heads;
    *p = (attn_prepared){0};
    if (c && c->sinks) {
        status = copy_vector(b, c->sinks, "constants.sinks", sinks, err);
        p->sinks = sinks;
    } else if (b->features & ATTN_F_SINKS)
        return attn_fail(err, ATTN_E_ARG, "constants.sinks", "missing, and the layer needs them");
    if (status)
        return status;
    if (c && c->alibi_slopes) {
        status = copy_vector(b, c->alibi_slopes, "constants.alibi_slopes", slopes, err);
        p->slopes = slopes;
    } else if (b->features & ATTN_F_ALIBI)
        return attn_fail(err, ATTN_E_ARG, "constants.alibi_slopes",
                         "missing, and the layer needs them");
    if (!status)
        *layer = p;
    return status;
}

const attn_op flash_op = {.struct_size = sizeof flash_op,
                          .check = flash_check,
                          .kv_spec = flash_kv_spec,
                          .builder_create = builder_create,
                          .workspace = workspace,
                          .bind = bind_memory,
                          .layer_bytes = layer_bytes,
                          .layer_prepare = layer_prepare,
                          .build = flash_build,
                          .update_cache = flash_update_cache,
                          .forward = flash_forward,
                          .builder_destroy = builder_destroy};
