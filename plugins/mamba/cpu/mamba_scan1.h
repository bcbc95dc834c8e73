/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_scan1.h - Mamba-1: the selective scan. Lanes are channels, so sums
 * over the state cross none. */
#ifndef ATTN_MAMBA_CPU_MAMBA_SCAN1_H
#define ATTN_MAMBA_CPU_MAMBA_SCAN1_H

#include "mamba/cpu/mamba_conv.h"

typedef struct scan1 {
    const mamba_step *s;
    const attn_builder *b;
    const mamba_request *q;
    conv_part part;
    float *conv;    /* [chunk][channels] */
    float *window;  /* [width - 1][channels] */
    float *bb, *cc; /* [chunk][N] */
    float *state;   /* [channels / VL][N][VL] */
} scan1;

static void
scan1_open(scan1 *k, const mamba_step *s, uint32_t task, char *p)
{
    const attn_builder *b = s->b;
    k->s = s;
    k->b = b;
    k->q = &b->requests[task / b->num_blocks];
    const uint32_t first = task % b->num_blocks * b->block_heads;
    const uint32_t left = b->heads - first;
    k->part = (conv_part){first, left < b->block_heads ? left : b->block_heads, 0};
    k->conv = (float *)(void *)p;
    k->window = (float *)(void *)(p += b->scratch.conv);
    k->bb = (float *)(void *)(p += b->scratch.window);
    k->cc = k->bb + b->scratch.steps / sizeof(float) / 2;
    k->state = (float *)(void *)(p + b->scratch.steps);
    conv_window_load(s, k->q->slot_in, &k->part, k->window, k->part.num);
}

static char *
scan1_slot(const scan1 *k, int32_t slot, uint32_t c)
{
    const attn_tensor *t = k->s->ssm;
    return cpu_data(t) + (slot * t->strides[0] + (k->part.first + c) * t->strides[1]) *
                             (int64_t)cpu_type_size(k->b->ssm_type);
}

static void
scan1_load(scan1 *k)
{
    const uint32_t n = k->b->n;
    float line[MAMBA_MAX_DIM];
    memset(line, 0, sizeof line);
    for (uint32_t c = 0; c < k->part.num; c++) {
        if (k->q->slot_in >= 0)
            convert_to_f32(line, scan1_slot(k, k->q->slot_in, c), k->b->ssm_type, n);
        float *dst = k->state + c / VL * n * VL + c % VL;
        for (uint32_t i = 0; i < n; i++)
            dst[i * VL] = line[i];
    }
}

static void
scan1_save(const scan1 *k, int32_t slot)
{
    const uint32_t n = k->b->n;
    float line[MAMBA_MAX_DIM];
    for (uint32_t c = 0; slot >= 0 && c < k->part.num; c++) {
        const float *src = k->state + c / VL * n * VL + c % VL;
        for (uint32_t i = 0; i < n; i++)
            line[i] = src[i * VL];
        convert_from_f32(scan1_slot(k, slot, c), k->b->ssm_type, line, n);
    }
}

/* State i of VL channels, one token; adds to y what it gives. */
GEMM_INLINE vf
scan1_state(float *h, const float *a, uint32_t i, vf dt, vf u, const float *bb, const float *cc,
            vf y)
{
    const vf decay = vf_exp(vf_load(a + i * 16) * dt);
    const vf next = vf_fma(vf_load(h + i * VL), decay, u * vf_set(bb[i]));
    vf_store(h + i * VL, next);
    return vf_fma(next, vf_set(cc[i]), y);
}

/* Tokens t0.. of the request, VL channels from c on. */
static void
scan1_lanes(scan1 *k, uint32_t c, uint32_t t0, uint32_t len)
{
    const attn_builder *b = k->b;
    const mamba_step *s = k->s;
    const uint32_t n = b->n, ch = k->part.first + c;
    float *h = k->state + c / VL * n * VL;
    const float *a = s->layer->a + (size_t)ch / 16 * n * 16 + ch % 16;
    const vf d = vf_load(s->layer->d + ch), bias = vf_load(s->layer->dt_bias + ch);
    for (uint32_t t = 0; t < len; t++) {
        const int64_t token = k->q->first + t0 + t;
        const float *bb = k->bb + t * n, *cc = k->cc + t * n;
        const vf x = vf_load(k->conv + t * k->part.num + c);
        vf dt = convert_get(tensor_row(s->dt, b->x_type, token, ch), b->x_type, 0) + bias;
        if (b->softplus)
            dt = vf_softplus(dt);
        const vf u = dt * x;
        vf y0 = vf_set(0.0f), y1 = y0, y2 = y0, y3 = y0;
        uint32_t i = 0;
        for (; i + 4 <= n; i += 4) {
            y0 = scan1_state(h, a, i, dt, u, bb, cc, y0);
            y1 = scan1_state(h, a, i + 1, dt, u, bb, cc, y1);
            y2 = scan1_state(h, a, i + 2, dt, u, bb, cc, y2);
            y3 = scan1_state(h, a, i + 3, dt, u, bb, cc, y3);
        }
        for (; i < n; i++)
            y0 = scan1_state(h, a, i, dt, u, bb, cc, y0);
        vf y = vf_fma(d, x, (y0 + y1) + (y2 + y3));
        if (s->z)
            y *= vf_silu(convert_get(tensor_row(s->z, b->x_type, token, ch), b->x_type, 0));
        convert_put(cpu_data(s->out) +
                        (token * s->out->strides[0] + ch) * (int64_t)cpu_type_size(b->out_type),
                    b->out_type, 0, y);
    }
}

/* Tokens up to the next place where the state is wanted. */
static uint32_t
scan1_len(const scan1 *k, uint32_t t)
{
    uint32_t len = 1;
    while (t + len < k->q->num && len < MAMBA_CHUNK && mamba_target(k->b, k->q, t + len - 1) < 0 &&
           mamba_checkpoint(k->b, k->q, t + len - 1) < 0)
        len++;
    return len;
}

static void
scan1_task(const mamba_step *s, uint32_t task, char *scratch)
{
    scan1 k;
    scan1_open(&k, s, task, scratch);
    scan1_load(&k);
    const attn_builder *b = s->b;
    for (uint32_t t = 0, len; t < k.q->num; t += len) {
        len = scan1_len(&k, t);
        const uint32_t first = k.q->first + t;
        conv_part_run(s, &k.part, first, len, k.window, k.conv, k.part.num);
        for (uint32_t i = 0; i < len; i++) {
            convert_to_f32(k.bb + i * b->n, tensor_row(s->bb, b->x_type, first + i, 0), b->x_type,
                           b->n);
            convert_to_f32(k.cc + i * b->n, tensor_row(s->cc, b->x_type, first + i, 0), b->x_type,
                           b->n);
        }
        for (uint32_t c = 0; c < k.part.num; c += VL)
            scan1_lanes(&k, c, t, len);
        scan1_save(&k, mamba_target(b, k.q, t + len - 1));
        scan1_save(&k, mamba_checkpoint(b, k.q, t + len - 1));
    }
}

#endif /* ATTN_MAMBA_CPU_MAMBA_SCAN1_H */
