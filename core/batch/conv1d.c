/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/recurrent.h>

#include "batch/divisor.h"
#include "batch/plan.h"

static uint64_t
count_programs(const attn_batch *batch, uint32_t first, divisor tile)
{
    const int32_t *start = batch->query_start_loc;
    uint64_t total = 0;

    for (uint32_t r = first; r < batch->num_reqs; r++)
        total += divisor_ceil(tile, (uint32_t)(start[r + 1] - start[r]));
    return total;
}

/* Writes while there is room. Returns the number written, or capacity + 1
 * when there was more. Most requests have one program. */
static uint64_t
write_programs(const attn_batch *batch, uint32_t first, divisor tile,
               int32_t *restrict request, int32_t *restrict offset,
               uint32_t capacity)
{
    const int32_t *start = batch->query_start_loc;
    uint64_t made = 0;

    for (uint32_t r = first; r < batch->num_reqs; r++) {
        uint32_t query = (uint32_t)(start[r + 1] - start[r]);
        uint32_t n = divisor_ceil(tile, query);

        if (made + n > capacity)
            return (uint64_t)capacity + 1;
        if (n == 1) {
            request[made] = (int32_t)(r - first);
            offset[made++] = 0;
            continue;
        }
        for (uint32_t i = 0; i < n; i++, made++) {
            request[made] = (int32_t)(r - first);
            offset[made] = (int32_t)i;
        }
    }
    return made;
}

attn_status
attn_conv1d_programs(const attn_batch *batch, uint32_t first_request,
                     uint32_t block_m, int32_t *request, int32_t *offset,
                     uint32_t capacity, uint32_t *count, attn_error *err)
{
    attn_status status;
    uint64_t total;
    divisor tile;

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
    tile = divisor_of(block_m);
    total = request ? write_programs(batch, first_request, tile, request,
                                     offset, capacity)
                    : count_programs(batch, first_request, tile);
    if (request && total > capacity)
        return plan_fits("conv1d programs", request, capacity,
                         count_programs(batch, first_request, tile), err);
    *count = (uint32_t)total;
    return ATTN_OK;
}
