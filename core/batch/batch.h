/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. */
#ifndef ATTN_BATCH_BATCH_H
#define ATTN_BATCH_BATCH_H

#include <attn/batch.h>

/* Tokens that belong to a request; the rest of num_tokens is padding. The
 * host query_start_loc must be present. */
static inline uint32_t
batch_used_tokens(const attn_batch *batch)
{
    return (uint32_t)batch->query_start_loc[batch->num_reqs];
}

static inline uint32_t
batch_query_len(const attn_batch *batch, uint32_t r)
{
    return (uint32_t)(batch->query_start_loc[r + 1] -
                      batch->query_start_loc[r]);
}

/* A block of the chain with this id, or NULL. */
const attn_ext *attn_ext_find(const attn_ext *chain, const char *id);

/* ATTN_E_ARG unless the host arrays that `transform` reads are there:
 * query_start_loc always, seq_lens at least as `seq_lens` says (ATTN_ABSENT:
 * not needed; ATTN_UPPER_BOUND: a bound will do; ATTN_EXACT). */
attn_status attn_batch_need_host(const attn_batch *batch, const char *transform,
                                 uint32_t seq_lens, attn_error *err);

/* ATTN_E_ARG unless a group, when there is one, has blocks, and a host block
 * table where it has slots: `transform` maps new ones by it. */
attn_status attn_group_need_table(const attn_kv_group *group,
                                  const char *transform, attn_error *err);

/* How many of the first seq_len positions `rank` owns. */
int32_t attn_context_parallel_local(int32_t seq_len, uint32_t world,
                                    uint32_t rank, uint32_t interleave);

/* The extension chains, once the structs themselves are right. */
attn_status attn_batch_ext_validate(const attn_batch *batch, attn_error *err);
attn_status attn_group_ext_validate(const attn_kv_group *group,
                                    const attn_batch *batch, attn_error *err);

#endif /* ATTN_BATCH_BATCH_H */
