/* SPDX-License-Identifier: Apache-2.0 */
/* flash.h - inside of flash.cpu: the layer's shape, the plan of a step, and the kernels.
 *
 * The way of a step: plan.c cuts each request into blocks of query tokens (and, for few tokens
 * and many keys, into splits of keys); forward.c runs a kernel once per block and KV head
 * and then lets it join the splits. What a block computes depends on its own request only. */
#ifndef FLASH_CPU_FLASH_H
#define FLASH_CPU_FLASH_H

#include "common/cpu/isa.h"
#include "common/cpu/number.h"
#include <attn/plugin.h>

#define FLASH_MAX_DIM 256
#define FLASH_MAX_SPLITS 64
#define FLASH_ALIGN 64
#define FLASH_WIDE_KEYS 384   /* requests of f32 layers with at most so many run in f64 */
#define FLASH_WIDE_PAD 32     /* doubles beyond them: steps are whole */
#define FLASH_DECODE_ROWS 16  /* a block of at most so many rows reads the cache in place */
#define FLASH_DECODE_HEADS 16 /* most KV heads of a decode task */
#define FLASH_STREAM_KEYS 512 /* most keys of a page that are streamed at a time */

/* Values of the plugin's options. */
typedef struct flash_options {
    cpu_isa isa;
    uint32_t query_rows; /* wanted rows (tokens x heads of a group) of a block */
    uint32_t split_keys; /* least keys of a split */
    uint32_t max_splits;
    int streams; /* 1: long pages are streamed: kernel_stream.h */
} flash_options;

/* What is fixed for a layer under one kernel. A word is what a matrix operand is made of: one
 * f32, or two neighbours in bf16. */
typedef struct flash_shape {
    uint32_t heads, kv_heads, group; /* group = heads / kv_heads */
    uint32_t dim, dim_v;
    uint32_t block_size;
    uint32_t words;        /* of a query or key row */
    uint32_t pitch;        /* the same in whole vectors */
    uint32_t cols;         /* dim_v rounded up to whole vectors */
    uint32_t key_tile;     /* keys packed at a time */
    uint32_t decode_tile;  /* keys read in place at a time */
    uint32_t tokens;       /* query tokens of a block */
    uint32_t rows;         /* tokens * group */
    uint32_t head_by_head; /* 1: so pages are read best */
    uint32_t streams;      /* 1: and then streamed */
    uint32_t causal;
    int32_t window_left, window_right; /* -1: no limit */
    float scale, softcap;
    cpu_type q_type, kv_type, out_type;
} flash_shape;

/* Byte offsets of a worker's scratch. */
typedef struct flash_scratch {
    size_t q, k, v, s, p, o, max, sum, span, key_rows, value_rows, staging, zero, wide, bytes;
} flash_scratch;

/* A piece of work, for each KV head: query tokens first..first+count-1 of a request against keys
 * lo..hi-1. partial >= 0: the index of its first row of partial results. */
typedef struct flash_block {
    uint32_t req;
    uint32_t first, count;
    int32_t lo, hi;
    int32_t partial;
    uint32_t cost;
} flash_block;

/* A request whose keys are split: its blocks' partial results are joined. */
typedef struct flash_merge {
    uint32_t req;
    uint32_t splits;
    uint32_t partial; /* of split 0; split s stands count * heads rows further */
} flash_merge;

/* Constants of a layer: what layer_prepare makes. */
struct attn_prepared {
    const float *sinks;  /* [heads] or NULL */
    const float *slopes; /* [heads] or NULL */
};

/* A tensor's address and outer strides in bytes. */
typedef struct flash_view {
    char *data;
    int64_t stride[3];
} flash_view;

/* All a kernel needs of one forward. Written by forward, read by every task. */
typedef struct flash_job {
    const flash_shape *shape;
    const flash_scratch *layout;
    flash_view q, k, v, out, lse; /* lse.data NULL: not wanted */
    flash_view k_scale, v_scale;  /* data NULL: 1 */
    const float *sinks, *slopes;
    const int32_t *query_start_loc, *seq_lens, *block_table;
    const uint8_t *causal;
    const int32_t *ranges; /* [R, num_ranges, 2] */
    int64_t block_table_stride;
    uint32_t num_ranges;
    uint32_t cross;      /* only the length masks */
    float *partial_out;  /* [.., cols] sums before division */
    float *partial_stat; /* [.., 2] base-2 maximum, sum */
} flash_job;

/* A decode block's heads kv_head..kv_head+count-1. next: what this worker probably gets next (NULL:
 * unknown); the first keys of its heads from next_head on are asked of memory early. */
typedef struct flash_task {
    const flash_block *block, *next;
    uint32_t kv_head, count, next_head;
} flash_task;

typedef void (*flash_run)(const flash_job *job, const flash_block *block, uint32_t kv_head,
                          char *scratch);

typedef void (*flash_decode)(const flash_job *job, const flash_task *task, char *scratch);

typedef void (*flash_join)(const flash_job *job, const flash_merge *merge, uint32_t kv_head);

/* One compiled kernel. */
typedef struct flash_kernel {
    flash_run run;
    flash_decode decode; /* for blocks of few rows */
    flash_join merge;
    uint32_t lanes;     /* of a vector */
    uint32_t row_tile;  /* rows computed together */
    uint32_t col_tile;  /* columns of a packed panel, in words */
    uint32_t word_size; /* elements of a word: 1 (f32) or 2 (bf16) */
} flash_kernel;

extern const flash_kernel flash_f32_generic, flash_f32_avx2, flash_f32_avx512;
extern const flash_kernel flash_bf16_avx512, flash_bf16_vbmi, flash_bf16_amx;

/* The kernel of this level for these types. */
const flash_kernel *flash_kernel_pick(cpu_isa isa, cpu_type q, cpu_type kv);

/* Fills what the kernel and the options decide: words .. rows, and the scratch layout. */
void flash_shape_plan(flash_shape *shape, const flash_kernel *kernel, const flash_options *options);
void flash_scratch_plan(flash_scratch *layout, const flash_shape *shape,
                        const flash_kernel *kernel);

/* KV heads that a decode task can hold. */
uint32_t flash_decode_heads(const flash_shape *shape);

/* The layer's own fields of a shape. */
void flash_shape_take(flash_shape *shape, const attn_flash_layer *layer);

/* The page size that the layer is read best with, whatever it has. */
uint32_t flash_preferred_page(const flash_shape *shape, const flash_kernel *kernel,
                              const flash_options *options);

/* Keys that query token i of a request sees: [*lo, *hi). */
void flash_visible(const flash_job *job, uint32_t req, uint32_t i, int32_t *lo, int32_t *hi);

/* Whether a request of this length runs in f64. */
int flash_is_wide(const flash_shape *shape, int32_t seq_len);

/* Splits of a request with this many query tokens and keys; depends on nothing else. */
uint32_t flash_splits(const flash_shape *shape, const flash_options *options, uint32_t query_len,
                      uint32_t keys);

/* Rows of partial results and blocks that steps within the limits can need. */
uint64_t flash_max_partials(const flash_shape *shape, const flash_options *options,
                            const attn_limits *limits);
uint64_t flash_max_blocks(const flash_shape *shape, const flash_options *options,
                          const attn_limits *limits);

/* Lays out: where the next `bytes` begin, from *at on, a multiple of FLASH_ALIGN that moves past
 * them. */
size_t flash_take(size_t *at, size_t bytes);

/* The backend's operations, and what plugin.c holds for them. */
extern const attn_op flash_op;
const attn_host *flash_host(void);
const flash_options *flash_get_options(void);

attn_status flash_check(const attn_backend *self, const char *arch, const attn_layer *layer,
                        attn_reasons *reasons);
attn_status flash_kv_spec(const attn_backend *self, const attn_layer *layer, attn_kv_spec *spec);
attn_status flash_build(attn_builder *builder, const attn_batch *batch, const attn_kv_group *group,
                        const attn_stream *stream, attn_error *err);
attn_status flash_update_cache(attn_builder *builder, const attn_head *args, attn_error *err);
attn_status flash_forward(attn_builder *builder, const attn_head *args, attn_error *err);

struct attn_builder {
    flash_shape shape;
    flash_scratch layout;
    flash_options options;
    attn_limits limits;
    const flash_kernel *kernel;
    uint64_t features;
    uint64_t max_blocks, max_partials;
    /* in the bound workspace */
    char *scratch; /* [num_threads] */
    flash_block *blocks, *sorted;
    flash_merge *merges; /* [max_reqs] */
    float *partial_out, *partial_stat;
    /* of the step that was built last */
    flash_job job;
    uint32_t num_blocks, num_merges, num_tokens, built;
    uint32_t decode_heads; /* of a task */
    const int64_t *slot_mapping;
    uint32_t num_cache_blocks;
};

#endif
