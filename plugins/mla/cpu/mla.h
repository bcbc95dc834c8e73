/* SPDX-License-Identifier: Apache-2.0 */
/* mla.h - the inside of mla.cpu.
 *
 * Two ways to one result. EXPANDED: per head, latent rows are multiplied out
 * to keys and values in chunks, and query tiles attend to them. ABSORBED: the
 * query is taken into latent space (q_nope w_uk), all heads attend to the
 * cache rows as they lie, and w_uv brings the result back. build decides per
 * request by counting multiplications, and lays out pieces and waves.
 *
 * Short requests of f32 layers, and very short ones of bf16 layers, go a third way, WIDE: see
 * mla_wide.h.
 *
 * The first two run the same attention core: a tile of up to 64 query rows as columns
 * of a packed panel, keys by broadcast, key tiles at absolute positions, and
 * key splits that depend on the sequence length alone. A row's bits hence
 * depend on nothing but its own request. */
#ifndef ATTN_MLA_CPU_MLA_H
#define ATTN_MLA_CPU_MLA_H

#include "common/cpu/isa.h"
#include "common/cpu/number.h"
#include <attn/plugin.h>
#include <stdio.h>
#include <string.h>

#define MLA_ROWS 64         /* query rows of a tile */
#define MLA_CHUNK 512       /* keys expanded at once */
#define MLA_EXPAND_ROWS 128 /* of those, keys multiplied out at once */
#define MLA_BLOCK_TOKENS 32 /* tokens of a projection task */
#define MLA_MAX_SPLITS 32
#define MLA_MIN_SPLIT 512 /* keys */
#define MLA_WAVE_BYTES (32u << 20)
#define MLA_MAX_PIECE 4096 /* query rows of an expanded task */
#define MLA_MIN_PIECE 256
#define MLA_WIDE_KEYS 384  /* requests of f32 layers with at most so many run in f64 */
#define MLA_FEW_KEYS 64    /* also those of bf16 layers: so many, */
#define MLA_FEW_SCORES 512 /* and at most so many heads times keys */

/* Scores are kept in units of log2; below this nothing has been seen. */
#define MLA_UNSEEN (-1e30f)

/* A run of one request's new tokens, for expanded and wide tasks. */
typedef struct mla_piece {
    uint32_t req, tok0, num;
    uint32_t wide; /* in f64 */
    uint64_t cost;
} mla_piece;

/* A run of one request's new tokens inside a wave of absorbed work. */
typedef struct mla_segment {
    uint32_t req, tok0, num;
    uint32_t splits, split_len;
    uint32_t first_task;  /* tiles x splits from here */
    uint32_t first_token; /* of the wave's token numbering */
    uint32_t first_row;   /* of the wave's partial rows */
} mla_segment;

typedef struct mla_wave {
    uint32_t first_segment, num_segments;
    uint32_t num_tasks, num_tokens;
} mla_wave;

typedef struct mla_kernels mla_kernels;

/* Bytes of one worker's scratch, part by part. */
typedef struct mla_scratch {
    size_t panel, out, stats, keys, values, scores, probs, block, rows;
} mla_scratch;

struct attn_builder {
    attn_mla_layer layer;
    attn_limits limits;
    const mla_kernels *kernels;
    cpu_type q_type, kv_type, out_type, w_type;
    uint32_t heads, dn, dr, dv, c;
    uint32_t epc;         /* elements per cell */
    uint32_t query_cells; /* absorbed query row: latent, rope, what rounding lost */
    uint32_t key_tile;    /* keys of one pass of the core */
    uint32_t direct;      /* cache rows are cells already */
    uint32_t expand_from;
    uint32_t wide_keys; /* requests of at most so many keys run in f64 */
    uint32_t max_pieces, max_segments, wave_rows, wave_tokens;
    mla_scratch scratch;
    size_t scratch_bytes, plan_bytes, query_bytes, partial_bytes;
    /* Bound memory. */
    mla_piece *pieces;
    mla_segment *segments;
    mla_wave *waves;
    uint32_t *wave_query; /* [tokens, H, query_cells] */
    float *partial_out;   /* [rows, c] */
    float *partial_stats; /* [rows, 2]: maximum, sum */
    char *workers;        /* [num_threads][scratch_bytes] */
    uint32_t num_pieces, num_waves;
    const attn_batch *batch;
    const attn_kv_group *group;
};

/* Packed weights of a layer, inside the caller's memory: one block per head
 * and form. Cells of B, see gemm_cells.h. */
struct attn_prepared {
    const uint32_t *uk_expand; /* k: c, columns: dn */
    const uint32_t *uk_absorb; /* k: dn, columns: c */
    const uint32_t *uv;        /* k: c, columns: dv */
};

/* What one forward works on. */
typedef struct mla_step {
    const attn_builder *b;
    const attn_mla_forward *args;
    const mla_wave *wave;
    float kv_scale;
} mla_step;

/* The hot loops at one level. task and scratch are those of parallel_for. */
struct mla_kernels {
    uint32_t epc;
    void (*expanded)(const mla_step *step, uint32_t task, char *scratch);
    void (*query)(const mla_step *step, uint32_t task, char *scratch);
    void (*attend)(const mla_step *step, uint32_t task, char *scratch);
    void (*output)(const mla_step *step, uint32_t task, char *scratch);
    /* One cache row: n elements of q_type to kv_type, divided by scale. */
    void (*store_row)(const attn_builder *b, void *dst, const void *src, size_t n, float scale);
};

extern const mla_kernels mla_kernels_generic;
extern const mla_kernels mla_kernels_avx2;
extern const mla_kernels mla_kernels_avx512;
extern const mla_kernels mla_kernels_avx512bf16;

/* mla_plugin.c: chosen by the options. */
typedef struct mla_options {
    cpu_isa isa;
    uint32_t expand_from; /* 0: by count */
    const attn_host *host;
} mla_options;
extern mla_options mla_opts;

/* mla_layer.c */
attn_status mla_check(const attn_backend *self, const char *arch, const attn_layer *layer,
                      attn_reasons *reasons);
attn_status mla_kv_spec(const attn_backend *self, const attn_layer *layer, attn_kv_spec *spec);
extern const attn_caps mla_caps;

/* mla_builder.c */
attn_status mla_builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
                               const attn_limits *limits, attn_builder **builder, attn_error *err);
attn_status mla_workspace(const attn_builder *b, attn_workspace *need);
attn_status mla_bind(attn_builder *b, const attn_binding *memory, attn_error *err);
void mla_builder_destroy(attn_builder *b);

/* mla_prepare.c */
attn_status mla_layer_bytes(const attn_builder *b, attn_workspace *need);
attn_status mla_layer_prepare(attn_builder *b, const attn_head *constants,
                              const attn_binding *memory, const attn_stream *stream,
                              attn_prepared **layer, attn_error *err);

/* mla_plan.c */
attn_status mla_build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
                      const attn_stream *stream, attn_error *err);
uint32_t mla_splits(uint32_t seq_len, uint32_t *split_len);

/* mla_run.c */
attn_status mla_update_cache(attn_builder *b, const attn_head *args, attn_error *err);
attn_status mla_forward(attn_builder *b, const attn_head *args, attn_error *err);

static inline uint32_t
mla_query_len(const attn_batch *batch, uint32_t r)
{
    return (uint32_t)(batch->query_start_loc[r + 1] - batch->query_start_loc[r]);
}

static inline int
mla_causal(const attn_builder *b, uint32_t r)
{
    return b->batch->causal ? b->batch->causal[r] != 0 : b->layer.causal != 0;
}

/* Keys that new token i of request r sees. */
static inline int32_t
mla_limit(const attn_builder *b, uint32_t r, uint32_t i)
{
    const int32_t len = b->batch->seq_lens[r];
    if (!mla_causal(b, r))
        return len;
    return len - (int32_t)mla_query_len(b->batch, r) + (int32_t)i + 1;
}

#endif /* ATTN_MLA_CPU_MLA_H */
