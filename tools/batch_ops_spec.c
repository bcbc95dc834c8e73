/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of speculative decoding, and the merge of partial results. */
#include "batch_case.h"

#include <math.h>
#include <stdlib.h>

static const batch_param verify_params[] = {
    {"num_draft_tokens", NULL, "drafts of each request"},
    {"num_accepted_tokens", NULL, "drafts that were accepted"},
};

static attn_status
read_rejected(ops_case *c, int32_t **rejected)
{
    int32_t *accepted;
    uint32_t n = c->batch.num_reqs;
    attn_status status = ops_i32_exact(c, "num_draft_tokens", n, rejected);

    if (!status)
        status = ops_i32_exact(c, "num_accepted_tokens", n, &accepted);
    for (uint32_t r = 0; !status && r < n; r++) {
        if (accepted[r] < 0 || accepted[r] > (*rejected)[r])
            return ops_error(c, "num_accepted_tokens",
                             "request %u: %d accepted of %d drafts", r,
                             accepted[r], (*rejected)[r]);
        (*rejected)[r] -= accepted[r];
    }
    return status;
}

static attn_status
run_compact(ops_case *c, json_t *result)
{
    int32_t *rejected;
    uint32_t *indices = ops_alloc(c, c->batch.num_tokens, sizeof *indices);
    attn_status status = read_rejected(c, &rejected);

    if (!indices)
        return ATTN_E_NOMEM;
    if (!status)
        status = ops_room_same(c);
    if (!status)
        status = attn_spec_compact(&c->batch, c->kv, rejected, indices,
                                   &c->room, &c->out, c->out_kv, c->err);
    if (status)
        return status;
    json_object_set_new(result, "token_indices",
                        ops_list_u32(indices, c->out.num_tokens));
    return ops_put_out(c, ATTN_OK, result);
}

static const batch_param padded_params[] = {
    {"num_draft_tokens", NULL, "drafts of each request"},
    {"num_valid_tokens", NULL, "tokens that the sampler returned"},
};

static attn_status
run_padded(ops_case *c, json_t *result)
{
    uint32_t n = c->batch.num_reqs;
    int32_t *drafts, *valid;
    int32_t *indices = ops_alloc(c, n, sizeof *indices);
    int32_t *rejected = ops_alloc(c, n, sizeof *rejected);
    attn_status status = ops_i32_exact(c, "num_draft_tokens", n, &drafts);

    if (!indices || !rejected)
        return ATTN_E_NOMEM;
    if (!status)
        status = ops_i32_exact(c, "num_valid_tokens", n, &valid);
    if (!status)
        status = attn_spec_padded(&c->batch, drafts, valid, indices, rejected,
                                  c->err);
    ops_put_i32(result, "token_indices_to_sample", indices, n);
    ops_put_i32(result, "num_rejected_tokens", rejected, n);
    return status;
}

static const batch_param next_params[] = {
    {"sampled_token_ids", NULL, "all rows one after another, -1: rejected"},
    {"width", NULL, "tokens of a row"},
    {"vocab_size", "2147483647", "tokens from here on are not valid"},
    {"backup_tokens", NULL, "used where no token is valid"},
    {"discard", "null", "1 for requests whose samples do not count"},
};

static attn_status
run_next(ops_case *c, json_t *result)
{
    int32_t *sampled, *backup, *discard;
    uint32_t n, width, vocab, flags, total;
    uint8_t *mask = NULL;
    int32_t *out;
    attn_status status = ops_i32_array(c, "backup_tokens", &backup, &n);

    if (!status)
        status = ops_u32(c, "width", &width);
    if (!status)
        status = ops_u32(c, "vocab_size", &vocab);
    if (!status)
        status = ops_i32_array(c, "sampled_token_ids", &sampled, &total);
    if (!status)
        status = ops_i32_array(c, "discard", &discard, &flags);
    if (status)
        return status;
    if ((uint64_t)n * width != total || (discard && flags != n) ||
        vocab > INT32_MAX)
        return ops_error(c, "sampled_token_ids",
                         "%u tokens for %u rows of %u, or a wrong discard list",
                         total, n, width);
    mask = ops_alloc(c, n, 1);
    out = ops_alloc(c, n, 2 * sizeof *out);
    if (!mask || !out)
        return ATTN_E_NOMEM;
    for (uint32_t r = 0; discard && r < n; r++)
        mask[r] = discard[r] != 0;
    status = attn_spec_next_tokens(sampled, n, width, (int32_t)vocab, mask,
                                   backup, out, out + n, c->err);
    ops_put_i32(result, "next_token_ids", out, n);
    ops_put_i32(result, "valid_sampled_tokens_count", out + n, n);
    return status;
}

static const batch_param step_params[] = {
    {"positions", NULL, "position of each request's last token"},
    {"max_model_len", NULL, "positions from here on are void"},
};

static attn_status
run_step(ops_case *c, json_t *result)
{
    attn_batch_size size;
    int32_t *positions;
    uint32_t n = c->batch.num_reqs, limit;
    attn_status status = ops_i32_exact(c, "positions", n, &positions);

    if (!status)
        status = ops_u32(c, "max_model_len", &limit);
    if (!status)
        status = attn_batch_size_of(&c->batch, c->kv, &size, c->err);
    if (status)
        return status;
    size.num_tokens = n;
    status = ops_room(c, &size);
    if (!status)
        status =
            attn_spec_draft_step(&c->batch, c->kv, positions, limit, positions,
                                 &c->room, &c->out, c->out_kv, c->err);
    if (status)
        return status;
    ops_put_i32(result, "positions", positions, n);
    return ops_put_out(c, ATTN_OK, result);
}

static const batch_param extend_params[] = {
    {"count", "1", "new tokens of every request"},
    {"counts", "null", "new tokens of each request"},
    {"num_rejected_tokens", "null", "old tokens that lose their slot"},
    {"max_model_len", "2147483647", "positions from here on get no slot"},
};

static attn_status
read_extend(ops_case *c, attn_spec_extend_params *p)
{
    uint32_t n = c->batch.num_reqs, counts, rejected;
    int32_t *list;
    attn_status status = ops_u32(c, "count", &p->count);

    p->struct_size = sizeof *p;
    if (!status)
        status = ops_u32(c, "max_model_len", &p->max_model_len);
    if (!status)
        status = ops_i32_array(c, "counts", &list, &counts);
    p->counts = status ? NULL : list;
    if (!status)
        status = ops_i32_array(c, "num_rejected_tokens", &list, &rejected);
    if (status)
        return status;
    p->num_rejected = list;
    if ((p->counts && counts != n) || (p->num_rejected && rejected != n))
        return ops_error(c, "counts",
                         "counts or num_rejected_tokens: %u "
                         "entries are needed",
                         n);
    return ATTN_OK;
}

static attn_status
run_extend(ops_case *c, json_t *result)
{
    attn_spec_extend_params params = {0};
    attn_batch_size size;
    attn_status status = read_extend(c, &params);

    if (!status)
        status =
            attn_spec_extend_size(&c->batch, c->kv, &params, &size, c->err);
    if (!status)
        status = ops_room(c, &size);
    if (!status)
        status = attn_spec_extend(&c->batch, c->kv, &params, &c->room, &c->out,
                                  c->out_kv, c->err);
    return ops_put_out(c, status, result);
}

static const batch_param merge_params[] = {
    {"parts", NULL, "[[out values], lse] of each part, for one row"},
};

typedef struct merge_row {
    int64_t out_shape[3], out_strides[3], lse_shape[2], lse_strides[2];
    attn_tensor out, lse;
} merge_row;

static attn_status
make_row(ops_case *c, uint32_t width, merge_row *row)
{
    static const attn_dtype f32 = ATTN_F32;
    float *data = ops_alloc(c, (size_t)width + 1, sizeof *data);

    if (!data)
        return ATTN_E_NOMEM;
    *row = (merge_row){.out_shape = {1, 1, width},
                       .out_strides = {width, width, 1},
                       .lse_shape = {1, 1},
                       .lse_strides = {1, 1}};
    row->out = (attn_tensor){data + 1,       {ATTN_DEVICE_CPU, 0}, 3, f32,
                             row->out_shape, row->out_strides,     0};
    row->lse = (attn_tensor){data,           {ATTN_DEVICE_CPU, 0}, 2, f32,
                             row->lse_shape, row->lse_strides,     0};
    return ATTN_OK;
}

/* null is minus infinity. */
static attn_status
read_row(ops_case *c, json_t *part, uint32_t width, merge_row *row)
{
    json_t *values = json_array_get(part, 0), *lse = json_array_get(part, 1);
    attn_status status = make_row(c, width, row);

    if (status)
        return status;
    if (json_array_size(values) != width ||
        (!json_is_number(lse) && !json_is_null(lse)))
        return ops_error(c, "parts", "a part is not [[%u values], lse]", width);
    for (uint32_t i = 0; i < width; i++)
        ((float *)row->out.data)[i] =
            (float)json_number_value(json_array_get(values, i));
    *(float *)row->lse.data =
        json_is_null(lse) ? -INFINITY : (float)json_number_value(lse);
    return ATTN_OK;
}

static void
put_row(json_t *result, const merge_row *row, uint32_t width)
{
    const float *values = row->out.data;
    float lse = *(const float *)row->lse.data;
    json_t *list = json_array();

    for (uint32_t i = 0; i < width; i++)
        json_array_append_new(list, json_real((double)values[i]));
    json_object_set_new(result, "out", list);
    json_object_set_new(result, "lse",
                        lse > -INFINITY ? json_real((double)lse) : json_null());
}

static attn_status
run_merge(ops_case *c, json_t *result)
{
    json_t *parts = ops_value(c, "parts");
    size_t n = json_array_size(parts);
    json_t *first = json_array_get(json_array_get(parts, 0), 0);
    uint32_t width = (uint32_t)json_array_size(first);
    merge_row *rows = ops_alloc(c, n + 1, sizeof *rows);
    attn_partial *partials = ops_alloc(c, n, sizeof *partials);
    attn_status status;

    if (!rows || !partials)
        return ATTN_E_NOMEM;
    status = make_row(c, width, &rows[n]);
    for (size_t i = 0; !status && i < n; i++) {
        status = read_row(c, json_array_get(parts, i), width, &rows[i]);
        partials[i] = (attn_partial){&rows[i].out, &rows[i].lse};
    }
    if (!status)
        status = attn_lse_merge(partials, (uint32_t)n, &rows[n].out,
                                &rows[n].lse, c->err);
    if (!status)
        put_row(result, &rows[n], width);
    return status;
}

const batch_op batch_ops_spec[] = {
    {"spec_decode_prepare_inputs", "without the rejected drafts", verify_params,
     OPS_COUNT(verify_params), OPS_BATCH | OPS_LENS, run_compact},
    {"spec_decode_prepare_inputs_padded", "where to sample, shapes kept",
     padded_params, OPS_COUNT(padded_params), OPS_BATCH, run_padded},
    {"spec_decode_next_tokens", "the token each request goes on with",
     next_params, OPS_COUNT(next_params), 0, run_next},
    {"spec_decode_draft_step", "one more draft token for every request",
     step_params, OPS_COUNT(step_params), OPS_BATCH | OPS_LENS, run_step},
    {"spec_decode_extend", "each query longer by its drafts", extend_params,
     OPS_COUNT(extend_params), OPS_BATCH | OPS_LENS, run_extend},
    {"lse_merge", "join partial results", merge_params, OPS_COUNT(merge_params),
     0, run_merge},
};
const size_t batch_ops_num_spec = OPS_COUNT(batch_ops_spec);
