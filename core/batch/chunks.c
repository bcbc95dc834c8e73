/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/plan.h>

#include "batch/plan.h"

attn_status
attn_prefill_chunks(const int32_t *lens, uint32_t n, uint32_t workspace,
                    uint32_t offset, attn_span *spans, uint32_t capacity,
                    uint32_t *count, attn_error *err)
{
    uint32_t made = 0, first = 0;
    uint64_t sum = 0;

    if (!count || (n && !lens) || (uint64_t)n + offset > UINT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "lens",
                              "prefill chunks: %u requests from %u, or a NULL "
                              "argument",
                              n, offset);
    for (uint32_t r = 0; r < n; r++) {
        if (lens[r] < 0 || (uint32_t)lens[r] > workspace)
            return attn_error_set(err, ATTN_E_ARG, "workspace",
                                  "request %u: seq_len %d does not fit a "
                                  "workspace of %u rows",
                                  r, lens[r], workspace);
        if (r > first && sum + (uint32_t)lens[r] > workspace) {
            if (spans && made < capacity)
                spans[made] = (attn_span){first + offset, r + offset};
            made++;
            first = r;
            sum = 0;
        }
        sum += (uint32_t)lens[r];
    }
    if (n) {
        if (spans && made < capacity)
            spans[made] = (attn_span){first + offset, n + offset};
        made++;
    }
    if (plan_fits("prefill chunks", spans, capacity, made, err))
        return ATTN_E_WORKSPACE;
    *count = made;
    return ATTN_OK;
}

/* ---------------------------------------------------------- context chunks */

typedef struct chunk_writer {
    attn_context_piece *pieces;
    attn_context_chunk *chunks;
    uint32_t piece_capacity, chunk_capacity;
    uint32_t num_pieces, num_chunks;
    uint32_t workspace, block_size;
    attn_context_chunk open; /* the chunk that is filled */
} chunk_writer;

static void
close_chunk(chunk_writer *w)
{
    w->open.last = w->num_pieces;
    if (w->open.last > w->open.first) {
        if (w->chunks && w->num_chunks < w->chunk_capacity)
            w->chunks[w->num_chunks] = w->open;
        w->num_chunks++;
    }
    w->open = (attn_context_chunk){.first = w->num_pieces};
}

static void
add_piece(chunk_writer *w, uint32_t request, uint32_t start, uint32_t length)
{
    if (w->num_pieces == w->open.first)
        w->open.continues = start > 0;
    if (w->pieces && w->num_pieces < w->piece_capacity)
        w->pieces[w->num_pieces] = (attn_context_piece){request, start, length};
    w->num_pieces++;
    w->open.rows += length;
}

static void
add_request(chunk_writer *w, uint32_t request, uint32_t context)
{
    uint32_t start = 0;

    while (context - start > w->workspace - w->open.rows) {
        uint32_t piece = w->workspace - w->open.rows;

        piece -= piece % w->block_size;
        if (piece)
            add_piece(w, request, start, piece);
        start += piece;
        close_chunk(w);
    }
    if (context > start)
        add_piece(w, request, start, context - start);
    else
        close_chunk(w);
}

attn_status
attn_context_chunks(const attn_batch *batch, uint32_t first_request,
                    uint32_t workspace, uint32_t block_size,
                    attn_context_piece *pieces, uint32_t piece_capacity,
                    uint32_t *num_pieces, attn_context_chunk *chunks,
                    uint32_t chunk_capacity, uint32_t *num_chunks,
                    attn_error *err)
{
    chunk_writer w = {.pieces = pieces,
                      .chunks = chunks,
                      .piece_capacity = piece_capacity,
                      .chunk_capacity = chunk_capacity,
                      .workspace = workspace,
                      .block_size = block_size};
    attn_status status;

    if (!batch || !num_pieces || !num_chunks || block_size == 0 ||
        workspace < block_size)
        return attn_error_set(
            err, ATTN_E_ARG, "workspace",
            "context chunks: workspace of %u rows, block_size "
            "%u (1 to workspace), or a NULL argument",
            workspace, block_size);
    status = attn_batch_need_host(batch, "context chunks", ATTN_EXACT, err);
    if (!status)
        status = plan_first(batch, first_request, err);
    if (status)
        return status;
    for (uint32_t r = first_request; r < batch->num_reqs; r++)
        add_request(&w, r,
                    (uint32_t)batch->seq_lens[r] - batch_query_len(batch, r));
    close_chunk(&w);
    status =
        plan_fits("context pieces", pieces, piece_capacity, w.num_pieces, err);
    if (!status)
        status = plan_fits("context chunks", chunks, chunk_capacity,
                           w.num_chunks, err);
    if (status)
        return status;
    *num_pieces = w.num_pieces;
    *num_chunks = w.num_chunks;
    return ATTN_OK;
}
