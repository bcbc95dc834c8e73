/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "batch/room.h"

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

attn_status
attn_context_parallel(const attn_batch *batch, uint32_t world, uint32_t rank,
                      uint32_t interleave, attn_batch_room *room,
                      attn_batch *out, attn_error *err)
{
    attn_batch_size need = {.struct_size = sizeof need};
    attn_status status;

    if (!batch || !out || rank >= world || interleave == 0 ||
        (uint64_t)world * interleave > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "rank",
                              "rank %u of %u with interleave %u, or a NULL "
                              "argument",
                              rank, world, interleave);
    need.num_reqs = batch->num_reqs;
    status = attn_batch_need_host(batch, "context parallelism",
                                  ATTN_UPPER_BOUND, err);
    if (!status)
        status = attn_room_check(room, &need, "context parallelism", err);
    if (status)
        return status;
    for (uint32_t r = 0; r < batch->num_reqs; r++)
        room->local_seq_lens[r] = attn_context_parallel_local(
            batch->seq_lens[r], world, rank, interleave);
    room->context_parallel.context_parallel = (attn_ext_context_parallel){
        .head = {sizeof(attn_ext_context_parallel), 0,
                 ATTN_EXT_CONTEXT_PARALLEL, batch->ext},
        .world = world,
        .rank = rank,
        .interleave = interleave,
        .local_seq_lens = room->local_seq_lens};
    attn_room_copy(batch, out);
    out->ext = &room->context_parallel.head;
    return ATTN_OK;
}
