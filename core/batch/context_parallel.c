/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "batch/batch.h"

int32_t
attn_context_parallel_local(int32_t seq_len, uint32_t world, uint32_t rank,
                            uint32_t interleave)
{
    int64_t stripe = (int64_t)world * interleave;
    int64_t rounds = seq_len / stripe;
    int64_t rest = seq_len - rounds * stripe - (int64_t)rank * interleave;

    if (rest < 0)
        rest = 0;
    if (rest > interleave)
        rest = interleave;
    return (int32_t)(rounds * interleave + rest);
}
