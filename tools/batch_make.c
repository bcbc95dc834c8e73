/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_make.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES (UINT64_C(1) << 28)

static int
allocate(batch_made *m, uint64_t reqs, uint64_t tokens, uint64_t cols)
{
    m->start = calloc(reqs + 1, sizeof *m->start);
    m->lens = calloc(reqs, sizeof *m->lens);
    m->prompt = calloc(reqs, sizeof *m->prompt);
    m->prefilling = calloc(reqs, sizeof *m->prefilling);
    m->table = calloc(reqs * cols, sizeof *m->table);
    m->slots = calloc(tokens, sizeof *m->slots);
    return m->start && m->lens && m->prompt && m->prefilling && m->table &&
           m->slots;
}

static void
fill_lengths(const attn_spec_request *requests, batch_made *m)
{
    for (uint32_t r = 0; r < m->batch.num_reqs; r++) {
        uint32_t query = requests[r].query_len, seq = requests[r].seq_len;
        int decode = query == 1 && seq > 1;

        m->start[r + 1] = m->start[r] + (int32_t)query;
        m->lens[r] = (int32_t)seq;
        m->prefilling[r] = !decode;
        m->prompt[r] = (int32_t)(decode ? seq - 1 : seq);
    }
}

/* A permutation of all blocks, dealt out request by request. */
static int
fill_table(uint64_t seed, batch_made *m)
{
    uint32_t n = m->group.num_blocks, next = 0;
    uint32_t *blocks = calloc(n, sizeof *blocks);
    uint64_t state = seed * 2 + 1;

    if (!blocks)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j;

        state = state * 6364136223846793005u + 1442695040888963407u;
        j = (uint32_t)((state >> 32) * (i + 1) >> 32);
        blocks[i] = blocks[j];
        blocks[j] = i;
    }
    for (uint32_t r = 0; r < m->batch.num_reqs; r++) {
        int32_t *row = m->table + (size_t)r * m->group.block_table_cols;
        uint32_t used = ((uint32_t)m->lens[r] + m->group.block_size - 1) /
                            m->group.block_size +
                        BATCH_MADE_SPARE;

        for (uint32_t c = 0; c < m->group.block_table_cols; c++)
            row[c] = c < used ? (int32_t)blocks[next++] : INT32_MAX;
    }
    free(blocks);
    return 1;
}

static void
point(const attn_spec_request *requests, uint32_t n, uint32_t block_size,
      batch_made *m)
{
    attn_batch *b = &m->batch;
    attn_kv_group *g = &m->group;
    uint64_t blocks = 0;

    *b = (attn_batch){.struct_size = sizeof *b,
                      .num_reqs = n,
                      .query_start_loc_state = ATTN_EXACT,
                      .seq_lens_state = ATTN_EXACT};
    *g = (attn_kv_group){.struct_size = sizeof *g, .block_size = block_size};
    for (uint32_t r = 0; r < n; r++) {
        uint32_t used = (requests[r].seq_len - 1) / block_size + 1;

        b->num_tokens += requests[r].query_len;
        if (requests[r].query_len > b->max_query_len)
            b->max_query_len = requests[r].query_len;
        if (requests[r].seq_len > b->max_seq_len)
            b->max_seq_len = requests[r].seq_len;
        blocks += used + BATCH_MADE_SPARE;
    }
    g->num_blocks = blocks < MAX_ENTRIES ? (uint32_t)blocks : 0;
    g->block_table_cols =
        (b->max_seq_len - 1) / block_size + 1 + BATCH_MADE_SPARE;
    g->block_table_stride = g->block_table_cols;
}

static int
check_size(const char *spec, uint32_t max_tokens, const batch_made *m)
{
    const attn_batch *b = &m->batch;
    const uint32_t cols = m->group.block_table_cols;

    if (b->num_tokens > max_tokens)
        return cli_fail(CLI_USAGE, "batch spec '%s': %u tokens, at most %u",
                        spec, b->num_tokens, max_tokens);
    if ((uint64_t)b->num_reqs * cols > MAX_ENTRIES || !m->group.num_blocks)
        return cli_fail(CLI_USAGE,
                        "batch spec '%s': a block table of %u rows and %u "
                        "columns, at most %llu entries",
                        spec, b->num_reqs, cols,
                        (unsigned long long)MAX_ENTRIES);
    return CLI_OK;
}

static int
fill(const attn_spec_request *requests, uint64_t seed, batch_made *m)
{
    attn_batch *b = &m->batch;
    attn_kv_group *g = &m->group;
    attn_error err = CLI_ERROR_INIT;

    if (!allocate(m, b->num_reqs, b->num_tokens, g->block_table_cols))
        return cli_fail(CLI_INTERNAL, "out of memory");
    fill_lengths(requests, m);
    if (!fill_table(seed, m))
        return cli_fail(CLI_INTERNAL, "out of memory");
    b->query_start_loc = m->start;
    b->seq_lens = m->lens;
    b->is_prefilling = m->prefilling;
    b->num_prompt_tokens = m->prompt;
    g->block_table = m->table;
    if (attn_slot_mapping(b, g, m->slots, &err))
        return cli_fail_error(&err);
    g->slot_mapping = m->slots;
    return CLI_OK;
}

int
batch_requests(const char *spec, attn_spec_request **requests, uint32_t *count)
{
    attn_error err = CLI_ERROR_INIT;

    if (attn_batch_spec_parse(spec, NULL, 0, count, &err))
        return cli_fail_error(&err);
    if (*count > BATCH_MAX_REQUESTS)
        return cli_fail(CLI_USAGE, "batch spec '%s': %u requests, at most %u",
                        spec, *count, BATCH_MAX_REQUESTS);
    *requests = calloc(*count, sizeof **requests);
    if (!*requests)
        return cli_fail(CLI_INTERNAL, "out of memory");
    if (!attn_batch_spec_parse(spec, *requests, *count, count, &err))
        return CLI_OK;
    free(*requests);
    *requests = NULL;
    return cli_fail_error(&err);
}

int
batch_make(const char *spec, uint32_t block_size, uint64_t seed,
           uint32_t max_tokens, batch_made *made)
{
    attn_spec_request *requests;
    uint32_t n;
    int rc;

    memset(made, 0, sizeof *made);
    rc = batch_requests(spec, &requests, &n);
    if (rc != CLI_OK)
        return rc;
    point(requests, n, block_size, made);
    rc = check_size(spec, max_tokens, made);
    if (rc == CLI_OK)
        rc = fill(requests, seed, made);
    free(requests);
    return rc;
}

void
batch_made_free(batch_made *m)
{
    free(m->start);
    free(m->lens);
    free(m->prompt);
    free(m->prefilling);
    free(m->table);
    free(m->slots);
}
