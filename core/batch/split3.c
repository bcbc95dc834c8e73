/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/plan.h>

#include "batch/plan.h"

attn_status
attn_batch_split3(const attn_batch *batch, uint32_t decode_threshold,
                  attn_split3 *split, attn_error *err)
{
    attn_status status;
    uint32_t n, decodes, prefills;

    if (!batch || !split || decode_threshold == 0)
        return attn_error_set(err, ATTN_E_ARG, "decode_threshold",
                              "three-way split: decode_threshold %u (at least "
                              "1), or a NULL argument",
                              decode_threshold);
    status =
        attn_batch_need_host(batch, "three-way split", ATTN_UPPER_BOUND, err);
    if (status)
        return status;
    n = batch->num_reqs;
    for (decodes = 0; decodes < n; decodes++)
        if (batch_query_len(batch, decodes) > decode_threshold)
            break;
    for (prefills = decodes; prefills < n; prefills++) {
        uint32_t query = batch_query_len(batch, prefills);

        if (query > decode_threshold &&
            query == (uint32_t)batch->seq_lens[prefills])
            break;
    }
    split->num_decodes = decodes;
    split->num_extends = prefills - decodes;
    split->num_prefills = n - prefills;
    split->num_decode_tokens = decodes == n
                                   ? batch->num_tokens
                                   : (uint32_t)batch->query_start_loc[decodes];
    split->num_prefill_tokens =
        prefills == n
            ? 0
            : batch->num_tokens - (uint32_t)batch->query_start_loc[prefills];
    split->num_extend_tokens = batch->num_tokens - split->num_decode_tokens -
                               split->num_prefill_tokens;
    return ATTN_OK;
}
