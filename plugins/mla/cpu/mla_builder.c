/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"
#include <stdlib.h>

static size_t
align64(size_t n)
{
    return (n + 63) / 64 * 64;
}

static uint32_t
least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* bf16 products want bf16 on both sides of every one; fp8 codes are exact in
 * bf16 and their scale is applied to scores and results. */
static const mla_kernels *
choose_kernels(const attn_builder *b)
{
    const int narrow = b->kv_type != CPU_F32 && b->kv_type != CPU_F16;
    switch (mla_opts.isa) {
    case CPU_ISA_GENERIC:
        return &mla_kernels_generic;
    case CPU_ISA_AVX2:
        return &mla_kernels_avx2;
    case CPU_ISA_AVX512BF16:
    case CPU_ISA_AVX512VBMI:
    case CPU_ISA_AMX:
        if (b->q_type == CPU_BF16 && b->w_type == CPU_BF16 && narrow)
            return &mla_kernels_avx512bf16;
        return &mla_kernels_avx512;
    default:
        return &mla_kernels_avx512;
    }
}

static void
size_plan(attn_builder *b)
{
    const attn_limits *l = &b->limits;
    const uint32_t splits =
        least(MLA_MAX_SPLITS, (l->max_seq_len + MLA_MIN_SPLIT - 1) / MLA_MIN_SPLIT + 1);
    const uint64_t token_rows = (uint64_t)b->heads * splits;
    const uint64_t budget = MLA_WAVE_BYTES / (b->c * sizeof(float));
    uint64_t rows = token_rows * l->max_tokens;
    if (rows > budget)
        rows = budget > token_rows ? budget : token_rows;
    b->wave_rows = (uint32_t)rows;
    b->wave_tokens = least(l->max_tokens, b->wave_rows / b->heads);
    b->max_pieces = l->max_tokens / MLA_MIN_PIECE + l->max_reqs + 1;
    b->max_segments = l->max_tokens + 1;
    b->plan_bytes = align64(b->max_pieces * sizeof(mla_piece)) +
                    align64(b->max_segments * sizeof(mla_segment)) +
                    align64(b->max_segments * sizeof(mla_wave));
    b->query_bytes = align64((size_t)b->wave_tokens * b->heads * b->query_cells * sizeof(uint32_t));
    b->partial_bytes = align64(rows * b->c * sizeof(float)) + align64(rows * 2 * sizeof(float));
}

static size_t
most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* One layout serves four kinds of task; wide ones have their own. */
static void
size_scratch(attn_builder *b)
{
    mla_scratch *s = &b->scratch;
    const size_t piece =
        (least(b->limits.max_query_len, MLA_MAX_PIECE) + MLA_ROWS - 1) / MLA_ROWS * MLA_ROWS;
    const size_t wide = b->c + b->dr, narrow = b->dn + b->dr, e = b->epc;
    s->panel = align64(4 * most(piece * narrow / e, MLA_ROWS * (size_t)b->query_cells));
    s->out = align64(4 * most(piece * b->dv, MLA_BLOCK_TOKENS * (size_t)b->c));
    s->stats = align64(4 * 2 * piece);
    s->keys = align64(4 * most(MLA_CHUNK * narrow / e, b->key_tile * wide / e));
    s->values = align64(4 * most(MLA_CHUNK * (size_t)b->dv / e, b->key_tile * (size_t)64 / e));
    s->scores = align64(4 * (size_t)b->key_tile * MLA_ROWS);
    s->probs = s->scores;
    s->block = align64(4 * MLA_EXPAND_ROWS * most(b->dn, most(b->dv, b->c)));
    s->rows = align64(4 * MLA_EXPAND_ROWS * wide / e);
    const size_t wide_bytes =
        b->wide_keys ? 8 * ((MLA_WIDE_KEYS + 8) * wide + 4 * (size_t)MLA_WIDE_KEYS + b->dv) : 0;
    b->scratch_bytes = s->panel + s->out + s->stats + s->keys + s->values + s->scores + s->probs +
                       s->block + s->rows;
    b->scratch_bytes = most(b->scratch_bytes, align64(wide_bytes));
}

static uint32_t
wide_keys(const attn_builder *b)
{
    if (b->expand_from)
        return 0;
    if (b->q_type == CPU_F32 && b->out_type == CPU_F32)
        return MLA_WIDE_KEYS;
    const uint32_t keys = MLA_FEW_SCORES / b->heads;
    return b->epc != 2 ? 0 : keys < MLA_FEW_KEYS ? keys : MLA_FEW_KEYS;
}

attn_status
mla_builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
                   const attn_limits *limits, attn_builder **builder, attn_error *err)
{
    (void)ctx;
    char buf[192];
    attn_reasons reasons = {.struct_size = sizeof reasons, .buf = buf, .capacity = sizeof buf};
    if (mla_check(self, NULL, layer, &reasons) != ATTN_OK)
        return attn_fail(err, ATTN_E_UNSUPPORTED, "layer", buf);
    attn_builder *b = calloc(1, sizeof *b);
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    memcpy(&b->layer, layer, sizeof b->layer);
    memcpy(&b->limits, limits,
           limits->struct_size < sizeof b->limits ? limits->struct_size : sizeof b->limits);
    b->q_type = cpu_type_of(b->layer.q_dtype);
    b->kv_type = cpu_type_of(b->layer.kv_dtype);
    b->out_type = cpu_type_of(b->layer.out_dtype);
    b->w_type = cpu_type_of(b->layer.weight_dtype);
    b->heads = b->layer.num_heads;
    b->dn = b->layer.qk_nope_head_dim;
    b->dr = b->layer.qk_rope_head_dim;
    b->dv = b->layer.v_head_dim;
    b->c = b->layer.kv_lora_rank;
    b->expand_from = mla_opts.expand_from;
    b->kernels = choose_kernels(b);
    b->epc = b->kernels->epc;
    b->wide_keys = wide_keys(b);
    b->query_cells = (b->c + b->dr) / b->epc + (b->epc == 2 ? b->c / 2 : 0);
    b->key_tile = b->epc == 2 ? 128 : 64;
    b->direct = b->kv_type == (b->epc == 2 ? CPU_BF16 : CPU_F32);
    size_plan(b);
    size_scratch(b);
    *builder = b;
    return ATTN_OK;
}

attn_status
mla_workspace(const attn_builder *b, attn_workspace *need)
{
    need->host_bytes = b->plan_bytes + b->query_bytes + b->partial_bytes +
                       b->scratch_bytes * b->limits.num_threads;
    need->host_align = 64;
    need->pinned_bytes = need->device_bytes = 0;
    need->pinned_align = need->device_align = 1;
    return ATTN_OK;
}

attn_status
mla_bind(attn_builder *b, const attn_binding *memory, attn_error *err)
{
    char *p = memory->host;
    if (!p || (uintptr_t)p % 64 != 0)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory.host",
                         p ? "not aligned to 64 bytes" : "missing");
    b->pieces = (mla_piece *)(void *)p;
    p += align64(b->max_pieces * sizeof(mla_piece));
    b->segments = (mla_segment *)(void *)p;
    p += align64(b->max_segments * sizeof(mla_segment));
    b->waves = (mla_wave *)(void *)p;
    p += align64(b->max_segments * sizeof(mla_wave));
    b->wave_query = (uint32_t *)(void *)p;
    p += b->query_bytes;
    b->partial_out = (float *)(void *)p;
    p += align64((size_t)b->wave_rows * b->c * sizeof(float));
    b->partial_stats = (float *)(void *)p;
    p += align64((size_t)b->wave_rows * 2 * sizeof(float));
    b->workers = p;
    return ATTN_OK;
}

void
mla_builder_destroy(attn_builder *b)
{
    free(b);
}
