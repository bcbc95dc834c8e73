/* SPDX-License-Identifier: Apache-2.0 */
/* attn/batch.h - the common metadata: validation and transforms. */
#ifndef ATTN_BATCH_H
#define ATTN_BATCH_H

#include <attn/api.h>
#include <attn/metadata.h>

#ifdef __cplusplus
extern "C" {
#endif

/* [any][hot] Every invariant of attn_batch, O(R). ATTN_E_ARG names the field,
 * the request and the values. */
ATTN_API attn_status attn_batch_validate(const attn_batch *batch,
                                         attn_error *err);

#define ATTN_CHECK_PAGES 0u /* block ids of the pages the step writes */
#define ATTN_CHECK_TABLE 1u /* every block id a sequence uses */

/* [any][hot] The group against its batch: columns, slots within
 * num_blocks * block_size, block ids within num_blocks (how many: depth). */
ATTN_API attn_status attn_kv_group_validate(const attn_kv_group *group,
                                            const attn_batch *batch,
                                            uint32_t depth, attn_error *err);

/* [any][hot] slot_mapping[t] of every new token from the block table; tokens
 * past query_start_loc[R] get -1. */
ATTN_API attn_status attn_slot_mapping(const attn_batch *batch,
                                       const attn_kv_group *group,
                                       int64_t *slot_mapping, attn_error *err);

/* The split of a decode-first batch: the first num_decodes requests. */
typedef struct attn_split {
    uint32_t num_decodes, num_prefills;
    uint32_t num_decode_tokens, num_prefill_tokens;
} attn_split;

typedef struct attn_split_params {
    uint32_t struct_size;
    uint32_t decode_threshold; /* longest query that counts as decode, >= 1 */
    uint32_t require_uniform;
    uint32_t treat_short_extends_as_decodes;
} attn_split_params;

/* [any][hot] */
ATTN_API attn_status attn_batch_split(const attn_batch *batch,
                                      const attn_split_params *params,
                                      attn_split *split, attn_error *err);

/* A parsed batch spec ("2q1k_32q1s1k"): R pairs. */
typedef struct attn_spec_request {
    uint32_t query_len, seq_len;
} attn_spec_request;

/* [any] Parses spec; writes at most capacity pairs and the full count.
 * requests may be NULL to size. ATTN_E_ARG points at the bad segment. */
ATTN_API attn_status attn_batch_spec_parse(const char *spec,
                                           attn_spec_request *requests,
                                           uint32_t capacity, uint32_t *count,
                                           attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_BATCH_H */
