/* SPDX-License-Identifier: 0BSD */
/* attn/layer.h - part of plugin.h: the families and their layers.
 *
 * The mathematics that each layer stands for are defined here. */
#ifndef ATTN_LAYER_H
#define ATTN_LAYER_H

#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ layers */

/* Families: the kind of layer, by string. A vendor may add its own. */
#define ATTN_FAMILY_FLASH "attn.op.flash/1"
#define ATTN_FAMILY_MLA "attn.op.mla/1"
#define ATTN_FAMILY_MAMBA2 "attn.op.mamba2/1"
#define ATTN_FAMILY_MAMBA1 "attn.op.mamba1/1"

/* What a layer NEEDS. The host derives the bits from the layer's fields and
 * refuses, before any call, a backend whose caps lack one: an old plugin
 * never meets a bit it does not know. Bits 48..63 are the vendor's. */
#define ATTN_F_CAUSAL (1ull << 0)
#define ATTN_F_NONCAUSAL (1ull << 1)
#define ATTN_F_PER_REQUEST_CAUSAL (1ull << 2)
#define ATTN_F_WINDOW (1ull << 3)
#define ATTN_F_SOFTCAP (1ull << 4)
#define ATTN_F_SINKS (1ull << 5)
#define ATTN_F_ALIBI (1ull << 6)
#define ATTN_F_PREFIX_RANGES (1ull << 7)
#define ATTN_F_CROSS (1ull << 8)
#define ATTN_F_LSE (1ull << 9)
#define ATTN_F_KV_SCALES (1ull << 10)
#define ATTN_F_GATE (1ull << 11)        /* Mamba: z */
#define ATTN_F_DRAFTS (1ull << 12)      /* Mamba: state_indices [R, 1 + n] */
#define ATTN_F_CHECKPOINTS (1ull << 13) /* Mamba: prefix-cache states */

/* The common head of every layer description; `features` are the needs. A
 * family's struct embeds it first, so that a pointer to the head is a pointer
 * to the whole; struct_size covers the whole. Frozen, 24 bytes. */
typedef struct attn_layer {
    uint32_t struct_size;
    uint32_t reserved;
    const char *family;
    uint64_t features; /* ATTN_F_* */
} attn_layer;

/* attn.op.flash/1: softmax attention over a paged KV cache. Query head h
 * reads KV head h / (num_heads / num_kv_heads).
 *   s = scale * (q . k);  softcap > 0: s = softcap * tanh(s / softcap);
 *   ALiBi: s -= slope[h] * |query position - key position|
 * A query at position p sees key j when j < S_r, j <= p if causal, and
 * p - window_left <= j <= p + window_right where these are not -1 (or by a
 * prefix range). A sink adds exp(sinks[h]) to the denominator only. lse is
 * ln(sum of exp(s) over visible keys and the sink). A row that sees nothing
 * gives out 0 and lse -inf. fp8 values stand for code * scale of their KV
 * head. */
typedef struct attn_flash_layer {
    attn_layer head;
    uint32_t num_heads;
    uint32_t num_kv_heads;
    uint32_t head_dim;   /* of q and k */
    uint32_t head_dim_v; /* of v and out */
    uint32_t block_size; /* of its KV group */
    uint32_t causal;     /* 1: causal unless the batch says otherwise */
    attn_dtype q_dtype;
    attn_dtype kv_dtype;
    attn_dtype out_dtype;
    float scale;
    float softcap; /* 0: off */
    int32_t window_left;
    int32_t window_right;
    uint32_t reserved0;
    uint64_t reserved[4];
} attn_flash_layer;

/* attn.op.mla/1: multi-head latent attention. A cache row is the latent
 * (kv_lora_rank = c) and the rotated key part (qk_rope_head_dim = dr), shared
 * by all heads: k_nope = latent . w_uk^T, v = latent . w_uv^T, and
 *   s = scale * (q_nope . k_nope + q_pe . k_pe). */
typedef struct attn_mla_layer {
    attn_layer head;
    uint32_t num_heads;
    uint32_t qk_nope_head_dim; /* dn */
    uint32_t qk_rope_head_dim; /* dr */
    uint32_t v_head_dim;       /* dv */
    uint32_t kv_lora_rank;     /* c */
    uint32_t block_size;
    uint32_t causal;
    attn_dtype q_dtype;
    attn_dtype kv_dtype;
    attn_dtype out_dtype;
    attn_dtype weight_dtype;
    float scale;
    uint64_t reserved[4];
} attn_mla_layer;

#define ATTN_ACTIVATION_NONE 0u
#define ATTN_ACTIVATION_SILU 1u

/* attn.op.mamba2/1: causal depthwise convolution, then the state-space
 * recurrence. Channels C = H*P + 2*G*N in the order x, B, C; per token
 *   xbc' = activation(conv(xbc) + conv_bias)
 *   dt'  = dt_softplus ? softplus(dt + dt_bias) : dt + dt_bias
 *   h    = h * exp(a * dt') + dt' * B x^T;   y = C h + d x  [* silu(z)]
 * with a, d, dt_bias per head and B, C per group of heads. */
typedef struct attn_mamba2_layer {
    attn_layer head;
    uint32_t num_heads;  /* H */
    uint32_t head_dim;   /* P */
    uint32_t num_groups; /* G */
    uint32_t state_dim;  /* N */
    uint32_t conv_width;
    uint32_t chunk_size;  /* tokens of a scan chunk; a result's rounding may
                             depend on it, nothing else */
    uint32_t activation;  /* ATTN_ACTIVATION_* */
    uint32_t dt_softplus; /* 0 or 1 */
    attn_dtype x_dtype;   /* xbc, dt, z, conv_weight, conv_bias */
    attn_dtype conv_state_dtype;
    attn_dtype ssm_state_dtype;
    attn_dtype out_dtype;
    uint64_t reserved[4];
} attn_mamba2_layer;

/* attn.op.mamba1/1: the selective scan of Mamba-1, per channel. y as above
 * with a [C, N] per channel and state, B and C shared by all channels. */
typedef struct attn_mamba1_layer {
    attn_layer head;
    uint32_t num_channels; /* C */
    uint32_t state_dim;    /* N */
    uint32_t conv_width;
    uint32_t activation;
    uint32_t dt_softplus;
    attn_dtype x_dtype;
    attn_dtype conv_state_dtype;
    attn_dtype ssm_state_dtype;
    attn_dtype out_dtype;
    uint32_t reserved0;
    uint64_t reserved[4];
} attn_mamba1_layer;

#ifdef __cplusplus
}
#endif

#endif /* ATTN_LAYER_H */
