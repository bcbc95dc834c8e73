/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/recurrent.h>

#include "batch/divisor.h"
#include "batch/plan.h"

static uint64_t
count_programs(const attn_batch *batch, uint32_t first, divisor tile)
{
    uint64_t total = 0;

    for (uint32_t r = first; r < batch->num_reqs; r++)
        total += divisor_ceil(tile, batch_query_len(batch, r));
    return total;
}

static void
write_programs(const attn_batch *batch, uint32_t first, divisor tile,
               int32_t *request, int32_t *offset)
{
    for (uint32_t r = first; r < batch->num_reqs; r++) {
        uint32_t n = divisor_ceil(tile, batch_query_len(batch, r));

        for (uint32_t i = 0; i < n; i++) {
            *request++ = (int32_t)(r - first);
            *offset++ = (int32_t)i;
        }
    }
}

attn_status
attn_conv1d_programs(const attn_batch *batch, uint32_t first_request,
                     uint32_t block_m, int32_t *request, int32_t *offset,
                     uint32_t capacity, uint32_t *count, attn_error *err)
{
    attn_status status;
    uint64_t total;

    if (!batch || !count || block_m == 0 || block_m > INT32_MAX ||
        !request != !offset)
        return attn_error_set(err, ATTN_E_ARG, "block_m",
                              "conv1d programs: block_m %u (1 to 2147483647), "
                              "or a NULL argument",
                              block_m);
    status = attn_batch_need_host(batch, "conv1d programs", ATTN_ABSENT, err);
    if (!status)
        status = plan_first(batch, first_request, err);
    if (status)
        return status;
    total = count_programs(batch, first_request, divisor_of(block_m));
    status = plan_fits("conv1d programs", request, capacity, total, err);
    if (status)
        return status;
    *count = (uint32_t)total;
    if (request)
        write_programs(batch, first_request, divisor_of(block_m), request,
                       offset);
    return ATTN_OK;
}
