/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/spec_decode.h>

#include "base/error.h"
#include "batch/batch.h"

attn_status
attn_spec_padded(const attn_batch *batch, const int32_t *num_drafts,
                 const int32_t *num_valid, int32_t *sample_indices,
                 int32_t *num_rejected, attn_error *err)
{
    attn_status status;

    if (!batch ||
        (batch->num_reqs && (!num_drafts || !num_valid || !sample_indices)))
        return attn_error_set(err, ATTN_E_ARG, "num_drafts",
                              "spec padded: a NULL argument");
    status = attn_batch_need_host(batch, "spec padded", ATTN_ABSENT, err);
    if (status)
        return status;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t drafts = num_drafts[r], valid = num_valid[r];

        if (drafts < 0 || valid < 0 || (drafts && valid > drafts + 1) ||
            (drafts && (uint32_t)drafts >= batch_query_len(batch, r)))
            return attn_error_set(err, ATTN_E_ARG, "num_drafts",
                                  "request %u: %d drafts and %d valid tokens "
                                  "with query length %u",
                                  r, drafts, valid, batch_query_len(batch, r));
    }
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t rejected = num_drafts[r] ? num_drafts[r] + 1 - num_valid[r] : 0;

        sample_indices[r] = batch->query_start_loc[r + 1] - 1 - rejected;
        if (num_rejected)
            num_rejected[r] = rejected;
    }
    return ATTN_OK;
}

attn_status
attn_spec_next_tokens(const int32_t *sampled, uint32_t n, uint32_t width,
                      int32_t vocab_size, const uint8_t *discard,
                      const int32_t *backup, int32_t *next, int32_t *num_valid,
                      attn_error *err)
{
    if (n && (!sampled || !backup || !next || !num_valid || width == 0))
        return attn_error_set(err, ATTN_E_ARG, "sampled",
                              "next tokens: width %u, or a NULL argument",
                              width);
    for (uint32_t r = 0; r < n; r++) {
        const int32_t *row = sampled + (size_t)r * width;
        int32_t token = backup[r], valid = 0;

        for (uint32_t i = 0; i < width && !(discard && discard[r]); i++)
            if (row[i] >= 0 && row[i] < vocab_size) {
                token = row[i];
                valid++;
            }
        next[r] = token;
        num_valid[r] = valid;
    }
    return ATTN_OK;
}
