/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that derive lists from a batch. */
#include "batch_case.h"

#include <stdlib.h>

static const batch_param slot_params[] = {
    {"cp_world_size", "1", "ranks of context parallelism"},
    {"cp_rank", "0", "this rank"},
    {"cp_interleave_size", "1", "positions a rank owns in a row"},
};

static attn_status
run_slots(ops_case *c, json_t *result)
{
    attn_ext_context_parallel cp = {
        .head = {sizeof cp, 0, ATTN_EXT_CONTEXT_PARALLEL, c->batch.ext}};
    uint32_t tokens = c->batch.num_tokens;
    int64_t *slots = ops_alloc(c, tokens, sizeof *slots);
    attn_status status = ops_u32(c, "cp_world_size", &cp.world);

    if (!slots)
        return ATTN_E_NOMEM;
    if (!status)
        status = ops_u32(c, "cp_rank", &cp.rank);
    if (!status)
        status = ops_u32(c, "cp_interleave_size", &cp.interleave);
    c->batch.ext = &cp.head;
    if (!status)
        status = attn_slot_mapping(&c->batch, &c->group, slots, c->err);
    c->batch.ext = cp.head.next;
    if (status)
        return status;
    json_object_set_new(result, "slot_mapping", ops_list_i64(slots, tokens));
    return ATTN_OK;
}

static const batch_param split_params[] = {
    {"decode_threshold", "1", "longest query that counts as a decode"},
    {"require_uniform", "false", "decodes must have one length"},
    {"treat_short_extends_as_decodes", "true", "else is_prefilling decides"},
};

static attn_status
run_split(ops_case *c, json_t *result)
{
    attn_split_params p = {.struct_size = sizeof p};
    attn_split split;
    attn_status status = ops_u32(c, "decode_threshold", &p.decode_threshold);

    if (!status)
        status = ops_flag(c, "require_uniform", &p.require_uniform);
    if (!status)
        status = ops_flag(c, "treat_short_extends_as_decodes",
                          &p.treat_short_extends_as_decodes);
    if (!status)
        status = attn_batch_split(&c->batch, &p, &split, c->err);
    if (status)
        return status;
    ops_put(result, "num_decodes", split.num_decodes);
    ops_put(result, "num_prefills", split.num_prefills);
    ops_put(result, "num_decode_tokens", split.num_decode_tokens);
    ops_put(result, "num_prefill_tokens", split.num_prefill_tokens);
    return ATTN_OK;
}

static attn_status
run_split3(ops_case *c, json_t *result)
{
    attn_split3 split;
    uint32_t threshold;
    attn_status status = ops_u32(c, "decode_threshold", &threshold);

    if (!status)
        status = attn_batch_split3(&c->batch, threshold, &split, c->err);
    if (status)
        return status;
    ops_put(result, "num_decodes", split.num_decodes);
    ops_put(result, "num_extends", split.num_extends);
    ops_put(result, "num_prefills", split.num_prefills);
    ops_put(result, "num_decode_tokens", split.num_decode_tokens);
    ops_put(result, "num_extend_tokens", split.num_extend_tokens);
    ops_put(result, "num_prefill_tokens", split.num_prefill_tokens);
    return ATTN_OK;
}

static const batch_param pack_params[] = {
    {"seq_lens", NULL, "rows of each request"},
    {"workspace_size", NULL, "rows of the workspace"},
    {"request_offset", "0", "index of the first request"},
};

static attn_status
run_pack(ops_case *c, json_t *result)
{
    json_t *chunks = json_array();
    int32_t *lens;
    uint32_t n, workspace, offset, count = 0;
    attn_span *spans;
    attn_status status = ops_i32_array(c, "seq_lens", &lens, &n);

    json_object_set_new(result, "chunks", chunks);
    if (!status)
        status = ops_u32(c, "workspace_size", &workspace);
    if (!status)
        status = ops_u32(c, "request_offset", &offset);
    if (status)
        return status;
    spans = ops_alloc(c, n, sizeof *spans);
    if (!spans)
        return ATTN_E_NOMEM;
    status = attn_prefill_chunks(lens, n, workspace, offset, spans, n, &count,
                                 c->err);
    for (uint32_t i = 0; !status && i < count; i++)
        json_array_append_new(
            chunks, json_pack("[ii]", (int)spans[i].first, (int)spans[i].last));
    return status;
}

static const batch_param context_params[] = {
    {"first_request", "0", "the first prefill"},
    {"workspace_size", NULL, "rows of the workspace"},
    {"align", NULL, "a cut piece ends at a multiple of this"},
};

static json_t *
chunk_object(const attn_context_chunk *chunk, const attn_context_piece *pieces)
{
    json_t *list = json_array();

    for (uint32_t i = chunk->first; i < chunk->last; i++)
        json_array_append_new(list, json_pack("[iii]", (int)pieces[i].request,
                                              (int)pieces[i].start,
                                              (int)pieces[i].length));
    return json_pack("{s:i, s:b, s:o}", "rows", (int)chunk->rows,
                     "continuation", (int)chunk->continues, "pieces", list);
}

static attn_status
run_context(ops_case *c, json_t *result)
{
    json_t *list = json_array();
    uint32_t first, workspace, align, num_pieces, num_chunks;
    attn_context_piece *pieces;
    attn_context_chunk *chunks;
    attn_status status = ops_u32(c, "first_request", &first);

    json_object_set_new(result, "chunks", list);
    if (!status)
        status = ops_u32(c, "workspace_size", &workspace);
    if (!status)
        status = ops_u32(c, "align", &align);
    if (!status)
        status =
            attn_context_chunks(&c->batch, first, workspace, align, NULL, 0,
                                &num_pieces, NULL, 0, &num_chunks, c->err);
    if (status)
        return status;
    pieces = ops_alloc(c, num_pieces, sizeof *pieces);
    chunks = ops_alloc(c, num_chunks, sizeof *chunks);
    if (!pieces || !chunks)
        return ATTN_E_NOMEM;
    status = attn_context_chunks(&c->batch, first, workspace, align, pieces,
                                 num_pieces, &num_pieces, chunks, num_chunks,
                                 &num_chunks, c->err);
    for (uint32_t i = 0; !status && i < num_chunks; i++)
        json_array_append_new(list, chunk_object(&chunks[i], pieces));
    return status;
}

static attn_status
run_ranges(ops_case *c, json_t *result)
{
    json_t *list = json_array();
    uint32_t rows = 0;
    int32_t *ranges = ops_alloc(c, c->batch.num_tokens, 2 * sizeof *ranges);
    attn_status status;

    json_object_set_new(result, "query_ranges", list);
    if (!ranges)
        return ATTN_E_NOMEM;
    status = attn_prefix_query_ranges(&c->batch, ranges, c->batch.num_tokens,
                                      &rows, c->err);
    ops_put(result, "rows", rows);
    for (uint32_t t = 0; !status && t < rows; t++)
        json_array_append_new(list, ops_list_i32(ranges + 2 * t, 2));
    return status;
}

static const batch_param conv_params[] = {
    {"first_request", "0", "the first prefill"},
    {"block_m", "8", "tokens of a program"},
};

static attn_status
run_conv(ops_case *c, json_t *result)
{
    uint32_t first, block, count;
    int32_t *request, *offset;
    attn_status status = ops_u32(c, "first_request", &first);

    if (!status)
        status = ops_u32(c, "block_m", &block);
    if (!status)
        status = attn_conv1d_programs(&c->batch, first, block, NULL, NULL, 0,
                                      &count, c->err);
    if (status)
        return status;
    request = ops_alloc(c, count, sizeof *request);
    offset = ops_alloc(c, count, sizeof *offset);
    if (!request || !offset)
        return ATTN_E_NOMEM;
    status = attn_conv1d_programs(&c->batch, first, block, request, offset,
                                  count, &count, c->err);
    ops_put(result, "num_programs", count);
    ops_put_i32(result, "batch_ptr", request, count);
    ops_put_i32(result, "token_chunk_offset_ptr", offset, count);
    return status;
}

static const batch_param mamba_params[] = {
    {"first_request", "0", "the first prefill"},
    {"chunk_size", "256", "tokens of a chunk"},
    {"physical", "false", "cut by the batch's tokens, not the sequence's"},
};

static attn_status
run_mamba(ops_case *c, json_t *result)
{
    uint32_t first, chunk, mode, count, reqs;
    int32_t *starts, *request, *last;
    attn_status status = ops_u32(c, "first_request", &first);

    if (!status)
        status = ops_u32(c, "chunk_size", &chunk);
    if (!status)
        status = ops_flag(c, "physical", &mode);
    if (!status)
        status = attn_mamba2_chunks(&c->batch, first, chunk, mode, NULL, NULL,
                                    NULL, 0, &count, c->err);
    if (status)
        return status;
    reqs = c->batch.num_reqs - first;
    starts = ops_alloc(c, (size_t)count + 1, sizeof *starts);
    request = ops_alloc(c, count, sizeof *request);
    last = ops_alloc(c, reqs, sizeof *last);
    if (!starts || !request || !last)
        return ATTN_E_NOMEM;
    status = attn_mamba2_chunks(&c->batch, first, chunk, mode, starts, request,
                                last, count, &count, c->err);
    ops_put_i32(result, "cu_chunk_seqlens", starts, (size_t)count + 1);
    ops_put_i32(result, "seq_idx", request, count);
    ops_put_i32(result, "last_chunk_indices", last, reqs);
    return status;
}

static const batch_param state_params[] = {
    {"block_table", NULL, "a state per block of each request"},
    {"seq_lens", NULL, "lengths of the requests"},
    {"block_size", NULL, "positions of a block"},
    {"num_speculative_blocks", "0", "further columns"},
};

/* These cases have lengths but no queries: every query is empty. */
static attn_status
load_lengths_only(ops_case *c)
{
    int32_t *lens, *start;
    json_t *rows = ops_value(c, "block_table");
    size_t cols = json_array_size(json_array_get(rows, 0));
    uint32_t n;
    int32_t *table;
    attn_status status = ops_i32_array(c, "seq_lens", &lens, &n);

    if (status || json_array_size(rows) != n)
        return status ? status
                      : ops_error(c, "block_table",
                                  "block_table: %zu rows, "
                                  "%u are needed",
                                  json_array_size(rows), n);
    start = ops_alloc(c, (size_t)n + 1, sizeof *start);
    table = ops_alloc(c, n * cols, sizeof *table);
    if (!start || !table)
        return ATTN_E_NOMEM;
    for (size_t i = 0; i < n * cols; i++)
        table[i] = (int32_t)json_integer_value(
            json_array_get(json_array_get(rows, i / cols), i % cols));
    c->batch = (attn_batch){.struct_size = sizeof c->batch,
                            .num_reqs = n,
                            .query_start_loc_state = ATTN_EXACT,
                            .seq_lens_state = ATTN_EXACT,
                            .query_start_loc = start,
                            .seq_lens = lens};
    c->group = (attn_kv_group){.struct_size = sizeof c->group,
                               .num_blocks = INT32_MAX,
                               .block_table_cols = (uint32_t)cols,
                               .block_table_stride = (int64_t)cols,
                               .block_table = table};
    return ops_u32(c, "block_size", &c->group.block_size);
}

static attn_status
run_state(ops_case *c, json_t *result)
{
    json_t *list = json_array();
    uint32_t drafts;
    int32_t *states;
    attn_status status = load_lengths_only(c);

    json_object_set_new(result, "state_block_table", list);
    if (!status)
        status = ops_u32(c, "num_speculative_blocks", &drafts);
    if (!status && drafts >= 65536)
        return ops_error(c, "num_speculative_blocks",
                         "num_speculative_blocks %u: at most 65535", drafts);
    if (status)
        return status;
    states =
        ops_alloc(c, (size_t)c->batch.num_reqs * (drafts + 1), sizeof *states);
    if (!states)
        return ATTN_E_NOMEM;
    status = attn_state_table(&c->batch, &c->group, drafts, states, c->err);
    for (uint32_t r = 0; !status && r < c->batch.num_reqs; r++)
        json_array_append_new(
            list, ops_list_i32(states + (size_t)r * (drafts + 1), drafts + 1));
    return status;
}

static const batch_param blocks_params[] = {
    {"state_block_size", NULL, "positions of a block"},
};

static attn_status
run_blocks(ops_case *c, json_t *result)
{
    uint32_t n = c->batch.num_reqs, block;
    int32_t *lists = ops_alloc(c, n, 3 * sizeof *lists);
    attn_status status = ops_u32(c, "state_block_size", &block);

    if (!lists)
        return ATTN_E_NOMEM;
    if (!status)
        status = attn_state_blocks(&c->batch, block, lists, lists + n,
                                   lists + 2 * (size_t)n, c->err);
    ops_put_i32(result, "last_computed", lists, n);
    ops_put_i32(result, "first_scheduled", lists + n, n);
    ops_put_i32(result, "last_scheduled", lists + 2 * (size_t)n, n);
    return status;
}

static const batch_param dcp_params[] = {
    {"seq_lens", NULL, "lengths of the requests"},
    {"dcp_size", NULL, "ranks"},
    {"interleave_size", "1", "positions a rank owns in a row"},
};

/* One row a request, one column a rank. */
static attn_status
run_dcp(ops_case *c, json_t *result)
{
    json_t *rows = json_array();
    int32_t *lens, *start;
    uint32_t n, world, interleave;
    attn_batch_size size = {.struct_size = sizeof size};
    attn_status status = ops_i32_array(c, "seq_lens", &lens, &n);

    json_object_set_new(result, "local_seq_lens", rows);
    if (!status)
        status = ops_u32(c, "dcp_size", &world);
    if (!status)
        status = ops_u32(c, "interleave_size", &interleave);
    if (status || !(start = ops_alloc(c, (size_t)n + 1, sizeof *start)))
        return status ? status : ATTN_E_NOMEM;
    c->batch = (attn_batch){.struct_size = sizeof c->batch,
                            .num_reqs = n,
                            .query_start_loc_state = ATTN_EXACT,
                            .seq_lens_state = ATTN_EXACT,
                            .query_start_loc = start,
                            .seq_lens = lens};
    size.num_reqs = n;
    status = ops_room(c, &size);
    for (uint32_t r = 0; r < n; r++)
        json_array_append_new(rows, json_array());
    for (uint32_t rank = 0; !status && rank < world; rank++) {
        status = attn_context_parallel(&c->batch, world, rank, interleave,
                                       &c->room, &c->out, c->err);
        for (uint32_t r = 0; !status && r < n; r++)
            json_array_append_new(json_array_get(rows, r),
                                  json_integer(c->room.local_seq_lens[r]));
    }
    return status;
}

const batch_op batch_ops_plans[] = {
    {"slot_mapping", "where each new token is written", slot_params,
     OPS_COUNT(slot_params), OPS_BATCH | OPS_LENS | OPS_TABLE, run_slots},
    {"split_decodes_and_prefills", "the decode-first split", split_params,
     OPS_COUNT(split_params), OPS_BATCH, run_split},
    {"split_decodes_prefills_and_extends", "the three-way split", split_params,
     1, OPS_BATCH | OPS_LENS, run_split3},
    {"split_prefill_chunks", "requests packed to a workspace", pack_params,
     OPS_COUNT(pack_params), 0, run_pack},
    {"mla_context_chunks", "cached context packed to a workspace",
     context_params, OPS_COUNT(context_params), OPS_BATCH | OPS_LENS,
     run_context},
    {"mm_prefix_query_ranges", "the bidirectional range of each token", NULL, 0,
     OPS_BATCH | OPS_LENS, run_ranges},
    {"causal_conv1d_programs", "programs of a causal convolution", conv_params,
     OPS_COUNT(conv_params), OPS_BATCH, run_conv},
    {"mamba2_chunks", "chunks of a state-space scan", mamba_params,
     OPS_COUNT(mamba_params), OPS_BATCH, run_mamba},
    {"mamba_state_block_table_align", "state indices out of a block table",
     state_params, OPS_COUNT(state_params), 0, run_state},
    {"mamba_state_blocks", "blocks that keep a state", blocks_params,
     OPS_COUNT(blocks_params), OPS_BATCH | OPS_LENS, run_blocks},
    {"dcp_local_seq_lens", "lengths of each context-parallel rank", dcp_params,
     OPS_COUNT(dcp_params), 0, run_dcp},
};
const size_t batch_ops_num_plans = OPS_COUNT(batch_ops_plans);
