/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/slice.h"

#include <attn/plugin.h>
#include <stdlib.h>
#include <string.h>

attn_status
attn_slice_create(const attn_place *place, uint32_t max_reqs,
                  uint32_t steps_in_flight, attn_slice *slice, attn_error *err)
{
    uint64_t bytes = ((uint64_t)max_reqs + 1) * sizeof(int32_t);
    *slice = (attn_slice){.max_reqs = max_reqs, .ring = steps_in_flight};
    slice->host_starts = malloc(bytes);
    if (!slice->host_starts)
        return attn_error_nomem(err, "group", bytes);
    if (!place->service)
        return ATTN_OK;
    attn_workspace need = {.struct_size = sizeof need,
                           .pinned_bytes = bytes * steps_in_flight,
                           .pinned_align = 64,
                           .device_bytes = bytes,
                           .device_align = 64};
    return attn_memory_alloc(place, &need, &slice->memory, err);
}

void
attn_slice_free(attn_slice *slice)
{
    free(slice->host_starts);
    attn_memory_free(&slice->memory);
    *slice = (attn_slice){0};
}

const attn_tensor *
attn_view_rows(attn_view *view, const attn_tensor *of, int64_t first,
               int64_t count)
{
    if (!of)
        return NULL;
    view->tensor = *of;
    for (int32_t i = 0; i < of->ndim && i < 4; i++)
        view->shape[i] = of->shape[i];
    view->shape[0] = count;
    view->tensor.shape = view->shape;
    view->tensor.byte_offset +=
        (uint64_t)(first * of->strides[0]) * of->dtype.bits / 8;
    return &view->tensor;
}

static const attn_ext *
slice_prefix(attn_slice *s, const attn_ext *ext, const attn_cut *cut)
{
    const attn_ext_prefix_ranges *old = (const attn_ext_prefix_ranges *)ext;
    attn_ext_prefix_ranges *e = &s->prefix_ext;
    attn_take(e, sizeof *e, old);
    if (e->ranges)
        e->ranges += (size_t)cut->first_req * e->max_ranges * 2;
    e->ranges_device = attn_view_rows(&s->ranges, old->ranges_device,
                                      cut->first_req, cut->num_reqs);
    return &e->head;
}

static const attn_ext *
slice_parallel(attn_slice *s, const attn_ext *ext, const attn_cut *cut)
{
    const attn_ext_context_parallel *old =
        (const attn_ext_context_parallel *)ext;
    attn_ext_context_parallel *e = &s->parallel_ext;
    attn_take(e, sizeof *e, old);
    if (e->local_seq_lens)
        e->local_seq_lens += cut->first_req;
    e->local_seq_lens_device = attn_view_rows(
        &s->local, old->local_seq_lens_device, cut->first_req, cut->num_reqs);
    return &e->head;
}

static const attn_ext *
slice_state(attn_slice *s, const attn_ext *ext, const attn_cut *cut)
{
    const attn_ext_state *old = (const attn_ext_state *)ext;
    attn_ext_state *e = &s->state_ext;
    attn_take(e, sizeof *e, old);
    if (e->has_initial_state)
        e->has_initial_state += cut->first_req;
    if (e->num_accepted_tokens)
        e->num_accepted_tokens += cut->first_req;
    if (e->checkpoint_slots)
        e->checkpoint_slots += (size_t)cut->first_req * e->max_checkpoints;
    e->has_initial_state_device =
        attn_view_rows(&s->initial, old->has_initial_state_device,
                       cut->first_req, cut->num_reqs);
    e->num_accepted_tokens_device =
        attn_view_rows(&s->accepted, old->num_accepted_tokens_device,
                       cut->first_req, cut->num_reqs);
    e->checkpoint_slots_device =
        attn_view_rows(&s->checkpoints, old->checkpoint_slots_device,
                       cut->first_req, cut->num_reqs);
    return &e->head;
}

/* Known blocks of a chain, sliced and chained anew. */
static const attn_ext *
slice_chain(attn_slice *s, const attn_ext *chain, const attn_cut *cut)
{
    const attn_ext *first = NULL, *e;
    if ((e = attn_ext_find(chain, ATTN_EXT_PREFIX_RANGES))) {
        e = slice_prefix(s, e, cut);
        s->prefix_ext.head.next = first;
        first = e;
    }
    if ((e = attn_ext_find(chain, ATTN_EXT_CONTEXT_PARALLEL))) {
        e = slice_parallel(s, e, cut);
        s->parallel_ext.head.next = first;
        first = e;
    }
    if ((e = attn_ext_find(chain, ATTN_EXT_STATE))) {
        e = slice_state(s, e, cut);
        s->state_ext.head.next = first;
        first = e;
    }
    return first;
}

/* query_start_loc from 0 again, and the longest query. */
static void
rebase(attn_slice *s, const attn_batch *batch, const attn_cut *cut)
{
    const int32_t *from = batch->query_start_loc + cut->first_req;
    int32_t base = from[0], longest = 0;
    for (uint32_t i = 0; i <= cut->num_reqs; i++)
        s->host_starts[i] = from[i] - base;
    for (uint32_t i = 0; i < cut->num_reqs; i++)
        if (from[i + 1] - from[i] > longest)
            longest = from[i + 1] - from[i];
    s->batch.query_start_loc = s->host_starts;
    s->batch.max_query_len = (uint32_t)longest;
}

static attn_status
upload_starts(attn_slice *s, const attn_batch *batch, const attn_cut *cut,
              const attn_stream *stream, attn_error *err)
{
    const attn_memory *m = &s->memory;
    if (!m->place.service || !batch->query_start_loc_device)
        return ATTN_OK;
    uint64_t bytes = ((uint64_t)cut->num_reqs + 1) * sizeof(int32_t);
    int32_t *staging =
        (int32_t *)m->binding.pinned + (size_t)s->turn * (s->max_reqs + 1);
    s->turn = (s->turn + 1) % s->ring;
    memcpy(staging, s->host_starts, bytes);
    attn_view_rows(&s->starts, batch->query_start_loc_device, 0,
                   (int64_t)cut->num_reqs + 1);
    s->starts.tensor.data = m->binding.device;
    s->starts.tensor.byte_offset = 0;
    s->batch.query_start_loc_device = &s->starts.tensor;
    return m->place.service->copy(stream, ATTN_COPY_TO_DEVICE,
                                  m->binding.device, staging, bytes, err);
}

static void
slice_batch(attn_slice *s, const attn_batch *batch, const attn_cut *cut)
{
    attn_batch *b = &s->batch;
    attn_take(b, sizeof *b, batch);
    b->num_reqs = cut->num_reqs;
    b->num_tokens = cut->num_tokens;
    if (b->seq_lens)
        b->seq_lens += cut->first_req;
    if (b->is_prefilling)
        b->is_prefilling += cut->first_req;
    if (b->num_prompt_tokens)
        b->num_prompt_tokens += cut->first_req;
    if (b->causal)
        b->causal += cut->first_req;
    b->seq_lens_device = attn_view_rows(&s->lens, batch->seq_lens_device,
                                        cut->first_req, cut->num_reqs);
    b->causal_device = attn_view_rows(&s->causal, batch->causal_device,
                                      cut->first_req, cut->num_reqs);
    b->ext = slice_chain(s, batch->ext, cut);
}

static void
slice_group(attn_slice *s, const attn_kv_group *kv, const attn_cut *cut)
{
    attn_kv_group *g = &s->kv;
    attn_take(g, sizeof *g, kv);
    if (g->block_table)
        g->block_table += (int64_t)cut->first_req * g->block_table_stride;
    if (g->slot_mapping)
        g->slot_mapping += cut->first_token;
    g->block_table_device = attn_view_rows(&s->table, kv->block_table_device,
                                           cut->first_req, cut->num_reqs);
    g->slot_mapping_device = attn_view_rows(&s->slots, kv->slot_mapping_device,
                                            cut->first_token, cut->num_tokens);
    g->ext = slice_chain(s, kv->ext, cut);
}

attn_status
attn_slice_make(attn_slice *slice, const attn_batch *batch,
                const attn_kv_group *kv, const attn_cut *cut,
                const attn_stream *stream, attn_error *err)
{
    slice_batch(slice, batch, cut);
    slice_group(slice, kv, cut);
    rebase(slice, batch, cut);
    return upload_starts(slice, batch, cut, stream, err);
}
