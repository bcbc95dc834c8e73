/* SPDX-License-Identifier: Apache-2.0 */
/* mamba.h - the inside of mamba.cpu and mamba1.cpu.
 *
 * A scan task is one request and one block of heads (channels): it computes
 * the convolution of its own channels chunk by chunk, and then either runs
 * the recurrence as it is written (few tokens: state streams through once),
 * or in chunks as matrix products. Conv windows are written by a second loop,
 * after every task has read the old ones. Blocks depend on the layer alone,
 * so results do not depend on threads or batch mates. */
#ifndef ATTN_MAMBA_CPU_MAMBA_H
#define ATTN_MAMBA_CPU_MAMBA_H

#include "common/cpu/isa.h"
#include "common/cpu/number.h"
#include <attn/plugin.h>
#include <stdio.h>
#include <string.h>

#define MAMBA_CHUNK 64     /* tokens; ends at multiples of it in the sequence */
#define MAMBA_MAX_WIDTH 8  /* conv_width */
#define MAMBA_SEQUENTIAL 8 /* up to so many tokens: as written */
#define MAMBA_EXACT 128    /* tokens before a stored state whose products are f32 */
#define MAMBA_HEADS 16     /* of a block, and of one group */
#define MAMBA_CHANNELS 128 /* of a Mamba-1 block */
#define MAMBA_WINDOW_CHANNELS 1024
#define MAMBA_MAX_DIM 256

typedef struct mamba_request {
    uint32_t req, first, num;
    int32_t slot_in; /* state before the step; -1: zero */
    uint32_t drafts; /* 1: token i leaves its state in column i */
    int64_t context;
} mamba_request;

typedef struct mamba_kernels mamba_kernels;
typedef struct scan2 scan2; /* mamba_scan2.h */

/* Bytes of one worker's scratch, part by part. */
typedef struct mamba_scratch {
    size_t conv, window, steps, state, cells, panel, square, matrix, x, weighted, zipped, y, scale;
} mamba_scratch;

struct attn_builder {
    attn_limits limits;
    const mamba_kernels *kernels;
    uint32_t mamba1;
    uint32_t heads, p, groups, n, width; /* Mamba-1: heads = channels, p = 1 */
    uint32_t channels;                   /* of the convolution */
    uint32_t silu, softplus;
    uint32_t epc;
    uint32_t block_heads, num_blocks; /* blocks of heads */
    cpu_type x_type, conv_type, ssm_type, out_type;
    mamba_scratch scratch;
    size_t scratch_bytes, plan_bytes;
    mamba_request *requests; /* bound memory */
    char *workers;
    uint32_t num_requests;
    const attn_batch *batch;
    const attn_kv_group *group;
    const attn_ext_state *state;
};

/* f32 constants, inside the caller's memory. */
struct attn_prepared {
    const float *conv_weight; /* [width][channels] */
    const float *conv_bias;   /* [channels] */
    const float *a;           /* [H]; Mamba-1: [C / 16][N][16] */
    const float *d;           /* [H] */
    const float *dt_bias;     /* [H] */
};

/* Both families' forward block, by role. */
typedef struct mamba_step {
    const attn_builder *b;
    const attn_prepared *layer;
    const attn_tensor *x, *dt, *bb, *cc, *z, *conv, *ssm, *out;
} mamba_step;

/* The hot loops at one level. */
struct mamba_kernels {
    uint32_t epc;
    void (*scan2)(const mamba_step *step, uint32_t task, char *scratch);
    void (*scan1)(const mamba_step *step, uint32_t task, char *scratch);
    /* One chunk of a scan2 that another level of as wide vectors has opened. */
    void (*chunk)(scan2 *k, uint32_t t, uint32_t len);
    void (*windows)(const mamba_step *step, uint32_t task, char *scratch);
};

extern const mamba_kernels mamba_kernels_generic;
extern const mamba_kernels mamba_kernels_avx2;
extern const mamba_kernels mamba_kernels_avx512;
extern const mamba_kernels mamba_kernels_avx512bf16;

/* mamba_plugin.c: chosen by the options. */
extern cpu_isa mamba_isa;
extern const attn_host *mamba_host;

/* mamba_layer.c */
attn_status mamba_check(const attn_backend *self, const char *arch, const attn_layer *layer,
                        attn_reasons *reasons);
extern const attn_caps mamba2_caps, mamba1_caps;

/* mamba_builder.c */
attn_status mamba_builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
                                 const attn_limits *limits, attn_builder **builder,
                                 attn_error *err);
attn_status mamba_workspace(const attn_builder *b, attn_workspace *need);
attn_status mamba_bind(attn_builder *b, const attn_binding *memory, attn_error *err);
void mamba_builder_destroy(attn_builder *b);
attn_status mamba_layer_bytes(const attn_builder *b, attn_workspace *need);
attn_status mamba_layer_prepare(attn_builder *b, const attn_head *constants,
                                const attn_binding *memory, const attn_stream *stream,
                                attn_prepared **layer, attn_error *err);

/* mamba_run.c */
attn_status mamba_build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
                        const attn_stream *stream, attn_error *err);
attn_status mamba_forward(attn_builder *b, const attn_head *args, attn_error *err);

/* State index of a column of request r. */
static inline int32_t
mamba_column(const attn_builder *b, uint32_t r, uint32_t col)
{
    return b->group->block_table[(int64_t)r * b->group->block_table_stride + col];
}

/* Where the state after token i of the request goes besides: -1 nowhere. */
static inline int32_t
mamba_target(const attn_builder *b, const mamba_request *q, uint32_t i)
{
    if (q->drafts)
        return mamba_column(b, q->req, i);
    return i + 1 == q->num ? mamba_column(b, q->req, 0) : -1;
}

/* The checkpoint slot for the state after token i, or -1. */
static inline int32_t
mamba_checkpoint(const attn_builder *b, const mamba_request *q, uint32_t i)
{
    const attn_ext_state *s = b->state;
    if (!s || !s->max_checkpoints || !s->checkpoint_slots)
        return -1;
    const int64_t every = s->checkpoint_interval, seen = q->context + i + 1;
    if (seen % every)
        return -1;
    const int64_t j = seen / every - q->context / every - 1;
    return j < s->max_checkpoints ? s->checkpoint_slots[(int64_t)q->req * s->max_checkpoints + j]
                                  : -1;
}

#endif /* ATTN_MAMBA_CPU_MAMBA_H */
