/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_steps.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 1024u
#define SCAN_CHUNK 256u
#define WORKSPACE 65536u
#define DRAFTS 3u
#define MAX_TOKENS (1u << 26)

static attn_status
validate(bench_steps *s, attn_error *err)
{
    return attn_batch_validate(&s->made.batch, err);
}

static attn_status
group_pages(bench_steps *s, attn_error *err)
{
    return attn_kv_group_validate(&s->made.group, &s->made.batch,
                                  ATTN_CHECK_PAGES, err);
}

static attn_status
group_table(bench_steps *s, attn_error *err)
{
    return attn_kv_group_validate(&s->made.group, &s->made.batch,
                                  ATTN_CHECK_TABLE, err);
}

static attn_status
split(bench_steps *s, attn_error *err)
{
    static const attn_split_params params = {sizeof params, 1, 0, 0};
    attn_split result;

    return attn_batch_split(&s->made.batch, &params, &result, err);
}

static attn_status
split3(bench_steps *s, attn_error *err)
{
    attn_split3 result;

    return attn_batch_split3(&s->made.batch, 1, &result, err);
}

static attn_status
slots(bench_steps *s, attn_error *err)
{
    return attn_slot_mapping(&s->made.batch, &s->made.group, s->made.slots,
                             err);
}

/* What every step of an engine needs. */
static attn_status
basic(bench_steps *s, attn_error *err)
{
    attn_status status = slots(s, err);

    if (!status)
        status = validate(s, err);
    if (!status)
        status = group_pages(s, err);
    return status ? status : split(s, err);
}

static attn_status
local(bench_steps *s, attn_error *err)
{
    attn_batch out;
    attn_kv_group group;

    return attn_local_attention(&s->made.batch, &s->made.group, CHUNK, &s->room,
                                &out, &group, err);
}

static attn_status
microbatch(bench_steps *s, attn_error *err)
{
    attn_batch_slice slices[2];
    uint32_t count;
    attn_batch out;
    attn_kv_group group;
    attn_status status =
        attn_microbatch_plan(&s->made.batch, 2, 0, slices, &count, err);

    for (uint32_t i = 0; !status && i < count; i++)
        status = attn_microbatch(&s->made.batch, &s->made.group, &slices[i],
                                 &s->room, &out, &group, err);
    return status;
}

static attn_status
reorder_plan(bench_steps *s, attn_error *err)
{
    uint32_t modified;

    return attn_reorder_plan(s->zeros, s->positions, s->made.prompt,
                             s->made.batch.num_reqs, 1, s->order,
                             (uint32_t *)s->lists[0], &modified, err);
}

static attn_status
reorder(bench_steps *s, attn_error *err)
{
    attn_batch out;
    attn_kv_group group;

    return attn_batch_reorder(&s->made.batch, &s->made.group, s->order, NULL,
                              &s->room, &out, &group, err);
}

static attn_status
pad(bench_steps *s, attn_error *err)
{
    attn_batch out;
    attn_kv_group group;

    return attn_batch_pad(&s->made.batch, &s->made.group,
                          s->made.batch.num_reqs, s->made.batch.num_tokens,
                          &s->room, &out, &group, err);
}

static attn_status
context_chunks(bench_steps *s, attn_error *err)
{
    uint32_t pieces, chunks;

    return attn_context_chunks(
        &s->made.batch, 0, WORKSPACE, s->made.group.block_size, s->pieces,
        s->list_capacity, &pieces, s->chunks, s->list_capacity, &chunks, err);
}

static attn_status
token_requests(bench_steps *s, attn_error *err)
{
    return attn_token_requests(&s->made.batch, s->lists[0], err);
}

static attn_status
conv1d(bench_steps *s, attn_error *err)
{
    uint32_t count;

    return attn_conv1d_programs(&s->made.batch, 0, 8, s->lists[0], s->lists[1],
                                s->list_capacity, &count, err);
}

static attn_status
mamba2(bench_steps *s, attn_error *err)
{
    uint32_t count;

    return attn_mamba2_chunks(&s->made.batch, 0, SCAN_CHUNK, ATTN_CHUNK_LOGICAL,
                              s->lists[0], s->lists[1], s->lists[2],
                              s->list_capacity - 1, &count, err);
}

static attn_status
state_table(bench_steps *s, attn_error *err)
{
    return attn_state_table(&s->made.batch, &s->made.group, DRAFTS, s->lists[0],
                            err);
}

static attn_status
context_parallel(bench_steps *s, attn_error *err)
{
    attn_batch out;

    return attn_context_parallel(&s->made.batch, 4, 1, 1, &s->room, &out, err);
}

static attn_status
compact(bench_steps *s, attn_error *err)
{
    attn_batch out;
    attn_kv_group group;

    return attn_spec_compact(&s->made.batch, &s->made.group, s->zeros, s->order,
                             &s->room, &out, &group, err);
}

static attn_status
draft_step(bench_steps *s, attn_error *err)
{
    attn_batch out;
    attn_kv_group group;

    return attn_spec_draft_step(&s->made.batch, &s->made.group, s->positions,
                                INT32_MAX, s->lists[0], &s->room, &out, &group,
                                err);
}

static attn_status
extend(bench_steps *s, attn_error *err)
{
    attn_batch out;
    attn_kv_group group;
    const attn_spec_extend_params params = {.struct_size = sizeof params,
                                            .count = DRAFTS,
                                            .max_model_len = 1u << 30};

    return attn_spec_extend(&s->made.batch, &s->made.group, &params, &s->room,
                            &out, &group, err);
}

const bench_step bench_step_list[] = {
    {"validate+split+slot_mapping", basic},
    {"validate", validate},
    {"group_validate_pages", group_pages},
    {"group_validate_table", group_table},
    {"split_decodes_and_prefills", split},
    {"split_decodes_prefills_and_extends", split3},
    {"slot_mapping", slots},
    {"local_attention_virtual_batches", local},
    {"split_ubatches", microbatch},
    {"reorder_batch", reorder_plan},
    {"apply_order", reorder},
    {"pad", pad},
    {"mla_context_chunks", context_chunks},
    {"token_requests", token_requests},
    {"causal_conv1d_programs", conv1d},
    {"mamba2_chunks", mamba2},
    {"mamba_state_block_table_align", state_table},
    {"dcp_local_seq_lens", context_parallel},
    {"spec_decode_prepare_inputs", compact},
    {"spec_decode_draft_step", draft_step},
    {"spec_decode_extend", extend},
};
const size_t bench_num_steps = CLI_COUNT(bench_step_list);

/* ------------------------------------------------------------------- set-up */

static int
make_room(bench_steps *s)
{
    attn_error err = CLI_ERROR_INIT;
    const attn_batch *b = &s->made.batch;
    attn_batch_size size;
    uint64_t bytes;
    const uint32_t chunks =
        attn_local_attention_bound(b->num_reqs, b->num_tokens, CHUNK);
    attn_status status = attn_batch_size_of(b, &s->made.group, &size, &err);

    if (size.num_reqs < chunks)
        size.num_reqs = chunks;
    if (size.table_cols < CHUNK / s->made.group.block_size)
        size.table_cols = CHUNK / s->made.group.block_size;
    size.num_tokens += DRAFTS * b->num_reqs;
    if (!status)
        status = attn_batch_room_bytes(&size, &bytes, &err);
    if (status)
        return cli_fail_error(&err);
    bytes = (bytes + 63) / 64 * 64;
    s->memory = aligned_alloc(64, bytes);
    if (!s->memory)
        return cli_fail(CLI_INTERNAL, "out of memory");
    memset(s->memory, 0, bytes);
    if (attn_batch_room_bind(&size, s->memory, bytes, &s->room, &err))
        return cli_fail_error(&err);
    return CLI_OK;
}

static int
make_lists(bench_steps *s)
{
    const uint32_t n = s->made.batch.num_reqs;
    int good = 1;

    s->list_capacity = s->made.batch.num_tokens + (DRAFTS + 2) * n + 1;
    for (size_t i = 0; i < CLI_COUNT(s->lists); i++) {
        s->lists[i] = calloc(s->list_capacity, sizeof *s->lists[i]);
        good &= s->lists[i] != NULL;
    }
    s->order = calloc(s->list_capacity, sizeof *s->order);
    s->positions = calloc(n, sizeof *s->positions);
    s->zeros = calloc(n, sizeof *s->zeros);
    s->pieces = calloc(s->list_capacity, sizeof *s->pieces);
    s->chunks = calloc(s->list_capacity, sizeof *s->chunks);
    if (!good || !s->order || !s->positions || !s->zeros || !s->pieces ||
        !s->chunks)
        return cli_fail(CLI_INTERNAL, "out of memory");
    for (uint32_t r = 0; r < n; r++) {
        s->order[r] = n - 1 - r;
        s->positions[r] = s->made.lens[r] - 1;
    }
    return CLI_OK;
}

int
bench_steps_make(const char *spec, uint32_t block_size, bench_steps *s)
{
    int rc;

    memset(s, 0, sizeof *s);
    rc = batch_make(spec, block_size, 1, MAX_TOKENS, &s->made);
    if (rc == CLI_OK)
        rc = make_room(s);
    return rc == CLI_OK ? make_lists(s) : rc;
}

void
bench_steps_free(bench_steps *s)
{
    batch_made_free(&s->made);
    free(s->memory);
    for (size_t i = 0; i < CLI_COUNT(s->lists); i++)
        free(s->lists[i]);
    free(s->order);
    free(s->positions);
    free(s->zeros);
    free(s->pieces);
    free(s->chunks);
}
