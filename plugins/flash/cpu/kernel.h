/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - the flash kernel, included once by each kernel_*.c, which sets the level by its
 * compiler flags and defines before:
 *
 *   GEMM_ROWS, GEMM_VECS      register block of the inner products
 *   WORD_TYPE, WORD_SIZE      element type of a word and how many it holds
 *   WEIGHT_EXP                vf_exp2 or vf_exp2_short
 *   KERNEL_SYMBOL
 *
 * and the functions that know what a word is:
 *
 *   word_dot(a, b, c)                 c + a . b, per lane
 *   words_of_row(t, src, dst, n)      n elements of type t into words
 *   values_of_rows(t, rows, keys, n, panels, pitch)   value rows into panels
 *   weight_store(p, v, e)             vector v of weights, as operand
 *   words_load(t, row, w, n)          n words of a row of type t from word w on
 *   values_load(t, vecs, rows, head, left, b)   a step of values: vecs vectors of columns, of
 *                                     rows that begin `head` bytes further and have `left` columns
 *   values_order(t, o, cols)          sums of values_load's columns into their order
 *
 * and, where two vectors of a row's words are cheaper to load than each,
 *
 *   WORDS_TWO(t)                      for which types
 *   words_two(t, row, w, y)           words w..w + 2 VF_LANES - 1, in an order of their own
 *   queries_order(q, words)           the words of a query row into that order
 *   values_place(t, c, cols)          where column c stands before values_order
 *
 * For each tile of keys all query rows of the block pass: scores by an inner product on packed
 * keys, the running softmax, then weights times packed values into f32 sums. */
#ifndef FLASH_CPU_KERNEL_H
#define FLASH_CPU_KERNEL_H

#include "flash/cpu/kernel_softmax.h"

#ifndef KEY_ALIGN
#define KEY_ALIGN VF_LANES /* keys: tiles and row groups come in multiples of it */
#endif
#ifndef KERNEL_ENTER
#define KERNEL_ENTER (void)0
#define KERNEL_LEAVE (void)0
#endif

/* One block at work. */
typedef struct work {
    const flash_job *job;
    const flash_shape *shape;
    const flash_block *block;
    uint32_t kv_head, rows;
    int64_t token0;      /* row of q of the block's first token */
    int32_t position0;   /* its position */
    float scale, scale2; /* with the keys' scale; in base 2 */
    int special;         /* scores need softmax_transform */
    float *q, *k, *v, *s, *p, *o, *max, *sum, *staging;
    const void **key_rows, **value_rows;
    const void *zero;
    int32_t *span; /* [count][2] visible keys of each token, inside the block's */
    int32_t tile_lo, tile_keys;
    int32_t all_lo, all_hi;      /* keys that every row sees */
    uint32_t hidden;             /* rows of values in the tile that kernel_hidden.h replaced */
    size_t key_head, value_head; /* decode: bytes from key_rows to the head */
} work;

static float
head_scale(const flash_view *view, const flash_shape *shape, uint32_t kv_head)
{
    const int fp8 = shape->kv_type == CPU_E4M3 || shape->kv_type == CPU_E5M2;
    if (!view->data || !fp8)
        return 1;
    return cpu_get(CPU_F32, view->data + (int64_t)kv_head * view->stride[0], 0);
}

static void
work_spans(work *w)
{
    const flash_block *b = w->block;
    for (uint32_t i = 0; i < b->count; i++) {
        int32_t lo, hi;
        flash_visible(w->job, b->req, b->first + i, &lo, &hi);
        w->span[2 * i] = lo = lo > b->lo ? lo : b->lo;
        w->span[2 * i + 1] = hi = hi < b->hi ? hi : b->hi;
        w->all_lo = i && w->all_lo > lo ? w->all_lo : lo;
        w->all_hi = i && w->all_hi < hi ? w->all_hi : hi;
    }
}

static void
work_queries(work *w)
{
    const flash_shape *shape = w->shape;
    const flash_view *q = &w->job->q;
    for (uint32_t r = 0; r < w->rows; r++) {
        const int64_t token = w->token0 + r / shape->group;
        const int64_t head = w->kv_head * shape->group + r % shape->group;
        const char *src = q->data + token * q->stride[0] + head * q->stride[1];
        float *dst = w->q + (size_t)r * shape->pitch;
        if (shape->q_type == WORD_TYPE)
            memcpy(dst, src, 4 * (size_t)shape->words);
        else {
            words_of_row(shape->q_type, src, w->staging, shape->dim);
            memcpy(dst, w->staging, 4 * (size_t)shape->words);
        }
    }
}

static void
work_open(work *w, const flash_job *job, const flash_block *block, uint32_t kv_head, char *scratch,
          uint32_t first_row)
{
    const flash_scratch *at = job->layout;
    const flash_shape *shape = job->shape;
    const int32_t *start = job->query_start_loc + block->req;
    *w = (work){.job = job, .shape = shape, .block = block, .kv_head = kv_head};
    w->rows = block->count * shape->group;
    w->token0 = start[0] + (int64_t)block->first;
    w->position0 = job->seq_lens[block->req] - (start[1] - start[0]) + (int32_t)block->first;
    w->scale = shape->scale * head_scale(&job->k_scale, shape, kv_head);
    w->special = shape->softcap > 0 || job->slopes || !(w->scale > 0);
    w->scale2 = w->special ? 1.0f : w->scale * CPU_LOG2E;
    w->q = (float *)(scratch + at->q) + (size_t)first_row * shape->pitch;
    w->k = (float *)(scratch + at->k);
    w->v = (float *)(scratch + at->v);
    w->s = (float *)(scratch + at->s);
    w->p = (float *)(scratch + at->p);
    w->o = (float *)(scratch + at->o) + (size_t)first_row * shape->cols;
    w->max = (float *)(scratch + at->max) + first_row;
    w->sum = (float *)(scratch + at->sum) + first_row;
    w->staging = (float *)(scratch + at->staging);
    w->span = (int32_t *)(scratch + at->span);
    w->key_rows = (const void **)(scratch + at->key_rows);
    w->value_rows = (const void **)(scratch + at->value_rows);
    w->zero = scratch + at->zero;
    memset(scratch + at->zero, 0, 4 * FLASH_MAX_DIM);
    const size_t padded = (w->rows + 3) / 4 * 4;
    memset(w->q, 0, 4 * padded * shape->pitch);
    memset(w->o, 0, 4 * padded * shape->cols);
    for (uint32_t r = 0; r < w->rows; r++) {
        w->max[r] = -INFINITY;
        w->sum[r] = 0;
    }
    work_spans(w);
    work_queries(w);
}

/* Addresses of the rows of keys lo..lo+n-1 and of zeros up to a whole vector. */
static void
tile_rows(work *w, int32_t lo, int32_t n)
{
    const flash_job *job = w->job;
    const int32_t size = (int32_t)w->shape->block_size;
    const int32_t *table = job->block_table + (int64_t)w->block->req * job->block_table_stride;
    const int64_t kh = w->kv_head * job->k.stride[2], vh = w->kv_head * job->v.stride[2];
    int32_t i = 0, page = lo / size, offset = lo % size;
    for (; i < n; page++, offset = 0) {
        const char *k = job->k.data + table[page] * job->k.stride[0] + kh;
        const char *v = job->v.data + table[page] * job->v.stride[0] + vh;
        for (; offset < size && i < n; offset++, i++) {
            w->key_rows[i] = k + offset * job->k.stride[1];
            w->value_rows[i] = v + offset * job->v.stride[1];
        }
    }
    for (; i % KEY_ALIGN; i++)
        w->key_rows[i] = w->value_rows[i] = w->zero;
    w->tile_lo = lo;
    w->tile_keys = n;
}

#include "flash/cpu/kernel_hidden.h"

static void
tile_load(work *w, int32_t lo, int32_t n)
{
    const flash_shape *shape = w->shape;
    tile_rows(w, lo, n);
    hidden_take(w);
    const uint32_t keys = ((uint32_t)n + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
    pack_keys(shape, w->key_rows, keys, w->staging, w->k);
    values_of_rows(shape, w->value_rows, keys, w->staging, w->v);
}

static row_range
row_sees(const work *w, uint32_t row)
{
    const int32_t *span = w->span + 2 * (size_t)(row / w->shape->group);
    row_range range;
    range.lo = span[0] > w->tile_lo ? span[0] - w->tile_lo : 0;
    range.hi = span[1] - w->tile_lo < w->tile_keys ? span[1] - w->tile_lo : w->tile_keys;
    range.first = range.lo / VF_LANES;
    range.last = (range.hi + VF_LANES - 1) / VF_LANES;
    return range;
}

/* Weights of one row of the group over its vectors; returns the old maximum less the new. */
static float
group_row(work *w, uint32_t row, row_range group, row_range range, float *s, float *p, float *sum)
{
    const flash_shape *shape = w->shape;
    *sum = 0;
    if (range.lo >= range.hi) {
        for (int v = group.first; v < group.last; v++)
            weight_store(p, v, vf_zero());
        return 0;
    }
    if (w->special) {
        const uint32_t head = w->kv_head * shape->group + row % shape->group;
        const int32_t position = w->position0 + (int32_t)(row / shape->group);
        softmax_transform(s, range, w->scale, shape->softcap,
                          w->job->slopes ? w->job->slopes[head] : 0,
                          (float)(position - w->tile_lo));
    }
    softmax_edges(s, range);
    const float seen = softmax_max(s, range) * w->scale2;
    const float max = seen > w->max[row] ? seen : w->max[row];
    const float shift = max == -INFINITY ? 0 : max;
    for (int v = group.first; v < range.first; v++)
        weight_store(p, v, vf_zero());
    *sum = softmax_weights(s, range, w->scale2, shift, p);
    for (int v = range.last; v < group.last; v++)
        weight_store(p, v, vf_zero());
    const float drop = w->max[row] - shift;
    w->max[row] = max;
    return drop;
}

static void
group_scores(work *w, uint32_t row, int rows, row_range group)
{
    const flash_shape *shape = w->shape;
    for (int v = group.first; v < group.last;) {
        const int in = v % GEMM_VECS, panel = v / GEMM_VECS;
        const int left = group.last - v;
        const int vecs = left < GEMM_VECS - in ? left : GEMM_VECS - in;
        gemm_scores(rows, vecs, w->q + (size_t)row * shape->pitch, shape->pitch,
                    w->k + (size_t)panel * shape->pitch * GEMM_COLS + in * VF_LANES, shape->words,
                    w->s + v * VF_LANES, shape->key_tile);
        v += vecs;
    }
}

static void
group_values(work *w, uint32_t row, int rows, row_range group, const float *scale)
{
    const flash_shape *shape = w->shape;
    const size_t steps = (size_t)(group.last - group.first) * VF_LANES / WORD_SIZE;
    const size_t skip = (size_t)group.first * VF_LANES / WORD_SIZE;
    const size_t panel = (size_t)shape->key_tile / WORD_SIZE * GEMM_COLS;
    for (uint32_t c = 0; c < shape->cols; c += GEMM_COLS) {
        const uint32_t left = (shape->cols - c) / VF_LANES;
        gemm_values(rows, left < GEMM_VECS ? (int)left : GEMM_VECS, scale, w->p + skip,
                    shape->key_tile / WORD_SIZE, w->v + c / GEMM_COLS * panel + skip * GEMM_COLS,
                    steps, w->o + (size_t)row * shape->cols + c, shape->cols);
    }
}

/* Values that were hidden from the product, to rows that see them. */
static void
group_hidden(const work *w, uint32_t row, int rows)
{
    const flash_shape *shape = w->shape;
    for (int32_t i = 0; i < w->tile_keys; i++)
        for (uint32_t r = 0; r < (uint32_t)rows; r++)
            if (hidden_sees(w, row + r, i))
                hidden_add(
                    w, i,
                    hidden_weight(w->p + (size_t)r * (shape->key_tile / WORD_SIZE), (size_t)i),
                    place_in_order, w->o + (size_t)(row + r) * shape->cols);
}

/* Rows row..row+rows-1 against the tile. */
static void
group_pass(work *w, uint32_t row, int rows)
{
    const flash_shape *shape = w->shape;
    row_range range[GEMM_ROWS], group = {INT32_MAX, 0, INT32_MAX, 0};
    float scale[(GEMM_ROWS + VF_LANES - 1) / VF_LANES * VF_LANES] = {0}, sum[GEMM_ROWS];
    for (int i = 0; i < rows; i++) {
        range[i] = row_sees(w, row + (uint32_t)i);
        if (range[i].lo >= range[i].hi)
            continue;
        group.first = range[i].first < group.first ? range[i].first : group.first;
        group.last = range[i].last > group.last ? range[i].last : group.last;
    }
    if (group.first >= group.last)
        return;
    const int align = KEY_ALIGN / VF_LANES;
    group.first = group.first / align * align;
    group.last = (group.last + align - 1) / align * align;
    group_scores(w, row, rows, group);
    for (int i = 0; i < rows; i++)
        scale[i] =
            group_row(w, row + (uint32_t)i, group, range[i], w->s + (size_t)i * shape->key_tile,
                      w->p + (size_t)i * (shape->key_tile / WORD_SIZE), &sum[i]);
    for (int i = 0; i < rows; i += VF_LANES)
        vf_store(scale + i, vf_exp2(vf_load(scale + i)));
    for (int i = 0; i < rows; i++)
        w->sum[row + (uint32_t)i] = w->sum[row + (uint32_t)i] * scale[i] + sum[i];
    group_values(w, row, rows, group, scale);
    if (w->hidden)
        group_hidden(w, row, rows);
}

/* Writes one row of out and lse from its sums. */
static void
row_finish(const flash_job *job, int64_t token, uint32_t head, const float *o, float max, float sum)
{
    const flash_shape *shape = job->shape;
    char *out = job->out.data + token * job->out.stride[0] + head * job->out.stride[1];
    float factor = head_scale(&job->v_scale, shape, head / shape->group);
    const int nothing = max == -INFINITY && sum == 0;
    if (job->sinks && !nothing) {
        const float sink = job->sinks[head] * CPU_LOG2E;
        const float top = sink > max ? sink : max;
        sum = sum * exp2f(max - top) + exp2f(sink - top);
        factor *= exp2f(max - top);
        max = top;
    }
    const vf mul = vf_set1(nothing ? 0 : factor), div = vf_set1(nothing ? 1 : sum);
    const size_t size = cpu_type_size(shape->out_type);
    for (uint32_t i = 0; i < shape->dim_v; i += VF_LANES) {
        const uint32_t n = shape->dim_v - i < VF_LANES ? shape->dim_v - i : VF_LANES;
        const vf x = vf_div(vf_mul(vf_load(o + i), mul), div);
        FOR_TYPE(shape->out_type, vf_store_h_n(T, out + i * size, x, n))
    }
    if (job->lse.data) {
        const float lse = nothing ? -INFINITY : max * CPU_LN2 + logf(sum);
        cpu_put(CPU_F32, job->lse.data + token * job->lse.stride[0] + head * job->lse.stride[1], 0,
                lse);
    }
}

static void
work_finish(const work *w)
{
    const flash_shape *shape = w->shape;
    for (uint32_t r = 0; r < w->rows; r++) {
        const uint32_t head = w->kv_head * shape->group + r % shape->group;
        const float *o = w->o + (size_t)r * shape->cols;
        if (w->block->partial < 0) {
            row_finish(w->job, w->token0 + r / shape->group, head, o, w->max[r], w->sum[r]);
            continue;
        }
        const size_t at = (size_t)w->block->partial + r / shape->group * shape->heads + head;
        memcpy(w->job->partial_out + at * shape->cols, o, 4 * (size_t)shape->cols);
        w->job->partial_stat[2 * at] = w->max[r];
        w->job->partial_stat[2 * at + 1] = w->sum[r];
    }
}

#include "flash/cpu/kernel_heads.h"
#if WORD_SIZE == 1
#include "flash/cpu/kernel_wide.h"
#endif

static void
kernel_run(const flash_job *job, const flash_block *block, uint32_t kv_head, char *scratch)
{
    work w;
    const int32_t step = (int32_t)job->shape->key_tile;
#if WORD_SIZE == 1
    if (flash_is_wide(job->shape, job->seq_lens[block->req])) {
        kernel_wide(job, block, kv_head, scratch);
        return;
    }
#endif
    work_open(&w, job, block, kv_head, scratch, 0);
    KERNEL_ENTER;
    for (int32_t lo = block->lo; lo < block->hi; lo += step) {
        tile_load(&w, lo, block->hi - lo < step ? block->hi - lo : step);
        for (uint32_t r = 0; r < w.rows; r += GEMM_ROWS)
            group_pass(&w, r, w.rows - r < GEMM_ROWS ? (int)(w.rows - r) : GEMM_ROWS);
    }
    KERNEL_LEAVE;
    work_finish(&w);
}

/* Joins the splits of one head of a request's token, first to last, into split 0's row. */
static void
merge_row(const flash_job *job, const flash_merge *merge, uint32_t count, uint32_t token,
          uint32_t head)
{
    const flash_shape *shape = job->shape;
    const size_t stride = (size_t)count * shape->heads;
    const size_t first = merge->partial + (size_t)token * shape->heads + head;
    float *o = job->partial_out + first * shape->cols, weight[FLASH_MAX_SPLITS];
    const float *stat = job->partial_stat + 2 * first;
    float max = -INFINITY, sum = 0;
    for (uint32_t s = 0; s < merge->splits; s++)
        max = stat[2 * s * stride] > max ? stat[2 * s * stride] : max;
    for (uint32_t s = 0; s < merge->splits; s++) {
        weight[s] = exp2f(stat[2 * s * stride] - (max == -INFINITY ? 0 : max));
        sum += stat[2 * s * stride + 1] * weight[s];
    }
    for (uint32_t i = 0; i < shape->cols; i += VF_LANES) {
        vf x = vf_mul(vf_load(o + i), vf_set1(weight[0]));
        for (uint32_t s = 1; s < merge->splits; s++)
            x = vf_fma(vf_load(o + s * stride * shape->cols + i), vf_set1(weight[s]), x);
        vf_store(o + i, x);
    }
    row_finish(job, job->query_start_loc[merge->req] + (int64_t)token, head, o, max, sum);
}

static void
kernel_merge(const flash_job *job, const flash_merge *merge, uint32_t kv_head)
{
    const uint32_t group = job->shape->group;
    const int32_t *start = job->query_start_loc + merge->req;
    const uint32_t count = (uint32_t)(start[1] - start[0]);
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t h = 0; h < group; h++)
            merge_row(job, merge, count, t, kv_head * group + h);
}

const flash_kernel KERNEL_SYMBOL = {.run = kernel_run,
                                    .decode = kernel_decode,
                                    .merge = kernel_merge,
                                    .lanes = VF_LANES,
                                    .row_tile = GEMM_ROWS,
                                    .col_tile = GEMM_COLS,
                                    .word_size = WORD_SIZE};

#endif
