/* SPDX-License-Identifier: Apache-2.0 */
/* Operations whose result is a batch. */
#include "batch_case.h"

#include <stdlib.h>

static attn_status
run_validate(ops_case *c, json_t *result)
{
    (void)c; /* loading has validated */
    json_object_set_new(result, "valid", json_true());
    return ATTN_OK;
}

static const batch_param local_params[] = {
    {"attn_chunk_size", NULL, "positions of a chunk, a multiple of block_size"},
};

static attn_status
run_local(ops_case *c, json_t *result)
{
    attn_batch_size size;
    uint32_t chunk;
    attn_status status = ops_u32(c, "attn_chunk_size", &chunk);

    if (!status)
        status = attn_local_attention_size(&c->batch, &c->group, chunk, &size,
                                           c->err);
    if (!status)
        status = ops_room(c, &size);
    if (!status)
        status = attn_local_attention(&c->batch, &c->group, chunk, &c->room,
                                      &c->out, c->out_kv, c->err);
    return ops_put_out(c, status, result);
}

static const batch_param ubatch_params[] = {
    {"num_ubatches", "2", "slices, at least 2"},
    {"split_point", "0", "tokens of a slice; 0: an equal part"},
};

static json_t *
pair(uint32_t first, uint32_t last)
{
    return json_pack("[ii]", (int)first, (int)last);
}

static attn_status
put_slice(ops_case *c, const attn_batch_slice *slice,
          const attn_batch_size *size, json_t *slices, json_t *ubatches)
{
    json_t *entry = json_object();
    attn_status status = ops_room(c, size);

    json_array_append_new(
        slices, json_pack("{s:o, s:o}", "request",
                          pair(slice->first_req, slice->last_req), "token",
                          pair(slice->first_token, slice->last_token)));
    json_array_append_new(ubatches, entry);
    if (!status)
        status = attn_microbatch(&c->batch, c->kv, slice, &c->room, &c->out,
                                 c->out_kv, c->err);
    return ops_put_out(c, status, entry);
}

static attn_status
run_ubatches(ops_case *c, json_t *result)
{
    json_t *slices = json_array(), *ubatches = json_array();
    attn_batch_slice *plan = NULL;
    attn_batch_size size;
    uint32_t n, point, count = 0;
    attn_status status = ops_u32(c, "num_ubatches", &n);

    json_object_set_new(result, "slices", slices);
    json_object_set_new(result, "ubatches", ubatches);
    if (!status)
        status = ops_u32(c, "split_point", &point);
    if (!status && n > 65536)
        return ops_error(c, "num_ubatches", "num_ubatches %u: at most 65536",
                         n);
    if (!status && !(plan = ops_alloc(c, n, sizeof *plan)))
        return ATTN_E_NOMEM;
    if (!status)
        status = attn_batch_size_of(&c->batch, c->kv, &size, c->err);
    if (!status)
        status =
            attn_microbatch_plan(&c->batch, n, point, plan, &count, c->err);
    for (uint32_t i = 0; !status && i < count; i++)
        status = put_slice(c, &plan[i], &size, slices, ubatches);
    return status;
}

static const batch_param reorder_params[] = {
    {"num_scheduled_tokens", NULL, "new tokens of each request"},
    {"num_computed_tokens", NULL, "context of each request"},
    {"num_prompt_tokens", NULL, "prompt length of each request"},
    {"decode_threshold", "1", "longest query that may be a decode"},
};

static attn_status
run_reorder(ops_case *c, json_t *result)
{
    int32_t *scheduled, *computed, *prompt;
    uint32_t n, threshold, modified, *order, *scratch;
    attn_status status =
        ops_i32_array(c, "num_scheduled_tokens", &scheduled, &n);

    if (!status)
        status = ops_i32_exact(c, "num_computed_tokens", n, &computed);
    if (!status)
        status = ops_i32_exact(c, "num_prompt_tokens", n, &prompt);
    if (!status)
        status = ops_u32(c, "decode_threshold", &threshold);
    if (status)
        return status;
    order = ops_alloc(c, n, sizeof *order);
    scratch = ops_alloc(c, n, sizeof *scratch);
    if (!order || !scratch)
        return ATTN_E_NOMEM;
    status = attn_reorder_plan(scheduled, computed, prompt, n, threshold, order,
                               scratch, &modified, c->err);
    if (status)
        return status;
    json_object_set_new(result, "modified", json_boolean(modified));
    json_object_set_new(result, "order", ops_list_u32(order, n));
    return ATTN_OK;
}

static const batch_param apply_params[] = {
    {"order", NULL, "old index of each request"},
};

static attn_status
run_apply(ops_case *c, json_t *result)
{
    uint32_t n = c->batch.num_reqs;
    int32_t *order;
    uint32_t *tokens = ops_alloc(c, c->batch.num_tokens, sizeof *tokens);
    attn_status status = ops_i32_exact(c, "order", n, &order);

    if (!tokens)
        return ATTN_E_NOMEM;
    if (!status)
        status = ops_room_same(c);
    if (!status)
        status =
            attn_batch_reorder(&c->batch, c->kv, (const uint32_t *)order,
                               tokens, &c->room, &c->out, c->out_kv, c->err);
    if (status)
        return status;
    json_object_set_new(result, "token_order",
                        ops_list_u32(tokens, c->batch.num_tokens));
    return ops_put_out(c, ATTN_OK, result);
}

static const batch_param pad_params[] = {
    {"num_reqs", NULL, "requests of the result"},
    {"padded_tokens", NULL, "tokens of the result"},
};

static attn_status
run_pad(ops_case *c, json_t *result)
{
    attn_batch_size size;
    uint32_t reqs, tokens;
    attn_status status = ops_u32(c, "num_reqs", &reqs);

    if (!status)
        status = ops_u32(c, "padded_tokens", &tokens);
    if (!status && (reqs > 1u << 24 || tokens > 1u << 28))
        return ops_error(c, "num_reqs", "%u requests and %u tokens: too many",
                         reqs, tokens);
    if (!status)
        status = attn_batch_size_of(&c->batch, c->kv, &size, c->err);
    if (status)
        return status;
    size.num_reqs = reqs;
    size.num_tokens = tokens;
    status = ops_room(c, &size);
    if (!status)
        status = attn_batch_pad(&c->batch, c->kv, reqs, tokens, &c->room,
                                &c->out, c->out_kv, c->err);
    return ops_put_out(c, status, result);
}

static attn_status
run_unpad(ops_case *c, json_t *result)
{
    uint32_t reqs, tokens;
    attn_status status = ops_u32(c, "num_reqs", &reqs);

    if (!status)
        status = ops_u32(c, "padded_tokens", &tokens);
    if (!status)
        status = attn_batch_unpad(&c->batch, c->kv, reqs, tokens, &c->out,
                                  c->out_kv, c->err);
    return ops_put_out(c, status, result);
}

static const batch_param fast_params[] = {
    {"logits_indices", NULL, "tokens whose logits are needed, ascending"},
};

static attn_status
run_fast(ops_case *c, json_t *result)
{
    attn_batch_size size;
    int32_t *indices;
    uint32_t n;
    attn_status status = ops_i32_array(c, "logits_indices", &indices, &n);

    if (!status)
        status = attn_batch_size_of(&c->batch, NULL, &size, c->err);
    if (!status)
        status = ops_room(c, &size);
    if (!status)
        status = attn_fast_prefill(&c->batch, (const uint32_t *)indices, n,
                                   &c->room, &c->out, c->err);
    return status ? status : ops_put_batch(c, result, &c->out, NULL);
}

static const batch_param cascade_params[] = {
    {"num_common_blocks", NULL, "leading blocks that all requests share"},
    {"num_heads", "32", "query heads"},
    {"num_kv_heads", "8", "key heads"},
    {"num_units", "132", "processors that run tiles"},
    {"min_prefix", "256", "shortest prefix worth a pass"},
    {"min_reqs", "8", "fewest requests worth a pass"},
    {"excluded", "false", "the layer has ALiBi, a window or the like"},
};

static attn_status
read_cascade(ops_case *c, attn_cascade_params *p)
{
    attn_status status = ops_u32(c, "num_common_blocks", &p->num_common_blocks);

    p->struct_size = sizeof *p;
    if (!status)
        status = ops_u32(c, "num_heads", &p->num_heads);
    if (!status)
        status = ops_u32(c, "num_kv_heads", &p->num_kv_heads);
    if (!status)
        status = ops_u32(c, "num_units", &p->num_units);
    if (!status)
        status = ops_u32(c, "min_prefix", &p->min_prefix);
    if (!status)
        status = ops_u32(c, "min_reqs", &p->min_reqs);
    return status ? status : ops_flag(c, "excluded", &p->excluded);
}

static attn_status
put_passes(ops_case *c, uint32_t prefix, json_t *result)
{
    json_t *first = json_object(), *second = json_object();
    attn_status status = ops_room_same(c);

    json_object_set_new(result, "prefix", first);
    json_object_set_new(result, "suffix", second);
    if (!status)
        status = attn_cascade_prefix(&c->batch, &c->group, prefix, &c->room,
                                     &c->out, c->out_kv, c->err);
    status = ops_put_out(c, status, first);
    if (!status)
        status = attn_cascade_suffix(&c->batch, &c->group, prefix, &c->room,
                                     &c->out, c->out_kv, c->err);
    return ops_put_out(c, status, second);
}

static attn_status
run_cascade(ops_case *c, json_t *result)
{
    attn_cascade_params params = {0};
    uint32_t prefix;
    attn_status status = read_cascade(c, &params);

    if (!status)
        status =
            attn_cascade_plan(&c->batch, &c->group, &params, &prefix, c->err);
    if (status)
        return status;
    ops_put(result, "prefix_len", prefix);
    return prefix ? put_passes(c, prefix, result) : ATTN_OK;
}

#define WHOLE (OPS_BATCH | OPS_LENS | OPS_TABLE)

const batch_op batch_ops_transforms[] = {
    {"validate", "check every invariant of the batch", NULL, 0, OPS_BATCH,
     run_validate},
    {"local_attention_virtual_batches",
     "chunked local attention as virtual requests", local_params,
     OPS_COUNT(local_params), WHOLE, run_local},
    {"split_ubatches", "microbatches by tokens", ubatch_params,
     OPS_COUNT(ubatch_params), OPS_BATCH | OPS_LENS, run_ubatches},
    {"reorder_batch", "the order decodes, extends, prefills", reorder_params,
     OPS_COUNT(reorder_params), 0, run_reorder},
    {"apply_order", "the batch in a given order", apply_params,
     OPS_COUNT(apply_params), OPS_BATCH | OPS_LENS, run_apply},
    {"pad", "padding requests and tokens for graph replay", pad_params,
     OPS_COUNT(pad_params), OPS_BATCH | OPS_LENS, run_pad},
    {"unpad", "without padding requests and tokens", pad_params,
     OPS_COUNT(pad_params), OPS_BATCH | OPS_LENS, run_unpad},
    {"kv_sharing_fast_prefill", "only rows whose logits are needed",
     fast_params, OPS_COUNT(fast_params), OPS_BATCH | OPS_LENS, run_fast},
    {"cascade", "shared prefix and suffix passes", cascade_params,
     OPS_COUNT(cascade_params), WHOLE, run_cascade},
};
const size_t batch_ops_num_transforms = OPS_COUNT(batch_ops_transforms);
