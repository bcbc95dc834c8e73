/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"

#include "common/cpu/plugin.h"

static const char *const archs[] = {"*"};

static const attn_dim_claim dims[] = {
    {"num_heads", {1, 128, 1}, 0},          {"qk_nope_head_dim", {16, 256, 16}, 0},
    {"qk_rope_head_dim", {16, 128, 16}, 0}, {"v_head_dim", {16, 256, 16}, 0},
    {"kv_lora_rank", {16, 1024, 16}, 0},
};

static const attn_dtype_claim dtypes[] = {
    {"q_dtype", ATTN_F32, 0},      {"q_dtype", ATTN_F16, 0},       {"q_dtype", ATTN_BF16, 0},
    {"kv_dtype", ATTN_F32, 0},     {"kv_dtype", ATTN_F16, 0},      {"kv_dtype", ATTN_BF16, 0},
    {"kv_dtype", ATTN_E4M3, 0},    {"kv_dtype", ATTN_E5M2, 0},     {"out_dtype", ATTN_F32, 0},
    {"out_dtype", ATTN_F16, 0},    {"out_dtype", ATTN_BF16, 0},    {"weight_dtype", ATTN_F32, 0},
    {"weight_dtype", ATTN_F16, 0}, {"weight_dtype", ATTN_BF16, 0},
};

const attn_caps mla_caps = {
    .struct_size = sizeof(attn_caps),
    .capture = ATTN_CAPTURE_NEVER,
    .features = ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_PER_REQUEST_CAUSAL | ATTN_F_LSE |
                ATTN_F_KV_SCALES,
    .properties = ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT,
    .archs = archs,
    .dims = dims,
    .dtypes = dtypes,
    .num_archs = sizeof archs / sizeof *archs,
    .num_dims = sizeof dims / sizeof *dims,
    .num_dtypes = sizeof dtypes / sizeof *dtypes,
};

attn_status
mla_check(const attn_backend *self, const char *arch, const attn_layer *layer,
          attn_reasons *reasons)
{
    (void)self;
    (void)arch;
    attn_reasons none = {.struct_size = sizeof none};
    char text[96];
    if (layer->struct_size < sizeof(attn_mla_layer)) {
        snprintf(text, sizeof text, "layer.struct_size %u: an MLA layer has %zu",
                 layer->struct_size, sizeof(attn_mla_layer));
        attn_reason_add(reasons, text);
        return ATTN_E_UNSUPPORTED;
    }
    if (!reasons)
        reasons = &none;
    const attn_mla_layer *l = (const attn_mla_layer *)layer;
    const uint32_t before = reasons->count;
    const uint32_t value[] = {l->num_heads, l->qk_nope_head_dim, l->qk_rope_head_dim, l->v_head_dim,
                              l->kv_lora_rank};
    cpu_check_dims(dims, sizeof dims / sizeof *dims, value, reasons);
    if (l->block_size == 0)
        attn_reason_add(reasons, "block_size 0: supports 1 and up");
    cpu_check_type("q_dtype", l->q_dtype, 0, reasons);
    cpu_check_type("kv_dtype", l->kv_dtype, 1, reasons);
    cpu_check_type("out_dtype", l->out_dtype, 0, reasons);
    cpu_check_type("weight_dtype", l->weight_dtype, 0, reasons);
    if (!(l->scale > 0.0f)) {
        snprintf(text, sizeof text, "scale %g: supports positive ones", (double)l->scale);
        attn_reason_add(reasons, text);
    }
    return reasons->count == before ? ATTN_OK : ATTN_E_UNSUPPORTED;
}

attn_status
mla_kv_spec(const attn_backend *self, const attn_layer *layer, attn_kv_spec *spec)
{
    (void)self;
    const attn_mla_layer *l = (const attn_mla_layer *)layer;
    const uint32_t size = spec->struct_size;
    attn_kv_spec s = {.struct_size = size,
                      .num_caches = 1,
                      .block_sizes = {1, 65536, 1},
                      .preferred_block_size = 64};
    const int64_t row = (int64_t)l->kv_lora_rank + l->qk_rope_head_dim;
    const uint32_t block = l->block_size ? l->block_size : s.preferred_block_size;
    attn_cache_spec *kv = &s.caches[0];
    memcpy(kv->name, "kv", 3);
    kv->dtype = l->kv_dtype;
    kv->ndim = 2;
    kv->shape[0] = block;
    kv->shape[1] = row;
    kv->strides[0] = row;
    kv->strides[1] = 1;
    kv->bytes_per_block = (uint64_t)block * (uint64_t)row * cpu_type_size(cpu_type_of(l->kv_dtype));
    kv->alignment = 64;
    memcpy(spec, &s, size < sizeof s ? size : sizeof s);
    return ATTN_OK;
}
