/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/batch.h>
#include <attn/plugin.h>
#include <string.h>

#include "base/error.h"
#include "batch/batch.h"

/* ------------------------------------------------------ struct and pointers */

static attn_status
check_shape(const attn_batch *batch, attn_error *err)
{
    if (!batch)
        return attn_error_set(err, ATTN_E_ARG, "batch", "batch is NULL");
    if (batch->struct_size < ATTN_BATCH_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "batch.struct_size",
                              "struct_size %u: at least %u", batch->struct_size,
                              ATTN_BATCH_SIZE_1_0);
    if (batch->flags & ~ATTN_BATCH_CROSS)
        return attn_error_set(err, ATTN_E_ARG, "batch.flags",
                              "flags 0x%x: unknown bits 0x%x", batch->flags,
                              batch->flags & ~ATTN_BATCH_CROSS);
    if (batch->num_reqs >= INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "batch.num_reqs",
                              "num_reqs %u exceeds 2147483646",
                              batch->num_reqs);
    if (batch->num_tokens > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "batch.num_tokens",
                              "num_tokens %u exceeds 2147483647",
                              batch->num_tokens);
    return ATTN_OK;
}

/* A host array and its state must tell the same story. */
static attn_status
check_state(const char *field, uint32_t state, uint32_t most, const void *host,
            const void *device, attn_error *err)
{
    char where[64] = "batch.";

    strncat(where, field, sizeof where - 7);
    if (state > most)
        return attn_error_set(err, ATTN_E_ARG, where, "%s_state %u: at most %u",
                              field, state, most);
    if (state != ATTN_ABSENT && !host)
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s is NULL but its state is %s", field,
                              state == ATTN_EXACT ? "exact" : "upper bound");
    if (state == ATTN_ABSENT && !device)
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s is absent on the host and on the device",
                              field);
    return ATTN_OK;
}

static attn_status
check_mirror(const char *field, const attn_tensor *tensor, uint8_t code,
             uint8_t bits, uint32_t length, attn_error *err)
{
    if (!tensor)
        return ATTN_OK;
    if (tensor->dtype.code != code || tensor->dtype.bits != bits ||
        tensor->dtype.lanes != 1 || tensor->ndim != 1 || !tensor->shape ||
        !tensor->strides)
        return attn_error_set(err, ATTN_E_ARG, field,
                              "%s must be one-dimensional of %u-bit integers; "
                              "it has %d dimensions, code %u, %u bits",
                              field, bits, tensor->ndim, tensor->dtype.code,
                              tensor->dtype.bits);
    if (tensor->shape[0] < (int64_t)length ||
        (length > 1 && tensor->strides[0] != 1) || (length && !tensor->data))
        return attn_error_set(err, ATTN_E_ARG, field,
                              "%s has %lld elements at stride %lld: %u needed "
                              "at stride 1",
                              field, (long long)tensor->shape[0],
                              (long long)tensor->strides[0], length);
    return ATTN_OK;
}

static attn_status
check_arrays(const attn_batch *batch, attn_error *err)
{
    uint32_t n = batch->num_reqs;
    attn_status status = ATTN_OK;

    if (n || batch->query_start_loc_state != ATTN_ABSENT)
        status = check_state("query_start_loc", batch->query_start_loc_state,
                             ATTN_EXACT, batch->query_start_loc,
                             batch->query_start_loc_device, err);
    if (!status && n)
        status =
            check_state("seq_lens", batch->seq_lens_state, ATTN_UPPER_BOUND,
                        batch->seq_lens, batch->seq_lens_device, err);
    if (!status)
        status = check_mirror("batch.query_start_loc_device",
                              batch->query_start_loc_device, ATTN_CODE_INT, 32,
                              n + 1, err);
    if (!status)
        status = check_mirror("batch.seq_lens_device", batch->seq_lens_device,
                              ATTN_CODE_INT, 32, n, err);
    if (!status)
        status = check_mirror("batch.causal_device", batch->causal_device,
                              ATTN_CODE_UINT, 8, n, err);
    return status;
}

/* ----------------------------------------------------------- lengths, O(R) */

static attn_status
explain_starts(const attn_batch *batch, attn_error *err)
{
    const int32_t *start = batch->query_start_loc;

    if (start[0] != 0)
        return attn_error_set(err, ATTN_E_ARG, "batch.query_start_loc",
                              "query_start_loc[0] is %d: must be 0", start[0]);
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        if (start[r + 1] < start[r])
            return attn_error_set(
                err, ATTN_E_ARG, "batch.query_start_loc",
                "request %u: query_start_loc falls from %d to %d", r, start[r],
                start[r + 1]);
        if (batch_query_len(batch, r) > batch->max_query_len)
            return attn_error_set(
                err, ATTN_E_ARG, "batch.max_query_len",
                "request %u: query length %u exceeds max_query_len %u", r,
                batch_query_len(batch, r), batch->max_query_len);
    }
    return attn_error_set(err, ATTN_E_ARG, "batch.query_start_loc",
                          "query_start_loc[%u] is %u: more than num_tokens %u",
                          batch->num_reqs, batch_used_tokens(batch),
                          batch->num_tokens);
}

/* One pass that the compiler can vectorise: collect, decide afterwards. */
static attn_status
check_starts(const attn_batch *batch, attn_error *err)
{
    const int32_t *start = batch->query_start_loc;
    uint32_t n = batch->num_reqs;
    uint32_t longest = 0, bad = 0;

    for (uint32_t r = 0; r < n; r++) {
        int32_t from = start[r], to = start[r + 1];
        uint32_t len = (uint32_t)to - (uint32_t)from;

        bad |= (uint32_t)(to < from);
        longest = len > longest ? len : longest;
    }
    if (bad || start[0] != 0 || longest > batch->max_query_len ||
        (uint32_t)start[n] > batch->num_tokens)
        return explain_starts(batch, err);
    return ATTN_OK;
}

static attn_status
explain_lengths(const attn_batch *batch, attn_error *err)
{
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t len = batch->seq_lens[r];

        if (len < 0)
            return attn_error_set(err, ATTN_E_ARG, "batch.seq_lens",
                                  "request %u: seq_len %d is negative", r, len);
        if ((uint32_t)len > batch->max_seq_len)
            return attn_error_set(err, ATTN_E_ARG, "batch.max_seq_len",
                                  "request %u: seq_len %d exceeds max_seq_len "
                                  "%u",
                                  r, len, batch->max_seq_len);
    }
    return ATTN_OK;
}

static attn_status
check_lengths(const attn_batch *batch, attn_error *err)
{
    const int32_t *lens = batch->seq_lens;
    uint32_t longest = 0;

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t len = (uint32_t)lens[r];
        longest = len > longest ? len : longest;
    }
    if (longest > INT32_MAX || longest > batch->max_seq_len)
        return explain_lengths(batch, err);
    return ATTN_OK;
}

static attn_status
explain_pairs(const attn_batch *batch, attn_error *err)
{
    uint32_t padding = batch->num_reqs;

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t query = batch_query_len(batch, r);
        uint32_t seq = (uint32_t)batch->seq_lens[r];

        if (query > seq && !(batch->flags & ATTN_BATCH_CROSS))
            return attn_error_set(err, ATTN_E_ARG, "batch.seq_lens",
                                  "request %u: query length %u exceeds seq_len "
                                  "%u",
                                  r, query, seq);
        if (query == 0 && seq == 0 && padding == batch->num_reqs)
            padding = r;
        if ((query || seq) && padding < r)
            return attn_error_set(err, ATTN_E_ARG, "batch.seq_lens",
                                  "request %u: query length %u and seq_len %u "
                                  "after padding request %u: padding requests "
                                  "stand last",
                                  r, query, seq, padding);
    }
    return ATTN_OK;
}

static attn_status
check_pairs(const attn_batch *batch, attn_error *err)
{
    const int32_t *start = batch->query_start_loc;
    const int32_t *lens = batch->seq_lens;
    uint32_t cross = batch->flags & ATTN_BATCH_CROSS;
    uint32_t bad = 0;

    for (uint32_t r = 0; r < batch->num_reqs; r++)
        bad |= (uint32_t)(start[r + 1] - start[r] > lens[r]);
    bad &= (uint32_t)!cross;
    for (uint32_t r = 1; r < batch->num_reqs; r++)
        bad |= (uint32_t)((lens[r - 1] | (start[r] - start[r - 1])) == 0) &
               (uint32_t)((lens[r] | (start[r + 1] - start[r])) != 0);
    return bad ? explain_pairs(batch, err) : ATTN_OK;
}

/* ---------------------------------------------------------- optional arrays */

static attn_status
check_bytes(const char *field, const uint8_t *bytes, uint32_t n,
            attn_error *err)
{
    uint8_t seen = 0;

    if (!bytes)
        return ATTN_OK;
    for (uint32_t r = 0; r < n; r++)
        seen |= bytes[r];
    if (seen <= 1)
        return ATTN_OK;
    for (uint32_t r = 0; r < n; r++)
        if (bytes[r] > 1)
            return attn_error_set(err, ATTN_E_ARG, field,
                                  "request %u: %s is %u: 0 or 1", r, field,
                                  bytes[r]);
    return ATTN_OK;
}

static attn_status
explain_prompts(const attn_batch *batch, attn_error *err)
{
    for (uint32_t r = 0; r < batch->num_reqs; r++)
        if (batch->num_prompt_tokens[r] < 0)
            return attn_error_set(err, ATTN_E_ARG, "batch.num_prompt_tokens",
                                  "request %u: num_prompt_tokens %d is "
                                  "negative",
                                  r, batch->num_prompt_tokens[r]);
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t query = (int32_t)batch_query_len(batch, r);
        int32_t context = batch->seq_lens[r] - query;

        if ((query || context) &&
            batch->is_prefilling[r] != (context < batch->num_prompt_tokens[r]))
            return attn_error_set(err, ATTN_E_ARG, "batch.is_prefilling",
                                  "request %u: is_prefilling is %u with %d of "
                                  "%d prompt tokens computed",
                                  r, batch->is_prefilling[r], context,
                                  batch->num_prompt_tokens[r]);
    }
    return ATTN_OK;
}

static attn_status
check_prompts(const attn_batch *batch, attn_error *err)
{
    const int32_t *prompt = batch->num_prompt_tokens;
    const int32_t *start = batch->query_start_loc, *lens = batch->seq_lens;
    const uint8_t *flags = batch->is_prefilling;
    int32_t negative = 0, bad = 0;

    if (!prompt)
        return ATTN_OK;
    for (uint32_t r = 0; r < batch->num_reqs; r++)
        negative |= prompt[r];
    if (flags && batch->query_start_loc_state == ATTN_EXACT &&
        batch->seq_lens_state == ATTN_EXACT &&
        !(batch->flags & ATTN_BATCH_CROSS))
        for (uint32_t r = 0; r < batch->num_reqs; r++) {
            int32_t query = start[r + 1] - start[r];
            int32_t wrong = flags[r] ^ (lens[r] - query < prompt[r]);

            bad |= wrong & ((query | lens[r]) != 0);
        }
    return negative < 0 || bad ? explain_prompts(batch, err) : ATTN_OK;
}

static attn_status
check_padding_flags(const attn_batch *batch, attn_error *err)
{
    for (uint32_t r = batch->num_reqs; batch->is_prefilling && r-- > 0;) {
        if (batch_query_len(batch, r) || batch->seq_lens[r])
            break;
        if (batch->is_prefilling[r])
            return attn_error_set(err, ATTN_E_ARG, "batch.is_prefilling",
                                  "request %u: a padding request is marked as "
                                  "prefilling",
                                  r);
    }
    return ATTN_OK;
}

attn_status
attn_batch_validate(const attn_batch *batch, attn_error *err)
{
    attn_status status = check_shape(batch, err);

    if (!status)
        status = check_arrays(batch, err);
    if (!status && batch->query_start_loc_state != ATTN_ABSENT)
        status = check_starts(batch, err);
    if (!status && batch->num_reqs && batch->seq_lens_state != ATTN_ABSENT) {
        status = check_lengths(batch, err);
        if (!status && batch->query_start_loc_state != ATTN_ABSENT)
            status = check_pairs(batch, err);
        if (!status && batch->query_start_loc_state != ATTN_ABSENT)
            status = check_padding_flags(batch, err);
    }
    if (!status)
        status = check_bytes("batch.is_prefilling", batch->is_prefilling,
                             batch->num_reqs, err);
    if (!status)
        status =
            check_bytes("batch.causal", batch->causal, batch->num_reqs, err);
    if (!status)
        status = check_prompts(batch, err);
    if (!status && batch->ext)
        status = attn_batch_ext_validate(batch, err);
    return status;
}
