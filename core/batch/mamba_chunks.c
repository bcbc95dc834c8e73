/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/recurrent.h>

#include "batch/divisor.h"
#include "batch/plan.h"

typedef struct scan_plan {
    const attn_batch *batch;
    uint32_t first_request, mode;
    divisor chunk;
} scan_plan;

/* Tokens of request r before its first cut. */
static inline uint32_t
head_of(const scan_plan *plan, uint32_t r, uint32_t query)
{
    const attn_batch *batch = plan->batch;
    int32_t origin = batch->query_start_loc[plan->first_request];
    uint32_t at = plan->mode == ATTN_CHUNK_PHYSICAL
                      ? (uint32_t)(batch->query_start_loc[r] - origin)
                      : (uint32_t)batch->seq_lens[r] - query;
    uint32_t inside = at - divisor_div(plan->chunk, at) * plan->chunk.value;
    uint32_t room = plan->chunk.value - inside;

    return room < query ? room : query;
}

static uint64_t
count_chunks(const scan_plan *plan)
{
    uint64_t total = 0;

    for (uint32_t r = plan->first_request; r < plan->batch->num_reqs; r++) {
        uint32_t query = batch_query_len(plan->batch, r);

        total += query != 0;
        total += divisor_ceil(plan->chunk, query - head_of(plan, r, query));
    }
    return total;
}

static void
write_chunks(const scan_plan *plan, int32_t *starts, int32_t *request,
             int32_t *last_chunk)
{
    const attn_batch *batch = plan->batch;
    int32_t token = 0, chunk = (int32_t)plan->chunk.value, made = 0;

    for (uint32_t r = plan->first_request; r < batch->num_reqs; r++) {
        uint32_t query = batch_query_len(batch, r);
        int32_t end = token + (int32_t)query;
        int32_t cut = token + (int32_t)head_of(plan, r, query);
        int32_t index = (int32_t)(r - plan->first_request);

        while (token < end) {
            starts[made] = token;
            request[made++] = index;
            token = cut;
            cut = end - cut > chunk ? cut + chunk : end;
        }
        last_chunk[index] = query ? made - 1 : -1;
    }
    starts[made] = token;
}

attn_status
attn_mamba2_chunks(const attn_batch *batch, uint32_t first_request,
                   uint32_t chunk_size, uint32_t mode, int32_t *starts,
                   int32_t *request, int32_t *last_chunk, uint32_t capacity,
                   uint32_t *count, attn_error *err)
{
    scan_plan plan = {batch, first_request, mode, {0}};
    attn_status status;
    uint64_t total = 0;

    if (!batch || !count || chunk_size == 0 || chunk_size > INT32_MAX ||
        mode > ATTN_CHUNK_PHYSICAL || !starts != !request ||
        !starts != !last_chunk)
        return attn_error_set(err, ATTN_E_ARG, "chunk_size",
                              "mamba2 chunks: chunk_size %u (1 to 2147483647), "
                              "mode %u (0 or 1), or a NULL argument",
                              chunk_size, mode);
    status = attn_batch_need_host(
        batch, "mamba2 chunks",
        mode == ATTN_CHUNK_LOGICAL ? ATTN_EXACT : ATTN_ABSENT, err);
    if (!status)
        status = plan_first(batch, first_request, err);
    if (status)
        return status;
    plan.chunk = divisor_of(chunk_size);
    total = count_chunks(&plan);
    status = plan_fits("mamba2 chunks", starts, capacity, total, err);
    if (status)
        return status;
    *count = (uint32_t)total;
    if (starts)
        write_chunks(&plan, starts, request, last_chunk);
    return ATTN_OK;
}
