/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "base/size.h"
#include "batch/room.h"

#define QUERY_TILE 128u
#define KEY_TILE 128u

static uint64_t
ceil_div(uint64_t n, uint64_t d)
{
    return (n + d - 1) / d;
}

static uint32_t
common_prefix(const attn_batch *batch, const attn_kv_group *group,
              uint32_t num_common_blocks)
{
    uint64_t shared = (uint64_t)num_common_blocks * group->block_size;

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t query = batch_query_len(batch, r);
        uint32_t context = (uint32_t)batch->seq_lens[r] - query;

        /* an idle request must not turn into padding */
        context -= query == 0 && context > 0;
        shared = context < shared ? context : shared;
    }
    return (uint32_t)(shared - shared % group->block_size);
}

static int
all_single(const attn_batch *batch)
{
    uint32_t other = 0;

    for (uint32_t r = 0; r < batch->num_reqs; r++)
        other |= batch_query_len(batch, r) ^ 1;
    return other == 0;
}

/* Rounds of work of the two ways when every processor runs one tile. */
static int
fewer_rounds(const attn_batch *batch, const attn_cascade_params *p,
             uint32_t prefix)
{
    uint64_t ratio = p->num_heads / p->num_kv_heads;
    uint64_t tiles = ceil_div(prefix, KEY_TILE);
    uint64_t shared = ceil_div(
        p->num_heads * ceil_div(batch->num_reqs, QUERY_TILE), p->num_units);
    uint64_t apart = ceil_div((uint64_t)batch->num_reqs * p->num_kv_heads *
                                  ceil_div(ratio, QUERY_TILE) * tiles,
                              p->num_units);

    return shared * tiles < apart;
}

static attn_status
check_params(const attn_cascade_params *p, attn_error *err)
{
    const size_t least = ATTN_UP_TO(attn_cascade_params, min_reqs);

    if (p->struct_size < least)
        return attn_error_params(err, p->struct_size, least);
    if (p->num_heads && p->num_kv_heads && p->num_units &&
        p->num_heads % p->num_kv_heads == 0)
        return ATTN_OK;
    return attn_error_set(
        err, ATTN_E_ARG, "params",
        "cascade: %u heads, %u kv heads, %u processors: heads "
        "must be a multiple of kv heads, none may be 0",
        p->num_heads, p->num_kv_heads, p->num_units);
}

static attn_status
check_group(const attn_batch *batch, const attn_kv_group *group,
            attn_error *err)
{
    if (!batch || !group)
        return attn_error_set(err, ATTN_E_ARG, "group",
                              "cascade: batch or group is NULL");
    if (group->flags & ATTN_KV_STATE || group->block_size == 0 ||
        batch->flags & ATTN_BATCH_CROSS)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "group",
                              "cascade of a state group or of another "
                              "sequence");
    return attn_batch_need_host(batch, "cascade", ATTN_EXACT, err);
}

attn_status
attn_cascade_plan(const attn_batch *batch, const attn_kv_group *group,
                  const attn_cascade_params *params, uint32_t *prefix_len,
                  attn_error *err)
{
    attn_status status = check_group(batch, group, err);
    uint32_t prefix;
    int pays;

    if (!status && (!params || !prefix_len))
        return attn_error_set(err, ATTN_E_ARG, "params",
                              "cascade: params or prefix_len is NULL");
    if (!status)
        status = check_params(params, err);
    if (status)
        return status;
    prefix = common_prefix(batch, group, params->num_common_blocks);
    pays = !params->excluded && prefix > 0 && !batch->ext &&
           prefix >= (params->min_prefix ? params->min_prefix : 256) &&
           batch->num_reqs >= (params->min_reqs ? params->min_reqs : 8);
    if (pays && params->num_heads > params->num_kv_heads && all_single(batch))
        pays = fewer_rounds(batch, params, prefix);
    *prefix_len = pays ? prefix : 0;
    return ATTN_OK;
}

/* -------------------------------------------------------------- two passes */

static attn_status
check_pass(const attn_batch *batch, const attn_kv_group *group, uint32_t prefix,
           const attn_batch *out, const attn_kv_group *out_group,
           attn_error *err)
{
    attn_status status = check_group(batch, group, err);

    if (status)
        return status;
    if (!out || !out_group)
        return attn_error_set(err, ATTN_E_ARG, "out",
                              "out or out_group is NULL");
    if (attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES) ||
        attn_ext_find(batch->ext, ATTN_EXT_CONTEXT_PARALLEL))
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "batch.ext",
                              "cascade with prefix ranges or context "
                              "parallelism");
    if (batch->num_reqs && prefix && prefix % group->block_size == 0 &&
        prefix / group->block_size <= group->block_table_cols &&
        prefix <= common_prefix(batch, group, prefix / group->block_size))
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "prefix_len",
                          "prefix_len %u: a multiple of block_size %u, within "
                          "the context of each of %u requests",
                          prefix, group->block_size, batch->num_reqs);
}

attn_status
attn_cascade_prefix(const attn_batch *batch, const attn_kv_group *group,
                    uint32_t prefix_len, attn_batch_room *room, attn_batch *out,
                    attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need = {.struct_size = sizeof need, .num_reqs = 1};
    attn_status status =
        check_pass(batch, group, prefix_len, out, out_group, err);

    if (!status)
        status = attn_room_check(room, &need, "cascade prefix", err);
    if (status)
        return status;
    room->source[0] = 0;
    room->query_start_loc[0] = 0;
    room->query_start_loc[1] = (int32_t)batch_used_tokens(batch);
    room->seq_lens[0] = (int32_t)prefix_len;
    const attn_batch one = {.struct_size = batch->struct_size,
                            .flags = ATTN_BATCH_CROSS,
                            .num_reqs = 1,
                            .num_tokens = batch->num_tokens,
                            .max_query_len = batch_used_tokens(batch),
                            .max_seq_len = prefix_len,
                            .query_start_loc_state = ATTN_EXACT,
                            .seq_lens_state = ATTN_EXACT,
                            .query_start_loc = room->query_start_loc,
                            .seq_lens = room->seq_lens};
    attn_room_copy(&one, out);
    attn_room_begin_group(group, out_group);
    out_group->block_table_cols = prefix_len / group->block_size;
    out_group->slot_mapping = NULL;
    return ATTN_OK;
}

static void
shift_lengths(const attn_batch *batch, int32_t prefix, attn_batch_room *room,
              attn_batch *out)
{
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        room->source[r] = r;
        room->seq_lens[r] = batch->seq_lens[r] - prefix;
        if (batch->num_prompt_tokens)
            room->num_prompt_tokens[r] =
                batch->num_prompt_tokens[r] > prefix
                    ? batch->num_prompt_tokens[r] - prefix
                    : 0;
    }
    out->seq_lens = room->seq_lens;
    if (batch->num_prompt_tokens)
        out->num_prompt_tokens = room->num_prompt_tokens;
    out->max_seq_len -= (uint32_t)prefix;
}

attn_status
attn_cascade_suffix(const attn_batch *batch, const attn_kv_group *group,
                    uint32_t prefix_len, attn_batch_room *room, attn_batch *out,
                    attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need = {.struct_size = sizeof need};
    attn_status status =
        check_pass(batch, group, prefix_len, out, out_group, err);
    uint32_t shift;

    need.num_reqs = status ? 0 : batch->num_reqs;
    if (!status)
        status = attn_room_check(room, &need, "cascade suffix", err);
    if (status)
        return status;
    attn_room_begin(batch, out);
    out->query_start_loc_device = batch->query_start_loc_device;
    out->causal_device = batch->causal_device;
    shift_lengths(batch, (int32_t)prefix_len, room, out);
    attn_room_begin_group(group, out_group);
    shift = prefix_len / group->block_size;
    out_group->slot_mapping_device = group->slot_mapping_device;
    out_group->block_table_cols -= shift;
    if (group->block_table)
        out_group->block_table = group->block_table + shift;
    return ATTN_OK;
}
