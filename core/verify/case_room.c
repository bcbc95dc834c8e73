/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/case.h"

#include <string.h>

#include "base/error.h"

/* What a layer has, in bytes: for each token, page position and request. */
typedef struct weight {
    double token, position, request, once;
    uint32_t block_size; /* 0: no pages */
} weight;

static double
bytes(double elements, attn_dtype type)
{
    return elements * type.bits / 8;
}

static weight
of_flash(const attn_flash_layer *l)
{
    const double q = l->num_heads, kv = l->num_kv_heads;
    return (weight){
        .token = bytes(q * l->head_dim, l->q_dtype) +
                 bytes(q * l->head_dim_v, l->out_dtype),
        .position = bytes(kv * l->head_dim + kv * l->head_dim_v, l->kv_dtype),
        .block_size = l->block_size,
    };
}

static weight
of_mla(const attn_mla_layer *l)
{
    const double h = l->num_heads, c = l->kv_lora_rank;
    const double dn = l->qk_nope_head_dim, dr = l->qk_rope_head_dim;
    return (weight){
        .token = bytes(h * (dn + dr), l->q_dtype) +
                 bytes(h * l->v_head_dim, l->out_dtype),
        .position = bytes(c + dr, l->kv_dtype),
        .once = bytes(h * c * (dn + l->v_head_dim), l->weight_dtype),
        .block_size = l->block_size,
    };
}

static weight
of_mamba2(const attn_mamba2_layer *l)
{
    const double h = l->num_heads, inner = h * l->head_dim;
    const double conv = inner + 2.0 * l->num_groups * l->state_dim;
    return (weight){
        .token = bytes(conv + h, l->x_dtype) + bytes(inner, l->out_dtype),
        .request = bytes(inner * l->state_dim, l->ssm_state_dtype) +
                   bytes(conv * (l->conv_width - 1), l->conv_state_dtype),
        .once = bytes(conv * (l->conv_width + 1), l->x_dtype),
    };
}

static weight
of_mamba1(const attn_mamba1_layer *l)
{
    const double n = l->num_channels;
    return (weight){
        .token = bytes(2 * n + 2.0 * l->state_dim, l->x_dtype) +
                 bytes(n, l->out_dtype),
        .request = bytes(n * l->state_dim, l->ssm_state_dtype) +
                   bytes(n * (l->conv_width - 1), l->conv_state_dtype),
        .once =
            bytes(n * (l->conv_width + 1), l->x_dtype) + 4 * n * l->state_dim,
    };
}

static weight
weigh(const attn_layer *layer)
{
    if (!strcmp(layer->family, ATTN_FAMILY_FLASH))
        return of_flash((const attn_flash_layer *)layer);
    if (!strcmp(layer->family, ATTN_FAMILY_MLA))
        return of_mla((const attn_mla_layer *)layer);
    if (!strcmp(layer->family, ATTN_FAMILY_MAMBA2))
        return of_mamba2((const attn_mamba2_layer *)layer);
    if (!strcmp(layer->family, ATTN_FAMILY_MAMBA1))
        return of_mamba1((const attn_mamba1_layer *)layer);
    return (weight){0};
}

/* What the tensors and the outputs of this call take, about. */
static double
case_bytes(const attn_case_params *in)
{
    const weight w = weigh(in->layer);
    double tokens = 0, positions = 0, cols = 0;
    for (uint32_t r = 0; r < in->num_reqs; r++) {
        const attn_spec_request *q = &in->requests[r];
        const double blocks =
            w.block_size ? (q->seq_len - 1.0) / w.block_size + 1 : 0;
        tokens += q->query_len;
        positions += blocks * w.block_size;
        cols = blocks > cols ? blocks : cols;
    }
    return tokens * w.token + positions * w.position +
           in->num_reqs * (w.request + 4 * cols) + w.once;
}

attn_status
attn_case_check_room(const attn_case_params *in, double memory, attn_error *err)
{
    const double all = 2 * case_bytes(in);
    if (all <= memory)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_UNSUPPORTED, "requests",
                          "%u requests: the call and a copy of it take "
                          "%.4g GB, this machine has %.4g",
                          in->num_reqs, all * 1e-9, memory * 1e-9);
}
