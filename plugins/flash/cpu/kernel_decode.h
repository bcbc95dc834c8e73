/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_decode.h - part of kernel.h: few query rows against many keys, bound by memory.
 *
 * Nothing is packed: a key row is read where it lies and meets up to four query rows. A group is
 * VF_LANES scores, rows x keys: lane = row * keys_of(rows) + key. The running maximum and sum
 * are kept per lane in the same order, so that the softmax never leaves it; the sum of a row's
 * lanes is taken once, at the end. Beside each read stands a request for what the next tile reads:
 * kernel_fetch.h. */
#ifndef FLASH_CPU_KERNEL_DECODE_H
#define FLASH_CPU_KERNEL_DECODE_H

#include "flash/cpu/kernel_fetch.h"

/* Up to four query rows at work. */
typedef struct decode_chunk {
    uint32_t row, rows;    /* first, and how many are real */
    float *q, *o, *p;      /* p: weights of the tile */
    float scale[VF_LANES]; /* per lane, of the old sums */
    vf max, sum;           /* per lane; max is equal within a row */
    vf slope;              /* per lane, for ALiBi */
    int32_t lo[VF_LANES], hi[VF_LANES], position[VF_LANES]; /* per lane: what the row sees */
    int32_t all_lo, all_hi;                                 /* keys that every row sees */
} decode_chunk;

CPU_INLINE const void *
row_at(const void *row, size_t head)
{
    return (const char *)row + head;
}

/* One row: each key row is read to its end before the next, as the cache lies. */
CPU_INLINE vf
decode_scores_single(const cpu_type t, const flash_shape *shape, const float *q,
                     const void *const *keys, size_t head, fetch *next)
{
    const size_t line = (size_t)VF_LANES * WORD_SIZE * cpu_type_size(t);
    const uint32_t words = shape->words;
    vf acc[VF_LANES];
    CPU_UNROLL
    for (int k = 0; k < VF_LANES; k++) {
        const void *row = row_at(keys[k], head);
        vf sum = vf_zero();
        uint32_t w = 0;
#ifdef WORDS_TWO
        for (; WORDS_TWO(t) && w + 2 * VF_LANES <= words; w += 2 * VF_LANES) {
            vf y[2];
            words_two(t, row, w, y);
            fetch_at(next, 0, 2 * line);
            fetch_step(next, 2 * line);
            sum = word_dot(vf_load(q + w), y[0], sum);
            sum = word_dot(vf_load(q + w + VF_LANES), y[1], sum);
        }
#endif
        for (; w + VF_LANES <= words; w += VF_LANES) {
            sum = word_dot(vf_load(q + w), words_load(t, row, w, VF_LANES), sum);
            fetch_at(next, 0, line);
            fetch_step(next, line);
        }
        if (w < words) {
            sum = word_dot(vf_load(q + w), words_load(t, row, w, words - w), sum);
            fetch_at(next, 0, line);
            fetch_step(next, line);
        }
        acc[k] = sum;
    }
    return vf_reduce(acc);
}

/* count keys' words w..w+n-1, n <= VF_LANES, against the rows. */
CPU_INLINE void
decode_step(const cpu_type t, const int rows, const float *q, size_t pitch, const void *const *row,
            uint32_t w, uint32_t n, vf *acc, fetch *next)
{
    const int count = VF_LANES / rows;
    const size_t bytes = (size_t)(VF_LANES * WORD_SIZE) * cpu_type_size(t);
    vf x[4];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        x[r] = vf_load(q + (size_t)r * pitch + w);
    CPU_UNROLL
    for (int k = 0; k < count; k++) {
        const vf y = words_load(t, row[k], w, n);
        fetch_at(next, (size_t)k * bytes, bytes);
        CPU_UNROLL
        for (int r = 0; r < rows; r++)
            acc[r * count + k] = word_dot(x[r], y, acc[r * count + k]);
    }
    fetch_step(next, (size_t)count * bytes);
}

#ifdef WORDS_TWO
/* The same for 2 VF_LANES words. */
CPU_INLINE void
decode_step_two(const cpu_type t, const int rows, const float *q, size_t pitch,
                const void *const *row, uint32_t w, vf *acc, fetch *next)
{
    const int count = VF_LANES / rows;
    const size_t bytes = (size_t)(2 * VF_LANES * WORD_SIZE) * cpu_type_size(t);
    CPU_UNROLL
    for (int k = 0; k < count; k++) {
        vf y[2];
        words_two(t, row[k], w, y);
        fetch_at(next, (size_t)k * bytes, bytes);
        CPU_UNROLL
        for (int i = 0; i < 2; i++) {
            CPU_UNROLL
            for (int r = 0; r < rows; r++)
                acc[r * count + k] =
                    word_dot(vf_load(q + (size_t)r * pitch + w + (size_t)(i * VF_LANES)), y[i],
                             acc[r * count + k]);
        }
    }
    fetch_step(next, (size_t)count * bytes);
}
#endif

/* One group of scores: rows x keys rows[0..], each `head` bytes further. */
CPU_INLINE vf
decode_scores(const cpu_type t, const int rows, const flash_shape *shape, const float *q,
              const void *const *keys, size_t head, fetch *next)
{
    const int count = VF_LANES / rows;
    const uint32_t words = shape->words, pitch = shape->pitch;
    if (rows == 1)
        return decode_scores_single(t, shape, q, keys, head, next);
    vf acc[VF_LANES];
    const void *row[VF_LANES];
    CPU_UNROLL
    for (int i = 0; i < VF_LANES; i++)
        acc[i] = vf_zero();
    CPU_UNROLL
    for (int k = 0; k < count; k++)
        row[k] = row_at(keys[k], head);
    uint32_t w = 0;
#ifdef WORDS_TWO
    for (; WORDS_TWO(t) && w + 2 * VF_LANES <= words; w += 2 * VF_LANES)
        decode_step_two(t, rows, q, pitch, row, w, acc, next);
#endif
    for (; w + VF_LANES <= words; w += VF_LANES) {
        decode_step(t, rows, q, pitch, row, w, VF_LANES, acc, next);
    }
    if (w < words)
        decode_step(t, rows, q, pitch, row, w, words - w, acc, next);
    return vf_reduce(acc);
}

/* Positions less that of `key`: f32 has all whole numbers only up to 2^24. */
CPU_INLINE vf
decode_from(const int32_t *position, int32_t key)
{
    float away[VF_LANES];
    for (int i = 0; i < VF_LANES; i++)
        away[i] = (float)(position[i] - key);
    return vf_load(away);
}

/* Softcap, ALiBi and the mask on a group whose first key is `key`. */
CPU_INLINE vf
decode_transform(const work *w, const decode_chunk *c, const int rows, int32_t key, vf x)
{
    const int count = VF_LANES / rows;
    const float softcap = w->shape->softcap;
    const vf at = vf_lane_mod(count);
    if (w->special) {
        x = vf_mul(x, vf_set1(w->scale));
        if (softcap > 0)
            x = vf_mul(vf_tanh(vf_mul(x, vf_set1(1 / softcap))), vf_set1(softcap));
        if (w->job->slopes)
            x = vf_sub(x, vf_mul(c->slope, vf_abs(vf_sub(at, decode_from(c->position, key)))));
        x = vf_mul(x, vf_set1(CPU_LOG2E));
    }
    if (key >= c->all_lo && key + count <= c->all_hi)
        return x;
    x = vf_lt_select(at, decode_from(c->lo, key), vf_set1(-INFINITY), x);
    return vf_lt_select(at, decode_from(c->hi, key), x, vf_set1(-INFINITY));
}

CPU_INLINE vf
decode_row_max(const int rows, vf max)
{
    CPU_UNROLL
    for (int step = 1; step < VF_LANES / rows; step *= 2)
        max = vf_max(max, vf_swap(max, step));
    return max;
}

/* Scores of the tile into s; returns their maximum per row. */
CPU_INLINE vf
decode_keys(const cpu_type t, const int rows, const work *w, const decode_chunk *c, fetch *next)
{
    const int count = VF_LANES / rows;
    vf max = vf_set1(-INFINITY);
    for (int k = 0, g = 0; k < w->tile_keys; k += count, g++) {
        vf x = decode_scores(t, rows, w->shape, c->q, w->key_rows + k, w->key_head, next);
        if (w->special || w->tile_lo + k < c->all_lo || w->tile_lo + k + count > c->all_hi)
            x = decode_transform(w, c, rows, w->tile_lo + k, x);
        max = vf_max(x, max);
        vf_store(w->s + g * VF_LANES, x);
    }
    return decode_row_max(rows, max);
}

/* Softcap and ALiBi on scores that are in s; returns the maximum per lane. */
CPU_INLINE vf
decode_again(const int rows, const work *w, const decode_chunk *c)
{
    const int count = VF_LANES / rows;
    vf max = vf_set1(-INFINITY);
    for (int k = 0, g = 0; k < w->tile_keys; k += count, g++) {
        const vf x = decode_transform(w, c, rows, w->tile_lo + k, vf_load(w->s + g * VF_LANES));
        max = vf_max(x, max);
        vf_store(w->s + g * VF_LANES, x);
    }
    return max;
}

/* Scores into weights; sets the scale of what was summed before. */
CPU_INLINE void
decode_weights(const int rows, const work *w, decode_chunk *c, vf max)
{
    const int count = VF_LANES / rows, groups = (w->tile_keys + count - 1) / count;
    const vf low = vf_set1(-INFINITY), mul = vf_set1(w->scale2);
    const vf top = vf_max(vf_mul(max, mul), c->max);
    const vf shift = vf_lt_select(low, top, top, vf_zero());
    const vf scale = vf_exp2(vf_sub(c->max, shift)), sub = vf_neg(shift);
    vf sum = vf_mul(c->sum, scale);
    for (int g = 0; g < groups; g++) {
        const vf e = WEIGHT_EXP(vf_fma(vf_load(w->s + g * VF_LANES), mul, sub));
        sum = vf_add(sum, e);
        weight_store(c->p, g, e);
    }
    c->max = top;
    c->sum = sum;
    vf_store(c->scale, scale);
}

/* o = o * scale + weights . values, vecs vectors from column col on; of them `left` columns are
 * real, or all (left 0). */
CPU_INLINE void
decode_panel(const cpu_type t, const int rows, const int vecs, const work *w, const decode_chunk *c,
             uint32_t col, const uint32_t left, fetch *next)
{
    const int count = VF_LANES / rows, keys = w->tile_keys;
    const uint32_t cols = w->shape->cols, real = left ? left : (uint32_t)(vecs * VF_LANES);
    const size_t line = (size_t)(WORD_SIZE * vecs * VF_LANES) * cpu_type_size(t);
    const size_t part = line / (size_t)rows; /* of the fetches, beside each row */
    const size_t head = w->value_head + col * cpu_type_size(t);
    const void *const *at = w->value_rows;
    const float *weights = c->p;
    vf acc[4][GEMM_VECS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int n = 0; n < vecs; n++)
            acc[r][n] = vf_mul(vf_load(c->o + (size_t)r * cols + col + (size_t)(n * VF_LANES)),
                               vf_bcast(c->scale + r * count));
    }
    for (int k = 0; k < keys; k += WORD_SIZE) {
        vf b[GEMM_VECS];
        const float *p = weights + (k / count * VF_LANES + k % count) / WORD_SIZE;
        values_load(t, vecs, at + k, head, real, b);
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            fetch_at(next, (size_t)r * part, part);
            const vf x = vf_bcast(p + r * count / WORD_SIZE);
            CPU_UNROLL
            for (int n = 0; n < vecs; n++)
                acc[r][n] = word_dot(x, b[n], acc[r][n]);
        }
        fetch_step(next, line);
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int n = 0; n < vecs; n++)
            vf_store(c->o + (size_t)r * cols + col + (size_t)(n * VF_LANES), acc[r][n]);
    }
}

CPU_INLINE void
decode_values(const cpu_type t, const int rows, const work *w, const decode_chunk *c, fetch *next)
{
    for (uint32_t col = 0; col < w->shape->cols; col += GEMM_COLS) {
        const uint32_t vecs = (w->shape->cols - col) / VF_LANES, left = w->shape->dim_v - col;
        if (left >= GEMM_COLS)
            decode_panel(t, rows, GEMM_VECS, w, c, col, 0, next);
        else if (vecs >= GEMM_VECS)
            decode_panel(t, rows, GEMM_VECS, w, c, col, left, next);
        else if (vecs == 1)
            decode_panel(t, rows, 1, w, c, col, left, next);
        else if (vecs == 2)
            decode_panel(t, rows, GEMM_VECS < 2 ? GEMM_VECS : 2, w, c, col, left, next);
        else
            decode_panel(t, rows, GEMM_VECS < 3 ? GEMM_VECS : 3, w, c, col, left, next);
    }
}

/* Values that were hidden from the product, to rows that see them. */
static void
decode_hidden(const work *w, const decode_chunk *c, int rows)
{
    const int32_t count = VF_LANES / rows;
    for (int32_t i = 0; i < w->tile_keys; i++)
        for (uint32_t r = 0; r < c->rows; r++)
            if (hidden_sees(w, c->row + r, i))
                hidden_add(w, i,
                           hidden_weight(c->p, (size_t)(i / count * VF_LANES + i % count) +
                                                   r * (size_t)count),
                           values_place, c->o + (size_t)r * w->shape->cols);
}

CPU_INLINE void
decode_tile(const cpu_type t, const int rows, const work *w, decode_chunk *c, fetch *next)
{
    const vf max = decode_keys(t, rows, w, c, next);
    decode_weights(rows, w, c, max);
    decode_values(t, rows, w, c, next);
    if (w->hidden)
        decode_hidden(w, c, rows);
}

/* A function each, so that registers are those of one loop only. */
#define DECODE_TILE(t, r)                                                                  \
    static __attribute__((noinline)) void decode_##t##_##r(const work *w, decode_chunk *c, \
                                                           fetch *next)                    \
    {                                                                                      \
        decode_tile(t, r, w, c, next);                                                     \
    }
#define DECODE_TILES(t) DECODE_TILE(t, 1) DECODE_TILE(t, 2) DECODE_TILE(t, 4)
DECODE_TILES(CPU_F32)
DECODE_TILES(CPU_F16)
DECODE_TILES(CPU_BF16)
DECODE_TILES(CPU_E4M3)
DECODE_TILES(CPU_E5M2)

#define DECODE_CASE(t)                                      \
    case t:                                                 \
        if (c->rows == 1)                                   \
            decode_##t##_1(w, c, next);                     \
        else if (c->rows == 2 && VF_LANES / 2 >= WORD_SIZE) \
            decode_##t##_2(w, c, next);                     \
        else                                                \
            decode_##t##_4(w, c, next);                     \
        break;

static void
decode_tile_any(const work *w, decode_chunk *c, fetch *next)
{
    switch (w->shape->kv_type) {
        DECODE_CASE(CPU_F32)
        DECODE_CASE(CPU_F16)
        DECODE_CASE(CPU_BF16)
        DECODE_CASE(CPU_E4M3)
        DECODE_CASE(CPU_E5M2)
    default:
        break;
    }
}

/* Lanes of a chunk: row * count + key, each row's values repeated. */
static void
chunk_open(const work *w, decode_chunk *c, uint32_t row)
{
    const flash_shape *shape = w->shape;
    float slope[VF_LANES];
    c->row = row;
    c->rows = w->rows - row < 4 ? w->rows - row : 4;
    const uint32_t count = VF_LANES / (c->rows == 3 ? 4 : c->rows);
    c->all_lo = 0;
    c->all_hi = INT32_MAX;
    for (uint32_t i = 0; i < VF_LANES; i++) {
        const uint32_t in = i / count < c->rows ? i / count : c->rows - 1;
        const uint32_t token = (row + in) / shape->group, head = (row + in) % shape->group;
        const int32_t *span = w->span + 2 * (size_t)token;
        c->lo[i] = span[0];
        c->hi[i] = span[1];
        c->position[i] = w->position0 + (int32_t)token;
        slope[i] = w->job->slopes ? w->job->slopes[w->kv_head * shape->group + head] : 0;
        c->all_lo = span[0] > c->all_lo ? span[0] : c->all_lo;
        c->all_hi = span[1] < c->all_hi ? span[1] : c->all_hi;
    }
    c->slope = vf_load(slope);
    c->max = vf_set1(-INFINITY);
    c->sum = vf_zero();
    c->q = w->q + (size_t)row * shape->pitch;
    c->o = w->o + (size_t)row * shape->cols;
}

/* Maximum, sum and columns of each row as work_finish reads them. */
static void
chunk_close(const work *w, const decode_chunk *c)
{
    float max[VF_LANES], sum[VF_LANES];
    const uint32_t count = VF_LANES / (c->rows == 3 ? 4 : c->rows);
    vf_store(max, c->max);
    vf_store(sum, c->sum);
    for (uint32_t r = 0; r < c->rows; r++) {
        float total = 0;
        for (uint32_t k = 0; k < count; k++)
            total += sum[r * count + k];
        w->max[c->row + r] = max[r * count];
        w->sum[c->row + r] = total;
        values_order(w->shape->kv_type, c->o + (size_t)r * w->shape->cols, w->shape->cols);
    }
}

#endif
