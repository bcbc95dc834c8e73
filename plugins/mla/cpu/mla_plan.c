/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"

/* How often, and how long, the keys of a sequence are split. Of its length
 * alone, so that results do not depend on anything else. */
uint32_t
mla_splits(uint32_t seq_len, uint32_t *split_len)
{
    uint32_t len = (seq_len + MLA_MAX_SPLITS - 1) / MLA_MAX_SPLITS;
    len = (len + 127) / 128 * 128;
    if (len < MLA_MIN_SPLIT)
        len = MLA_MIN_SPLIT;
    *split_len = len;
    return seq_len ? (seq_len + len - 1) / len : 1;
}

/* Multiplications per head either way. */
static int
wants_expansion(const attn_builder *b, uint32_t r, uint32_t q)
{
    if (b->expand_from)
        return q >= b->expand_from;
    const uint64_t len = (uint64_t)b->batch->seq_lens[r];
    const uint64_t pairs =
        mla_causal(b, r) ? q * len - (uint64_t)q * (q - 1) / 2 : (uint64_t)q * len;
    const uint64_t proj = (uint64_t)(b->dn + b->dv) * b->c;
    const uint64_t expanded = len * proj + pairs * (b->dn + b->dr + b->dv);
    const uint64_t absorbed = q * proj + pairs * (2 * b->c + b->dr);
    return expanded < absorbed;
}

/* Query rows of one expanded task: as many as scratch allows, since each task
 * multiplies its keys out again, but enough tasks for the threads. Rows do
 * not meet, so results do not depend on it. */
static uint32_t
piece_rows(const attn_builder *b)
{
    const uint64_t rows = (uint64_t)b->batch->num_tokens * b->heads;
    uint64_t n = rows / (4 * b->limits.num_threads);
    n = n / MLA_ROWS * MLA_ROWS;
    if (n < MLA_MIN_PIECE)
        return MLA_MIN_PIECE;
    return n > MLA_MAX_PIECE ? MLA_MAX_PIECE : (uint32_t)n;
}

static void
add_pieces(attn_builder *b, uint32_t r, uint32_t q, uint32_t rows, uint32_t wide)
{
    for (uint32_t t = 0; t < q; t += rows) {
        mla_piece *p = &b->pieces[b->num_pieces++];
        p->req = r;
        p->tok0 = t;
        p->num = q - t < rows ? q - t : rows;
        p->wide = wide;
        const uint64_t keys = (uint64_t)mla_limit(b, r, t + p->num - 1);
        p->cost = keys * p->num * (b->dn + b->dr + b->dv) + keys * b->c * (b->dn + b->dv);
    }
}

static int
before(const mla_piece *a, const mla_piece *b)
{
    if (a->cost != b->cost)
        return a->cost > b->cost;
    return a->req != b->req ? a->req < b->req : a->tok0 < b->tok0;
}

/* Dearest first, in place: qsort may allocate. */
static void
sort_pieces(mla_piece *p, uint32_t n)
{
    for (uint32_t gap = n / 2; gap > 0; gap /= 2) {
        for (uint32_t i = gap; i < n; i++) {
            const mla_piece x = p[i];
            uint32_t j = i;
            for (; j >= gap && before(&x, &p[j - gap]); j -= gap)
                p[j] = p[j - gap];
            p[j] = x;
        }
    }
}

typedef struct wave_fill {
    uint32_t segments, rows;
} wave_fill;

static void
open_wave(attn_builder *b, wave_fill *f)
{
    b->waves[b->num_waves++] = (mla_wave){.first_segment = f->segments};
    f->rows = 0;
}

/* Cuts the request's tokens at token borders into waves of bounded size. */
static void
add_segments(attn_builder *b, uint32_t r, uint32_t q, wave_fill *f)
{
    uint32_t len;
    const uint32_t splits = mla_splits((uint32_t)b->batch->seq_lens[r], &len);
    const uint32_t token_rows = b->heads * splits;
    for (uint32_t t = 0; t < q;) {
        mla_wave *w = b->num_waves ? &b->waves[b->num_waves - 1] : NULL;
        uint32_t fit = w ? (b->wave_rows - f->rows) / token_rows : 0;
        if (w && fit > b->wave_tokens - w->num_tokens)
            fit = b->wave_tokens - w->num_tokens;
        if (!fit) {
            open_wave(b, f);
            continue;
        }
        const uint32_t num = q - t < fit ? q - t : fit;
        const uint32_t tiles = (num * b->heads + MLA_ROWS - 1) / MLA_ROWS;
        b->segments[f->segments++] = (mla_segment){.req = r,
                                                   .tok0 = t,
                                                   .num = num,
                                                   .splits = splits,
                                                   .split_len = len,
                                                   .first_task = w->num_tasks,
                                                   .first_token = w->num_tokens,
                                                   .first_row = f->rows};
        w->num_segments++;
        w->num_tasks += tiles * splits;
        w->num_tokens += num;
        f->rows += num * token_rows;
        t += num;
    }
}

static attn_status
check_step(const attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
           attn_error *err)
{
    char text[96];
    if (!b->workers)
        return attn_fail(err, ATTN_E_WORKSPACE, "builder", "build before bind");
    if (batch->query_start_loc_state != ATTN_EXACT || batch->seq_lens_state != ATTN_EXACT)
        return attn_fail(err, ATTN_E_UNSUPPORTED, "batch", "host lengths are not exact");
    if (!group->block_table && batch->num_reqs)
        return attn_fail(err, ATTN_E_ARG, "group.block_table", "missing on the host");
    if (batch->num_tokens > b->limits.max_tokens || batch->num_reqs > b->limits.max_reqs ||
        batch->max_query_len > b->limits.max_query_len) {
        snprintf(text, sizeof text, "%u requests, %u tokens, query %u: beyond the limits",
                 batch->num_reqs, batch->num_tokens, batch->max_query_len);
        return attn_fail(err, ATTN_E_ARG, "batch", text);
    }
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        if ((uint32_t)batch->seq_lens[r] <= b->limits.max_seq_len)
            continue;
        snprintf(text, sizeof text, "request %u has length %d: the limit is %u", r,
                 batch->seq_lens[r], b->limits.max_seq_len);
        return attn_fail(err, ATTN_E_ARG, "batch.seq_lens", text);
    }
    return ATTN_OK;
}

attn_status
mla_build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
          const attn_stream *stream, attn_error *err)
{
    (void)stream;
    b->batch = NULL;
    const attn_status status = check_step(b, batch, group, err);
    if (status != ATTN_OK)
        return status;
    b->batch = batch;
    b->group = group;
    b->num_pieces = b->num_waves = 0;
    wave_fill fill = {0};
    const uint32_t rows = piece_rows(b);
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        const uint32_t q = mla_query_len(batch, r);
        if (!q)
            continue;
        if (b->wide_keys && (uint32_t)batch->seq_lens[r] <= b->wide_keys)
            add_pieces(b, r, q, MLA_MIN_PIECE, 1);
        else if (wants_expansion(b, r, q))
            add_pieces(b, r, q, rows, 0);
        else
            add_segments(b, r, q, &fill);
    }
    sort_pieces(b->pieces, b->num_pieces);
    return ATTN_OK;
}
