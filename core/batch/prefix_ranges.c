/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/plan.h>

#include "batch/plan.h"

/* The new tokens [*from, *to) of request r that lie in a range. */
static int
touched(const attn_batch *batch, uint32_t r, const int32_t *range,
        int32_t *from, int32_t *to)
{
    int32_t query = (int32_t)batch_query_len(batch, r);
    int32_t context = batch->seq_lens[r] - query;

    if (range[1] <= range[0])
        return 0;
    *from = range[0] > context ? range[0] - context : 0;
    *to = range[1] - context + 1 < query ? range[1] - context + 1 : query;
    return *from < *to;
}

static int
any_touched(const attn_batch *batch, const attn_ext_prefix_ranges *p)
{
    const int32_t *range = p->ranges;
    int32_t from, to;

    for (uint32_t r = 0; r < batch->num_reqs; r++)
        for (uint32_t i = 0; i < p->max_ranges; i++, range += 2)
            if (touched(batch, r, range, &from, &to))
                return 1;
    return 0;
}

static void
write_ranges(const attn_batch *batch, const attn_ext_prefix_ranges *p,
             int32_t *ranges)
{
    const int32_t *range = p->ranges;
    int32_t from, to;

    for (uint32_t t = 0; t < 2 * batch_used_tokens(batch); t++)
        ranges[t] = -1;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t *rows = ranges + 2 * (size_t)batch->query_start_loc[r];

        for (uint32_t i = 0; i < p->max_ranges; i++, range += 2) {
            if (!touched(batch, r, range, &from, &to))
                continue;
            for (int32_t t = from; t < to; t++) {
                rows[2 * t] = range[0];
                rows[2 * t + 1] = range[1];
            }
        }
    }
}

attn_status
attn_prefix_query_ranges(const attn_batch *batch, int32_t *ranges,
                         uint32_t capacity, uint32_t *rows, attn_error *err)
{
    const attn_ext_prefix_ranges *p;
    attn_status status;
    uint32_t count;

    if (!batch || !rows)
        return attn_error_set(err, ATTN_E_ARG, "batch",
                              "prefix query ranges: a NULL argument");
    status =
        attn_batch_need_host(batch, "prefix query ranges", ATTN_EXACT, err);
    if (status)
        return status;
    p = (const void *)attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES);
    if (p && p->max_ranges && !p->ranges)
        return attn_error_set(err, ATTN_E_ARG, "ext.prefix_ranges",
                              "ranges are absent on the host");
    count = p && any_touched(batch, p) ? batch_used_tokens(batch) : 0;
    status = plan_fits("prefix query ranges", ranges, capacity, count, err);
    if (status)
        return status;
    *rows = count;
    if (count && ranges)
        write_ranges(batch, p, ranges);
    return ATTN_OK;
}

attn_status
attn_token_requests(const attn_batch *batch, int32_t *request, attn_error *err)
{
    attn_status status;

    if (!batch || (batch->num_tokens && !request))
        return attn_error_set(err, ATTN_E_ARG, "request",
                              "token requests: a NULL argument");
    status = attn_batch_need_host(batch, "token requests", ATTN_ABSENT, err);
    if (status)
        return status;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t end = batch->query_start_loc[r + 1];

        for (int32_t t = batch->query_start_loc[r]; t < end; t++)
            request[t] = (int32_t)r;
    }
    for (uint32_t t = batch->num_reqs ? batch_used_tokens(batch) : 0;
         t < batch->num_tokens; t++)
        request[t] = 0;
    return ATTN_OK;
}
