/* SPDX-License-Identifier: Apache-2.0 */
#include "flash/cpu/flash.h"

const flash_kernel *
flash_kernel_pick(cpu_isa isa, cpu_type q, cpu_type kv)
{
#if defined(__x86_64__)
    const int halves = q == CPU_BF16 && kv != CPU_F32 && kv != CPU_F16;
    if (isa >= CPU_ISA_AMX && halves)
        return &flash_bf16_amx;
    if (isa >= CPU_ISA_AVX512VBMI && halves)
        return &flash_bf16_vbmi;
    if (isa >= CPU_ISA_AVX512BF16 && halves)
        return &flash_bf16_avx512;
    if (isa >= CPU_ISA_AVX512)
        return &flash_f32_avx512;
    if (isa >= CPU_ISA_AVX2)
        return &flash_f32_avx2;
#else
    (void)isa, (void)q, (void)kv;
#endif
    return &flash_f32_generic;
}

/* A run costs the processor's stream a start; shorter ones are better asked for. */
#define LEAST_RUN (256u << 10)
#define PREFERRED_RUN (1u << 20)

static uint32_t
round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

uint32_t
flash_decode_heads(const flash_shape *shape)
{
    return shape->kv_heads < FLASH_DECODE_HEADS ? shape->kv_heads : FLASH_DECODE_HEADS;
}

void
flash_shape_take(flash_shape *shape, const attn_flash_layer *layer)
{
    *shape = (flash_shape){.heads = layer->num_heads,
                           .kv_heads = layer->num_kv_heads,
                           .dim = layer->head_dim,
                           .dim_v = layer->head_dim_v,
                           .block_size = layer->block_size,
                           .causal = layer->causal,
                           .window_left = layer->window_left,
                           .window_right = layer->window_right,
                           .scale = layer->scale,
                           .softcap = layer->softcap,
                           .q_type = cpu_type_of(layer->q_dtype),
                           .kv_type = cpu_type_of(layer->kv_dtype),
                           .out_type = cpu_type_of(layer->out_dtype)};
}

/* Long runs are read better, also where only requests read them. */
static int
wants_runs(const flash_shape *s, const flash_kernel *kernel, const flash_options *options)
{
    return options->streams && kernel->word_size == 2 && s->kv_type == CPU_BF16;
}

static int
can_stream(const flash_shape *s)
{
    return (s->dim == 64 || s->dim == 128) && (s->dim_v == 64 || s->dim_v == 128);
}

/* Bytes of the keys of a page, a run of memory; of the heads that a task may hold, not of those
 * that it does, so that no other request decides how this one is read. */
static uint64_t
run_bytes(const flash_shape *shape, uint32_t page)
{
    return (uint64_t)flash_decode_heads(shape) * shape->dim * cpu_type_size(shape->kv_type) * page;
}

uint32_t
flash_preferred_page(const flash_shape *shape, const flash_kernel *kernel,
                     const flash_options *options)
{
    uint32_t page = 64;
    if (wants_runs(shape, kernel, options) && run_bytes(shape, FLASH_STREAM_KEYS) >= LEAST_RUN)
        while (page < FLASH_STREAM_KEYS && run_bytes(shape, page) < PREFERRED_RUN)
            page *= 2;
    return page;
}

/* A tile of all heads of a task is 128 KiB: it, the next one and what the other thread of the core
 * holds share a second-level cache of 1 MiB. A tile costs each head its sums, read and written, so
 * that few keys are dear. */
static uint32_t
decode_tile(const flash_shape *shape)
{
    const uint32_t size = (uint32_t)cpu_type_size(shape->kv_type);
    const uint32_t key = flash_decode_heads(shape) * (shape->dim + shape->dim_v) * size;
    return key <= 2048 ? 64 : key <= 4096 ? 32 : 16;
}

void
flash_shape_plan(flash_shape *shape, const flash_kernel *kernel, const flash_options *options)
{
    shape->group = shape->heads / shape->kv_heads;
    shape->words = shape->dim / kernel->word_size;
    shape->pitch = round_up(shape->words, kernel->lanes);
    shape->cols = round_up(shape->dim_v, kernel->lanes);
    /* a packed tile of keys and values stays within a quarter of an L2 of 1 MiB each */
    const uint32_t widest = shape->dim > shape->dim_v ? shape->dim : shape->dim_v;
    shape->key_tile = widest / kernel->word_size <= 128 ? 256 : 128;
    shape->decode_tile = decode_tile(shape);
    shape->head_by_head =
        wants_runs(shape, kernel, options) && run_bytes(shape, shape->block_size) >= LEAST_RUN;
    shape->streams = shape->head_by_head && can_stream(shape);
    shape->tokens = options->query_rows / shape->group;
    if (shape->tokens == 0)
        shape->tokens = 1;
    shape->rows = shape->tokens * shape->group;
}

size_t
flash_take(size_t *at, size_t bytes)
{
    const size_t here = *at;
    *at += (bytes + FLASH_ALIGN - 1) / FLASH_ALIGN * FLASH_ALIGN;
    return here;
}

int
flash_is_wide(const flash_shape *shape, int32_t seq_len)
{
    return shape->q_type == CPU_F32 && shape->out_type == CPU_F32 && seq_len <= FLASH_WIDE_KEYS;
}

/* Keys, values, and four rows of scores, queries and results: see kernel_wide.h. */
static size_t
wide_doubles(const flash_shape *shape)
{
    const size_t keys = FLASH_WIDE_KEYS + FLASH_WIDE_PAD, cols = shape->dim_v + FLASH_WIDE_PAD;
    return keys * shape->dim + FLASH_WIDE_KEYS * cols + 4 * (keys + shape->dim + cols);
}

void
flash_scratch_plan(flash_scratch *layout, const flash_shape *shape, const flash_kernel *kernel)
{
    /* a decode block works on rows in fours, others on whole row tiles */
    const uint32_t least = FLASH_DECODE_ROWS * flash_decode_heads(shape);
    const size_t rows = (shape->rows > least ? shape->rows : least) + kernel->row_tile + 3,
                 tile = shape->key_tile, f = sizeof(float);
    const size_t value_cols = round_up(shape->dim_v, kernel->col_tile);
    size_t at = 0;
    layout->q = flash_take(&at, rows * shape->pitch * f);
    layout->k = flash_take(&at, tile * shape->pitch * f);
    layout->v = flash_take(&at, tile / kernel->word_size * value_cols * f);
    const size_t s = kernel->row_tile * tile;
    layout->s = flash_take(&at, (s > 4 * FLASH_STREAM_KEYS ? s : 4 * FLASH_STREAM_KEYS) * f);
    /* streamed pieces keep the weights of all rows */
    const size_t streamed = kernel->word_size == 2 ? FLASH_STREAM_KEYS : 0;
    const size_t least_p = rows * streamed / 2, p = kernel->row_tile * tile / kernel->word_size;
    layout->p = flash_take(&at, (p > least_p ? p : least_p) * f);
    layout->o = flash_take(&at, rows * shape->cols * f);
    layout->max = flash_take(&at, rows * f);
    layout->sum = flash_take(&at, rows * f);
    layout->span = flash_take(&at, shape->tokens * 2 * sizeof(int32_t));
    layout->key_rows = flash_take(&at, tile * sizeof(void *));
    layout->value_rows = flash_take(&at, tile * sizeof(void *));
    layout->staging = flash_take(&at, (size_t)kernel->lanes * FLASH_MAX_DIM * f);
    layout->zero = flash_take(&at, FLASH_MAX_DIM * f);
    layout->wide =
        flash_take(&at, flash_is_wide(shape, 1) ? wide_doubles(shape) * sizeof(double) : 0);
    layout->bytes = at;
}

static int32_t
clamp(int64_t x, int32_t hi)
{
    return x < 0 ? 0 : x > hi ? hi : (int32_t)x;
}

void
flash_visible(const flash_job *job, uint32_t req, uint32_t i, int32_t *lo, int32_t *hi)
{
    const flash_shape *shape = job->shape;
    const int32_t *start = job->query_start_loc + req;
    const int32_t keys = job->seq_lens[req];
    *lo = 0;
    *hi = keys;
    if (job->cross)
        return;
    const int64_t p = (int64_t)keys - (start[1] - start[0]) + i;
    if (shape->window_left >= 0)
        *lo = clamp(p - shape->window_left, keys);
    if (shape->window_right >= 0)
        *hi = clamp(p + shape->window_right + 1, keys);
    const int causal = job->causal ? job->causal[req] : (int)shape->causal;
    if (causal && p + 1 < *hi)
        *hi = (int32_t)p + 1;
    const int32_t *range = job->ranges + 2 * (size_t)req * job->num_ranges;
    for (uint32_t n = 0; n < job->num_ranges; n++, range += 2)
        if (range[0] >= 0 && range[0] <= p && p <= range[1]) {
            *lo = range[0] < *lo ? range[0] : *lo;
            *hi = range[1] < *hi ? *hi : clamp((int64_t)range[1] + 1, keys);
        }
}

uint32_t
flash_splits(const flash_shape *shape, const flash_options *options, uint32_t query_len,
             uint32_t keys)
{
    if (query_len > 1 && query_len * shape->group > FLASH_DECODE_ROWS)
        return 1;
    if (query_len > shape->tokens)
        return 1;
    const uint32_t n = keys / options->split_keys;
    return n < 1 ? 1 : n > options->max_splits ? options->max_splits : n;
}

static uint64_t
split_tokens(const flash_shape *shape, const attn_limits *limits)
{
    const uint64_t each = shape->group <= FLASH_DECODE_ROWS ? FLASH_DECODE_ROWS / shape->group : 1;
    const uint64_t all = each * limits->max_reqs;
    return all < limits->max_tokens ? all : limits->max_tokens;
}

uint64_t
flash_max_partials(const flash_shape *shape, const flash_options *options,
                   const attn_limits *limits)
{
    const uint32_t splits = flash_splits(shape, options, 1, limits->max_seq_len);
    return splits == 1 ? 0 : split_tokens(shape, limits) * shape->heads * splits;
}

uint64_t
flash_max_blocks(const flash_shape *shape, const flash_options *options, const attn_limits *limits)
{
    const uint32_t splits = flash_splits(shape, options, 1, limits->max_seq_len);
    return limits->max_tokens / shape->tokens + (uint64_t)limits->max_reqs * splits;
}
