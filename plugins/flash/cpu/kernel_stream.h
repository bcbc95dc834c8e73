/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_stream.h - part of kernel.h: few query rows against bf16 caches that lie head by head.
 *
 * The processor's own stream reads further ahead than requests can, but only for code that touches
 * each line once, in the order of memory, with little more than one load a line, and that asks for
 * nothing itself. So queries and sums stay in registers, and a piece of a page is read as it lies:
 * the keys of all heads, then the values of all heads. Each run of a page costs the stream a start:
 * long ones (shape.c) are worth it, short ones are not. */
#ifndef FLASH_CPU_KERNEL_STREAM_H
#define FLASH_CPU_KERNEL_STREAM_H

#define STREAM_LINE 64 /* bytes: a vector of words */
#define STREAM_LINES 4 /* most of a row */
#define STREAM_NEAR 12 /* lines of sums that registers hold, of all rows */
/* The value is loaded once and not again from memory in each product. */
#define STREAM_KEEP(x) __asm__ volatile("" : "+v"(x))
/* What is in memory stays there: registers are for the sums that need them. */
#define STREAM_MEMORY __asm__ volatile("" ::: "memory")

static int
stream_fits(const flash_job *job)
{
    const flash_shape *s = job->shape;
    return s->streams && job->k.stride[1] == 2 * (int64_t)s->dim &&
           job->v.stride[1] == 2 * (int64_t)s->dim_v;
}

/* Keys from lo on that are read as they lie: whole vectors of scores, which every row sees whole,
 * of one page. 0: there is an edge. */
static int32_t
stream_piece(const work *w, int32_t lo, int32_t hi)
{
    const int32_t size = (int32_t)w->shape->block_size, page = size - lo % size;
    const int32_t seen = (w->all_hi < hi ? w->all_hi : hi) - lo;
    const int32_t keys = page < FLASH_STREAM_KEYS ? page : FLASH_STREAM_KEYS;
    return lo < w->all_lo || seen < 0 ? 0 : (seen < keys ? seen : keys) / VF_LANES * VF_LANES;
}

CPU_INLINE void
stream_queries(const int rows, const int lines, const float *q, vf x[4][STREAM_LINES])
{
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int i = 0; i < lines; i++) {
            x[r][i] = vf_load(q + (r * lines + i) * VF_LANES);
            STREAM_KEEP(x[r][i]);
        }
    }
}

/* Four keys against the rows: z[r], whose quarters, added, are the scores of row r. */
CPU_INLINE void
stream_quad(const int rows, const int lines, const char *key, vf x[4][STREAM_LINES], vf *z)
{
    vf pair[2][4];
    CPU_UNROLL
    for (int n = 0; n < 2; n++) {
        vf acc[2][4];
        CPU_UNROLL
        for (int k = 0; k < 2; k++) {
            CPU_UNROLL
            for (int i = 0; i < lines; i++, key += STREAM_LINE) {
                vf y = vf_load(key);
                STREAM_KEEP(y);
                CPU_UNROLL
                for (int r = 0; r < rows; r++)
                    acc[k][r] = word_dot(x[r][i], y, i ? acc[k][r] : vf_zero());
            }
        }
        CPU_UNROLL
        for (int r = 0; r < rows; r++)
            pair[n][r] = vf_add_pairs(acc[0][r], acc[1][r]);
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        z[r] = vf_add_pairs_pd(pair[0][r], pair[1][r]);
}

CPU_INLINE vf
stream_group(const vf *z)
{
    return vf_add_quarters(vf_add_quarters(z[0], z[1]), vf_add_quarters(z[2], z[3]));
}

/* Scores of the piece into s; returns their maximum per lane. */
CPU_INLINE vf
stream_keys(const int rows, const int lines, const work *w, const decode_chunk *c)
{
    const int count = VF_LANES / rows, quads = count / 4;
    const char *key = (const char *)w->key_rows[0] + w->key_head;
    vf x[4][STREAM_LINES], max = vf_set1(-INFINITY);
    stream_queries(rows, lines, c->q, x);
    for (int k = 0, g = 0; k < w->tile_keys; k += count, g++) {
        vf z[4], quad[4];
        CPU_UNROLL
        for (int n = 0; n < quads; n++, key += 4 * lines * STREAM_LINE) {
            stream_quad(rows, lines, key, x, quad);
            CPU_UNROLL
            for (int r = 0; r < rows; r++)
                z[r * quads + n] = quad[r];
        }
        const vf s = stream_group(z);
        max = vf_max(s, max);
        vf_store(w->s + g * VF_LANES, s);
    }
    return max;
}

CPU_INLINE void
stream_scores(const int rows, const int lines, const work *w, decode_chunk *c)
{
    vf max = stream_keys(rows, lines, w, c);
    if (w->special)
        max = decode_again(rows, w, c);
    decode_weights(rows, w, c, decode_row_max(rows, max));
}

/* Lines of two value rows as pairs of columns, in the order of values_load. */
CPU_INLINE void
stream_pairs(const char *even, const char *odd, vf *b)
{
    const __m512i x = _mm512_loadu_si512(even), y = _mm512_loadu_si512(odd);
    b[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(x, y));
    b[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(x, y));
}

/* o = o * scale + weights . values. Lines from `near` on are summed in memory, where a sum waits no
 * longer than the other products of its pair of keys take. */
CPU_INLINE void
stream_values(const int rows, const int lines, const work *w, const decode_chunk *c)
{
    const int count = VF_LANES / rows, row = lines * STREAM_LINE, cols = lines * 2 * VF_LANES;
    const int near = lines < STREAM_NEAR / rows ? lines : STREAM_NEAR / rows;
    const char *value = (const char *)w->value_rows[0] + w->value_head;
    vf acc[4][2 * STREAM_LINES], far[4][2 * STREAM_LINES];
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        const vf scale = vf_bcast(c->scale + r * count);
        CPU_UNROLL
        for (int n = 0; n < 2 * near; n++)
            acc[r][n] = vf_mul(vf_load(c->o + r * cols + n * VF_LANES), scale);
        CPU_UNROLL
        for (int n = 2 * near; n < 2 * lines; n++)
            vf_store(&far[r][n], vf_mul(vf_load(c->o + r * cols + n * VF_LANES), scale));
    }
    for (int k = 0; k < w->tile_keys; k += 2, value += 2 * row) {
        const float *p = c->p + (k / count * VF_LANES + k % count) / 2;
        vf x[4], b[2];
        CPU_UNROLL
        for (int r = 0; r < rows; r++)
            x[r] = vf_bcast(p + r * count / 2);
        CPU_UNROLL
        for (int i = 0; i < near; i++) {
            stream_pairs(value + i * STREAM_LINE, value + row + i * STREAM_LINE, b);
            CPU_UNROLL
            for (int r = 0; r < rows; r++) {
                acc[r][2 * i] = word_dot(x[r], b[0], acc[r][2 * i]);
                acc[r][2 * i + 1] = word_dot(x[r], b[1], acc[r][2 * i + 1]);
            }
        }
        CPU_UNROLL
        for (int i = near; i < lines; i++) {
            stream_pairs(value + i * STREAM_LINE, value + row + i * STREAM_LINE, b);
            STREAM_MEMORY;
            CPU_UNROLL
            for (int r = 0; r < rows; r++) {
                vf_store(&far[r][2 * i], word_dot(x[r], b[0], vf_load(&far[r][2 * i])));
                vf_store(&far[r][2 * i + 1], word_dot(x[r], b[1], vf_load(&far[r][2 * i + 1])));
                STREAM_MEMORY;
            }
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int n = 0; n < 2 * lines; n++)
            vf_store(c->o + r * cols + n * VF_LANES,
                     n < 2 * near ? acc[r][n] : vf_load(&far[r][n]));
    }
}

/* A function each, so that registers are those of one loop only. */
#define STREAM_TILE(rows, lines)                                                          \
    static __attribute__((noinline)) void stream_scores_##rows##_##lines(const work *w,   \
                                                                         decode_chunk *c) \
    {                                                                                     \
        stream_scores(rows, lines, w, c);                                                 \
    }                                                                                     \
    static __attribute__((noinline)) void stream_values_##rows##_##lines(const work *w,   \
                                                                         decode_chunk *c) \
    {                                                                                     \
        stream_values(rows, lines, w, c);                                                 \
    }
#define STREAM_TILES(rows) STREAM_TILE(rows, 2) STREAM_TILE(rows, 4)
STREAM_TILES(1)
STREAM_TILES(2)
STREAM_TILES(4)

typedef void (*stream_run)(const work *w, decode_chunk *c);

/* By rows (1, 2, 4) and lines of a row (2, 4). */
#define STREAM_TABLE(what)                                  \
    {                                                       \
        {what##_1_2, what##_1_4}, {what##_2_2, what##_2_4}, \
        {                                                   \
            what##_4_2, what##_4_4                          \
        }                                                   \
    }
static const stream_run stream_scores_any[3][2] = STREAM_TABLE(stream_scores);
static const stream_run stream_values_any[3][2] = STREAM_TABLE(stream_values);

static void
stream_chunk(const stream_run run[3][2], uint32_t dim, const work *w, decode_chunk *c)
{
    run[c->rows > 2 ? 2 : c->rows - 1][dim == 128](w, c);
}

#endif
