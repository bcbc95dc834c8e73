/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/batch.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/batch.h"

#define LEAST ATTN_UP_TO(attn_split_params, treat_short_extends_as_decodes)

static attn_status
check_split(const attn_batch *batch, const attn_split_params *params,
            const attn_split *split, attn_error *err)
{
    if (!batch || !params || !split)
        return attn_error_set(err, ATTN_E_ARG, "split",
                              "batch, params or split is NULL");
    if (params->struct_size < LEAST)
        return attn_error_params(err, params->struct_size, LEAST);
    if (params->decode_threshold == 0)
        return attn_error_set(err, ATTN_E_ARG, "decode_threshold",
                              "decode_threshold 0: at least 1");
    if (!params->treat_short_extends_as_decodes && batch->num_reqs &&
        !batch->is_prefilling)
        return attn_error_set(err, ATTN_E_ARG, "batch.is_prefilling",
                              "is_prefilling is absent: telling short extends "
                              "from decodes needs it");
    return attn_batch_need_host(batch, "split", ATTN_ABSENT, err);
}

static int
is_uniform(const int32_t *start, uint32_t num_reqs)
{
    int32_t first = start[1] - start[0];
    int32_t differs = 0;

    for (uint32_t r = 0; r < num_reqs; r++) {
        int32_t len = start[r + 1] - start[r];
        differs |= (len != first) & (len != 0);
    }
    return !differs;
}

/* The first request that is no decode; num_reqs when all are. */
static uint32_t
first_prefill(const attn_batch *batch, const attn_split_params *params)
{
    const int32_t *start = batch->query_start_loc;
    const uint8_t *prefilling =
        params->treat_short_extends_as_decodes ? NULL : batch->is_prefilling;
    int32_t uniform = params->require_uniform ? start[1] - start[0] : -1;
    uint32_t longest = params->decode_threshold;

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t len = start[r + 1] - start[r];
        if (uniform >= 0 ? len != uniform : (uint32_t)len > longest)
            return r;
        if (prefilling && prefilling[r])
            return r;
    }
    return batch->num_reqs;
}

static uint32_t
find_split(const attn_batch *batch, const attn_split_params *params)
{
    uint32_t threshold = params->decode_threshold;
    uint32_t treat = params->treat_short_extends_as_decodes;
    const int32_t *start = batch->query_start_loc;

    if (batch->num_reqs == 0)
        return 0;
    if (batch->max_query_len <= threshold && treat &&
        (!params->require_uniform || threshold <= 1))
        return batch->num_reqs;
    if ((uint32_t)(start[1] - start[0]) > threshold)
        return 0;
    if (params->require_uniform && treat && is_uniform(start, batch->num_reqs))
        return batch->num_reqs;
    return first_prefill(batch, params);
}

attn_status
attn_batch_split(const attn_batch *batch, const attn_split_params *params,
                 attn_split *split, attn_error *err)
{
    attn_status status = check_split(batch, params, split, err);
    uint32_t first;

    if (status)
        return status;
    first = find_split(batch, params);
    split->num_decodes = first;
    split->num_prefills = batch->num_reqs - first;
    split->num_decode_tokens = first < batch->num_reqs
                                   ? (uint32_t)batch->query_start_loc[first]
                                   : batch->num_tokens;
    split->num_prefill_tokens = batch->num_tokens - split->num_decode_tokens;
    return ATTN_OK;
}
