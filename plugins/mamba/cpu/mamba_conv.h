/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_conv.h - the causal convolution and its windows. */
#ifndef ATTN_MAMBA_CPU_MAMBA_CONV_H
#define ATTN_MAMBA_CPU_MAMBA_CONV_H

#include "common/cpu/gemm_convert.h"
#include "mamba/cpu/mamba.h"

/* Channels first.. of the layer, num (a multiple of 16 or the rest) of them,
 * at column `at` of the task's buffers. */
typedef struct conv_part {
    uint32_t first, num, at;
} conv_part;

static const char *
tensor_row(const attn_tensor *t, cpu_type type, int64_t row, int64_t col)
{
    return cpu_data(t) + (row * t->strides[0] + col) * (int64_t)cpu_type_size(type);
}

static char *
conv_slot(const mamba_step *s, int32_t slot, uint32_t channel)
{
    const attn_tensor *t = s->conv;
    return cpu_data(t) + (slot * t->strides[0] + channel * t->strides[1]) *
                             (int64_t)cpu_type_size(s->b->conv_type);
}

/* The window before the step: window[k * stride + at + c], oldest first. */
static void
conv_window_load(const mamba_step *s, int32_t slot, const conv_part *part, float *window,
                 size_t stride)
{
    const uint32_t w = s->b->width - 1;
    float row[64 * MAMBA_MAX_WIDTH];
    for (uint32_t c0 = 0; c0 < part->num; c0 += 64) {
        const uint32_t num = part->num - c0 < 64 ? part->num - c0 : 64;
        if (slot < 0)
            memset(row, 0, num * w * sizeof *row);
        else if (s->conv->strides[1] == (int64_t)w)
            convert_to_f32(row, conv_slot(s, slot, part->first + c0), s->b->conv_type, num * w);
        else
            for (uint32_t c = 0; c < num; c++)
                convert_to_f32(row + c * w, conv_slot(s, slot, part->first + c0 + c),
                               s->b->conv_type, w);
        for (uint32_t k = 0; k < w; k++) {
            float *dst = window + k * stride + part->at + c0;
            for (uint32_t c = 0; c < num; c++)
                dst[c] = row[c * w + k];
        }
    }
}

#if CELL_BF16
#define mamba_exp vf_exp_short
#define mamba_silu vf_silu_short
#else
#define mamba_exp vf_exp
#define mamba_silu vf_silu
#endif

typedef struct conv_job {
    const char *src; /* first token, first channel */
    int64_t src_row; /* bytes */
    cpu_type type;
    const float *weight;
    size_t weight_row;
    const float *bias;
    float *window;
    size_t stride; /* of window and out */
    float *out;
    uint32_t tokens;
    int silu;
} conv_job;

/* One vector of channels over all tokens; the taps live in registers. */
GEMM_INLINE void
conv_lanes(const conv_job *j, size_t c, const int width, const cpu_type type)
{
    vf tap[MAMBA_MAX_WIDTH], weight[MAMBA_MAX_WIDTH];
    for (int k = 0; k < width; k++)
        weight[k] = vf_load(j->weight + (size_t)k * j->weight_row + c);
    for (int k = 0; k + 1 < width; k++)
        tap[k] = vf_load(j->window + (size_t)k * j->stride + c);
    const vf bias = vf_load(j->bias + c);
    for (uint32_t t = 0; t < j->tokens; t++) {
        tap[width - 1] = convert_get(j->src + t * j->src_row, type, c);
        vf y = bias;
        for (int k = 0; k < width; k++)
            y = vf_fma(weight[k], tap[k], y);
        if (j->silu)
            y = mamba_silu(y);
        vf_store(j->out + t * j->stride + c, y);
        for (int k = 0; k + 1 < width; k++)
            tap[k] = tap[k + 1];
    }
    for (int k = 0; k + 1 < width; k++)
        vf_store(j->window + (size_t)k * j->stride + c, tap[k]);
}

static void
conv_run(const conv_job *j, uint32_t num, uint32_t width)
{
    for (size_t c = 0; c < num; c += VL) {
        if (width == 4 && j->type == CPU_BF16)
            conv_lanes(j, c, 4, CPU_BF16);
        else if (width == 4 && j->type == CPU_F32)
            conv_lanes(j, c, 4, CPU_F32);
        else
            conv_lanes(j, c, (int)width, j->type);
    }
}

/* Tokens first.. of one part: activation(conv) to out, and the window moves
 * on. num is a multiple of VL. */
static void
conv_part_run(const mamba_step *s, const conv_part *part, uint32_t first, uint32_t tokens,
              float *window, float *out, size_t stride)
{
    const conv_job j = {.src = tensor_row(s->x, s->b->x_type, first, part->first),
                        .src_row = s->x->strides[0] * (int64_t)cpu_type_size(s->b->x_type),
                        .type = s->b->x_type,
                        .weight = s->layer->conv_weight + part->first,
                        .weight_row = s->b->channels,
                        .bias = s->layer->conv_bias + part->first,
                        .window = window + part->at,
                        .stride = stride,
                        .out = out + part->at,
                        .tokens = tokens,
                        .silu = (int)s->b->silu};
    conv_run(&j, part->num, s->b->width);
}

/* The window after token i, for channels c0..: old holds the one before the
 * step. */
static void
window_write(const mamba_step *s, const mamba_request *q, uint32_t i, int32_t slot,
             const conv_part *part, const float *old, float *rows)
{
    const uint32_t w = s->b->width - 1, num = part->num;
    float raw[MAMBA_WINDOW_CHANNELS];
    if (slot < 0)
        return;
    for (uint32_t k = 0; k < w; k++) {
        const int64_t t = (int64_t)i - w + 1 + k;
        const float *src = old + (t + w) * num;
        if (t >= 0) {
            convert_to_f32(raw, tensor_row(s->x, s->b->x_type, q->first + t, part->first),
                           s->b->x_type, num);
            src = raw;
        }
        for (uint32_t c = 0; c < num; c++)
            rows[c * w + k] = src[c];
    }
    if (s->conv->strides[1] == (int64_t)w) {
        convert_from_f32(conv_slot(s, slot, part->first), s->b->conv_type, rows, num * w);
        return;
    }
    for (uint32_t c = 0; c < num; c++)
        convert_from_f32(conv_slot(s, slot, part->first + c), s->b->conv_type, rows + c * w, w);
}

/* A task: one request, one block of channels. */
static void
windows_task(const mamba_step *s, uint32_t task, char *scratch)
{
    const attn_builder *b = s->b;
    const uint32_t blocks = (b->channels + MAMBA_WINDOW_CHANNELS - 1) / MAMBA_WINDOW_CHANNELS;
    const mamba_request *q = &b->requests[task / blocks];
    conv_part part = {.first = task % blocks * MAMBA_WINDOW_CHANNELS};
    part.num = b->channels - part.first < MAMBA_WINDOW_CHANNELS ? b->channels - part.first
                                                                : MAMBA_WINDOW_CHANNELS;
    float *old = (float *)(void *)scratch;
    float *rows = old + MAMBA_WINDOW_CHANNELS * MAMBA_MAX_WIDTH;
    conv_window_load(s, q->slot_in, &part, old, part.num);
    for (uint32_t i = 0; i < q->num; i++) {
        if (!q->drafts && i + 1 < q->num && !(b->state && b->state->max_checkpoints))
            i = q->num - 1;
        window_write(s, q, i, mamba_target(b, q, i), &part, old, rows);
        window_write(s, q, i, mamba_checkpoint(b, q, i), &part, old, rows);
    }
}

#endif /* ATTN_MAMBA_CPU_MAMBA_CONV_H */
