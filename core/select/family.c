/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/select.h>

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

#define U32(t, f, start, lo, hi, help)                                    \
    {                                                                     \
#f, ATTN_FIELD_U32, (uint32_t)offsetof(t, f), start, lo, hi, help \
    }
#define I32(t, f, start, lo, hi, help)                                    \
    {                                                                     \
#f, ATTN_FIELD_I32, (uint32_t)offsetof(t, f), start, lo, hi, help \
    }
#define F32(t, f, start, lo, hi, help)                                    \
    {                                                                     \
#f, ATTN_FIELD_F32, (uint32_t)offsetof(t, f), start, lo, hi, help \
    }
#define BOOL(t, f, start, help)                                          \
    {                                                                    \
#f, ATTN_FIELD_BOOL, (uint32_t)offsetof(t, f), start, 0, 1, help \
    }
#define ACTIVATION(t, f, start, help)                                          \
    {                                                                          \
#f, ATTN_FIELD_ACTIVATION, (uint32_t)offsetof(t, f), start, 0, 1, help \
    }
#define DTYPE(t, f, start, help)                                          \
    {                                                                     \
#f, ATTN_FIELD_DTYPE, (uint32_t)offsetof(t, f), start, 0, 0, help \
    }

#define T attn_flash_layer
static const attn_field flash_fields[] = {
    U32(T, num_heads, "", 1, 65536, "query heads"),
    U32(T, num_kv_heads, "", 1, 65536, "key and value heads; as num_heads"),
    U32(T, head_dim, "", 1, 65536, "width of q and k"),
    U32(T, head_dim_v, "", 1, 65536, "width of v and out; as head_dim"),
    U32(T, block_size, "16", 1, 1048576, "positions in a cache block"),
    BOOL(T, causal, "yes", "a query sees no later key"),
    DTYPE(T, q_dtype, "bf16", "type of q, and of new k and v"),
    DTYPE(T, kv_dtype, "", "type of the caches; as q_dtype"),
    DTYPE(T, out_dtype, "", "type of out; as q_dtype"),
    F32(T, scale, "", 0, 1e6, "factor of q . k; 0: 1/sqrt(head_dim)"),
    F32(T, softcap, "0", 0, 1e6, "cap of the scores; 0: none"),
    I32(T, window_left, "-1", -1, 2147483647, "earlier keys seen; -1: all"),
    I32(T, window_right, "-1", -1, 2147483647, "later keys seen; -1: all"),
};
#undef T

#define T attn_mla_layer
static const attn_field mla_fields[] = {
    U32(T, num_heads, "", 1, 65536, "query heads"),
    U32(T, qk_nope_head_dim, "128", 1, 65536, "width of q without position"),
    U32(T, qk_rope_head_dim, "64", 1, 65536, "width of the rotated part"),
    U32(T, v_head_dim, "128", 1, 65536, "width of v and out"),
    U32(T, kv_lora_rank, "512", 1, 65536, "width of the latent"),
    U32(T, block_size, "64", 1, 1048576, "positions in a cache block"),
    BOOL(T, causal, "yes", "a query sees no later key"),
    DTYPE(T, q_dtype, "bf16", "type of q and of new rows"),
    DTYPE(T, kv_dtype, "", "type of the cache; as q_dtype"),
    DTYPE(T, out_dtype, "", "type of out; as q_dtype"),
    DTYPE(T, weight_dtype, "", "type of w_uk and w_uv; as q_dtype"),
    F32(T, scale, "", 0, 1e6, "factor of the scores; 0: 1/sqrt(dn + dr)"),
};
#undef T

#define RECURRENT(T)                                                          \
    ACTIVATION(T, activation, "silu", "after the convolution: none or silu"), \
        BOOL(T, dt_softplus, "yes", "softplus on dt + dt_bias"),              \
        DTYPE(T, x_dtype, "bf16", "type of the inputs"),                      \
        DTYPE(T, conv_state_dtype, "", "type of the conv state; as x_dtype"), \
        DTYPE(T, ssm_state_dtype, "f32", "type of the recurrent state"),      \
        DTYPE(T, out_dtype, "", "type of out; as x_dtype")

#define T attn_mamba2_layer
static const attn_field mamba2_fields[] = {
    U32(T, num_heads, "", 1, 65536, "heads of the state"),
    U32(T, head_dim, "64", 1, 65536, "width of a head"),
    U32(T, num_groups, "1", 1, 65536, "groups of heads that share B and C"),
    U32(T, state_dim, "128", 1, 65536, "width of the state"),
    U32(T, conv_width, "4", 1, 64, "taps of the convolution"),
    U32(T, chunk_size, "256", 1, 65536, "tokens of a scan chunk"),
    RECURRENT(T),
};
#undef T

#define T attn_mamba1_layer
static const attn_field mamba1_fields[] = {
    U32(T, num_channels, "", 1, 1048576, "channels"),
    U32(T, state_dim, "16", 1, 65536, "width of the state"),
    U32(T, conv_width, "4", 1, 64, "taps of the convolution"),
    RECURRENT(T),
};
#undef T

static const attn_family families[] = {
    {"flash", ATTN_FAMILY_FLASH, flash_fields, COUNT(flash_fields),
     sizeof(attn_flash_layer)},
    {"mla", ATTN_FAMILY_MLA, mla_fields, COUNT(mla_fields),
     sizeof(attn_mla_layer)},
    {"mamba2", ATTN_FAMILY_MAMBA2, mamba2_fields, COUNT(mamba2_fields),
     sizeof(attn_mamba2_layer)},
    {"mamba1", ATTN_FAMILY_MAMBA1, mamba1_fields, COUNT(mamba1_fields),
     sizeof(attn_mamba1_layer)},
};

const attn_family *
attn_family_at(size_t index)
{
    return index < COUNT(families) ? &families[index] : NULL;
}

const attn_family *
attn_family_find(const char *key_or_id)
{
    for (size_t i = 0; i < COUNT(families); i++)
        if (strcmp(families[i].key, key_or_id) == 0 ||
            strcmp(families[i].id, key_or_id) == 0)
            return &families[i];
    return NULL;
}

static const struct feature {
    uint64_t bit;
    const char *name;
} features[] = {
    {ATTN_F_CAUSAL, "causal"},
    {ATTN_F_NONCAUSAL, "noncausal"},
    {ATTN_F_PER_REQUEST_CAUSAL, "per_request_causal"},
    {ATTN_F_WINDOW, "window"},
    {ATTN_F_SOFTCAP, "softcap"},
    {ATTN_F_SINKS, "sinks"},
    {ATTN_F_ALIBI, "alibi"},
    {ATTN_F_PREFIX_RANGES, "prefix_ranges"},
    {ATTN_F_CROSS, "cross"},
    {ATTN_F_LSE, "lse"},
    {ATTN_F_KV_SCALES, "kv_scales"},
    {ATTN_F_GATE, "gate"},
    {ATTN_F_DRAFTS, "drafts"},
    {ATTN_F_CHECKPOINTS, "checkpoints"},
};

const char *
attn_feature_str(uint64_t bit)
{
    for (size_t i = 0; i < COUNT(features); i++)
        if (features[i].bit == bit)
            return features[i].name;
    return bit >> 48 ? "vendor" : "unknown";
}

uint64_t
attn_feature_parse(const char *name)
{
    for (size_t i = 0; i < COUNT(features); i++)
        if (strcmp(features[i].name, name) == 0)
            return features[i].bit;
    return 0;
}
