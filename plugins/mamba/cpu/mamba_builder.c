/* SPDX-License-Identifier: Apache-2.0 */
#include "mamba/cpu/mamba.h"
#include <stdlib.h>

static size_t
align64(size_t n)
{
    return (n + 63) / 64 * 64;
}

static const mamba_kernels *
choose_kernels(const attn_builder *b)
{
    switch (mamba_isa) {
    case CPU_ISA_GENERIC:
        return &mamba_kernels_generic;
    case CPU_ISA_AVX2:
        return &mamba_kernels_avx2;
    case CPU_ISA_AVX512BF16:
    case CPU_ISA_AVX512VBMI:
    case CPU_ISA_AMX:
        if (b->x_type == CPU_BF16 && !b->mamba1)
            return &mamba_kernels_avx512bf16;
        return &mamba_kernels_avx512;
    default:
        return &mamba_kernels_avx512;
    }
}

static void
read_mamba2(attn_builder *b, const attn_mamba2_layer *l)
{
    b->heads = l->num_heads;
    b->p = l->head_dim;
    b->groups = l->num_groups;
    b->n = l->state_dim;
    b->width = l->conv_width;
    b->channels = b->heads * b->p + 2 * b->groups * b->n;
    b->silu = l->activation == ATTN_ACTIVATION_SILU;
    b->softplus = l->dt_softplus;
    b->x_type = cpu_type_of(l->x_dtype);
    b->conv_type = cpu_type_of(l->conv_state_dtype);
    b->ssm_type = cpu_type_of(l->ssm_state_dtype);
    b->out_type = cpu_type_of(l->out_dtype);
    const uint32_t per_group = b->heads / b->groups;
    b->block_heads = per_group < MAMBA_HEADS ? per_group : MAMBA_HEADS;
    b->num_blocks = (per_group + b->block_heads - 1) / b->block_heads * b->groups;
}

static void
read_mamba1(attn_builder *b, const attn_mamba1_layer *l)
{
    b->mamba1 = 1;
    b->heads = b->channels = l->num_channels;
    b->p = 1;
    b->groups = 1;
    b->n = l->state_dim;
    b->width = l->conv_width;
    b->silu = l->activation == ATTN_ACTIVATION_SILU;
    b->softplus = l->dt_softplus;
    b->x_type = cpu_type_of(l->x_dtype);
    b->conv_type = cpu_type_of(l->conv_state_dtype);
    b->ssm_type = cpu_type_of(l->ssm_state_dtype);
    b->out_type = cpu_type_of(l->out_dtype);
    b->block_heads = MAMBA_CHANNELS;
    b->num_blocks = (b->channels + MAMBA_CHANNELS - 1) / MAMBA_CHANNELS;
}

static void
size_scratch(attn_builder *b)
{
    mamba_scratch *s = &b->scratch;
    const size_t n = b->n, p = b->p, chunk = MAMBA_CHUNK;
    const size_t e = 1; /* bf16 scans end in f32 */
    const size_t columns = b->block_heads * p + (b->mamba1 ? 0 : 2 * n);
    /* mamba_wide1.h and mamba_wide2.h hold these in f64. */
    const size_t real = b->x_type == CPU_F32 ? 8 : 4;
    s->conv = align64((b->mamba1 ? 4 : real) * chunk * columns);
    s->window = align64(4 * (b->width - 1u) * columns);
    s->steps =
        b->mamba1 ? align64(real * 2 * chunk * n) : 3 * align64(real * chunk * b->block_heads);
    s->state = align64(real * b->block_heads * n * p);
    if (!b->mamba1) {
        const size_t wide = p > chunk ? p : chunk;
        s->cells = align64(b->x_type == CPU_F32 ? real * 2 * chunk * n : 4 * chunk * n / e);
        s->panel = align64(4 * n / e * wide);
        s->square = align64(4 * chunk * chunk);
        s->matrix = align64(4 * chunk * chunk / e);
        s->x = align64(4 * chunk / e * p);
        s->weighted = align64(4 * 2 * n);
        s->zipped = align64(4 * chunk / e * n);
        s->y = align64(real * real / 4 * chunk * p); /* f64: of two */
        s->scale = align64(4 * (n > chunk ? n : chunk));
    }
    b->scratch_bytes = s->conv + s->window + s->steps + s->state + s->cells + s->panel + s->square +
                       s->matrix + s->x + s->weighted + s->zipped + s->y + s->scale;
    const size_t windows = 2u * 4 * MAMBA_WINDOW_CHANNELS * MAMBA_MAX_WIDTH;
    if (b->scratch_bytes < windows)
        b->scratch_bytes = windows;
}

attn_status
mamba_builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
                     const attn_limits *limits, attn_builder **builder, attn_error *err)
{
    (void)ctx;
    char buf[192];
    attn_reasons reasons = {.struct_size = sizeof reasons, .buf = buf, .capacity = sizeof buf};
    if (mamba_check(self, NULL, layer, &reasons) != ATTN_OK)
        return attn_fail(err, ATTN_E_UNSUPPORTED, "layer", buf);
    attn_builder *b = calloc(1, sizeof *b);
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    memcpy(&b->limits, limits,
           limits->struct_size < sizeof b->limits ? limits->struct_size : sizeof b->limits);
    if (strcmp(self->family, ATTN_FAMILY_MAMBA1) == 0)
        read_mamba1(b, (const attn_mamba1_layer *)layer);
    else
        read_mamba2(b, (const attn_mamba2_layer *)layer);
    b->kernels = choose_kernels(b);
    b->epc = b->kernels->epc;
    b->plan_bytes = align64(b->limits.max_reqs * sizeof(mamba_request));
    size_scratch(b);
    *builder = b;
    return ATTN_OK;
}

attn_status
mamba_workspace(const attn_builder *b, attn_workspace *need)
{
    need->host_bytes = b->plan_bytes + b->scratch_bytes * b->limits.num_threads;
    need->host_align = 64;
    need->pinned_bytes = need->device_bytes = 0;
    need->pinned_align = need->device_align = 1;
    return ATTN_OK;
}

attn_status
mamba_bind(attn_builder *b, const attn_binding *memory, attn_error *err)
{
    char *p = memory->host;
    if (!p || (uintptr_t)p % 64 != 0)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory.host",
                         p ? "not aligned to 64 bytes" : "missing");
    b->requests = (mamba_request *)(void *)p;
    b->workers = p + b->plan_bytes;
    return ATTN_OK;
}

void
mamba_builder_destroy(attn_builder *b)
{
    free(b);
}

/* Floats of one prepared layer. */
static size_t
layer_floats(const attn_builder *b)
{
    const size_t a = b->mamba1 ? (size_t)b->channels * b->n : b->heads;
    return (size_t)b->channels * (b->width + 1) + a + 2u * b->heads;
}

attn_status
mamba_layer_bytes(const attn_builder *b, attn_workspace *need)
{
    need->host_bytes = 64 + 4 * layer_floats(b);
    need->host_align = 64;
    need->pinned_bytes = need->device_bytes = 0;
    need->pinned_align = need->device_align = 1;
    return ATTN_OK;
}

static attn_status
check_constant(const attn_tensor *t, const char *name, cpu_type type, int64_t rows, int64_t cols,
               attn_error *err)
{
    char text[128];
    if (!t)
        return attn_fail(err, ATTN_E_ARG, name, "missing");
    if (t->ndim == (cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols) &&
        cpu_type_of(t->dtype) == type)
        return ATTN_OK;
    snprintf(text, sizeof text, "wants [%lld%s%lld] of %zu-byte floats", (long long)rows,
             cols ? ", " : " x ", (long long)(cols ? cols : 1), cpu_type_size(type));
    return attn_fail(err, ATTN_E_ARG, name, text);
}

static float
at(const attn_tensor *t, int64_t row, int64_t col)
{
    const cpu_type type = cpu_type_of(t->dtype);
    const int64_t i = row * t->strides[0] + (t->ndim > 1 ? col * t->strides[1] : 0);
    return cpu_get(type, cpu_data(t) + i * (int64_t)cpu_type_size(type), 0);
}

static float *
pack_conv(const attn_builder *b, const attn_mamba_constants *k, float *dst)
{
    for (uint32_t w = 0; w < b->width; w++)
        for (uint32_t c = 0; c < b->channels; c++)
            *dst++ = at(k->conv_weight, c, w);
    for (uint32_t c = 0; c < b->channels; c++)
        *dst++ = k->conv_bias ? at(k->conv_bias, c, 0) : 0.0f;
    return dst;
}

static float *
pack_a(const attn_builder *b, const attn_mamba_constants *k, float *dst)
{
    for (uint32_t h = 0; h < b->heads; h++) {
        if (!b->mamba1)
            dst[h] = at(k->a, h, 0);
        for (uint32_t i = 0; b->mamba1 && i < b->n; i++)
            dst[((size_t)h / 16 * b->n + i) * 16 + h % 16] = at(k->a, h, i);
    }
    return dst + (b->mamba1 ? (size_t)b->channels * b->n : b->heads);
}

static float *
pack_vector(const attn_builder *b, const attn_tensor *t, float *dst)
{
    for (uint32_t h = 0; h < b->heads; h++)
        dst[h] = t ? at(t, h, 0) : 0.0f;
    return dst + b->heads;
}

attn_status
mamba_layer_prepare(attn_builder *b, const attn_head *constants, const attn_binding *memory,
                    const attn_stream *stream, attn_prepared **layer, attn_error *err)
{
    (void)stream;
    const attn_mamba_constants *k = (const attn_mamba_constants *)constants;
    if (!k || k->head.struct_size < sizeof *k)
        return attn_fail(err, ATTN_E_ARG, "constants", "not an attn_mamba_constants block");
    attn_status s = check_constant(k->conv_weight, "constants.conv_weight", b->x_type, b->channels,
                                   b->width, err);
    if (s == ATTN_OK)
        s = check_constant(k->a, "constants.a", CPU_F32, b->heads, b->mamba1 ? b->n : 0, err);
    if (s == ATTN_OK && k->conv_bias)
        s = check_constant(k->conv_bias, "constants.conv_bias", b->x_type, b->channels, 0, err);
    if (s == ATTN_OK && k->d)
        s = check_constant(k->d, "constants.d", CPU_F32, b->heads, 0, err);
    if (s == ATTN_OK && k->dt_bias)
        s = check_constant(k->dt_bias, "constants.dt_bias", CPU_F32, b->heads, 0, err);
    if (s != ATTN_OK)
        return s;
    if (!memory->host || (uintptr_t)memory->host % 64 != 0)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory.host", "missing or not aligned to 64");
    attn_prepared *p = memory->host;
    float *dst = (float *)(void *)((char *)memory->host + 64);
    p->conv_weight = dst;
    p->conv_bias = dst + (size_t)b->channels * b->width;
    dst = pack_conv(b, k, dst);
    p->a = dst;
    dst = pack_a(b, k, dst);
    p->d = dst;
    dst = pack_vector(b, k->d, dst);
    p->dt_bias = dst;
    pack_vector(b, k->dt_bias, dst);
    *layer = p;
    return ATTN_OK;
}
