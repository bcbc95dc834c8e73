/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/batch.h>
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

#include "runtime/group.h"

void
attn_plugin_error_open(attn_error *err)
{
    if (err && err->struct_size >= sizeof *err) {
        err->status = ATTN_OK;
        err->message[0] = 0;
    }
}

attn_status
attn_plugin_error_close(attn_status status, const attn_part *part,
                        const char *what, attn_error *err)
{
    if (status == ATTN_OK)
        return ATTN_OK;
    if (status < 0 || status > ATTN_E_FORMAT)
        status = ATTN_E_INTERNAL;
    if (!err || err->struct_size < sizeof *err)
        return status;
    err->message[sizeof err->message - 1] = 0;
    if (!err->message[0])
        return attn_error_set(err, status, what, "%s: %s fails: %s",
                              part->entry->name, what, attn_status_str(status));
    err->status = status;
    return status;
}

/* ----------------------------------------------------------------- build */

static attn_status
above(const char *name, uint32_t value, uint32_t limit, attn_error *err)
{
    return attn_error_set(err, ATTN_E_ARG, name,
                          "%s %u: the group's limit is %u", name, value, limit);
}

static attn_status
check_limits(const attn_limits *l, const attn_batch *b, const attn_kv_group *kv,
             attn_error *err)
{
    if (b->num_reqs > l->max_reqs)
        return above("batch.num_reqs", b->num_reqs, l->max_reqs, err);
    if (b->num_tokens > l->max_tokens)
        return above("batch.num_tokens", b->num_tokens, l->max_tokens, err);
    if (b->max_query_len > l->max_query_len)
        return above("batch.max_query_len", b->max_query_len, l->max_query_len,
                     err);
    if (b->max_seq_len > l->max_seq_len)
        return above("batch.max_seq_len", b->max_seq_len, l->max_seq_len, err);
    if (kv->block_table_cols > l->max_blocks_per_req)
        return above("kv.block_table_cols", kv->block_table_cols,
                     l->max_blocks_per_req, err);
    return ATTN_OK;
}

static uint32_t
layer_block_size(const attn_group *g)
{
    if (g->layer == &g->known.head &&
        strcmp(g->layer->family, ATTN_FAMILY_FLASH) == 0)
        return g->known.flash.block_size;
    if (g->layer == &g->known.head &&
        strcmp(g->layer->family, ATTN_FAMILY_MLA) == 0)
        return g->known.mla.block_size;
    return 0;
}

/* Pinned and managed memory (other types) is the caller's business. */
static int
is_elsewhere(const attn_tensor *t, attn_device device)
{
    return t->device.type == ATTN_DEVICE_CPU ||
           (t->device.type == device.type && t->device.id != device.id);
}

static attn_status
check_mirrors(const attn_batch *b, const attn_kv_group *kv, attn_device device,
              attn_error *err)
{
    const attn_ext_prefix_ranges *ranges =
        (const attn_ext_prefix_ranges *)attn_ext_find(b->ext,
                                                      ATTN_EXT_PREFIX_RANGES);
    const attn_ext_state *state =
        (const attn_ext_state *)attn_ext_find(kv->ext, ATTN_EXT_STATE);
    const attn_ext_context_parallel *parallel =
        (const attn_ext_context_parallel *)attn_ext_find(
            b->ext, ATTN_EXT_CONTEXT_PARALLEL);
    const struct {
        const attn_tensor *tensor;
        const char *name;
        int needed;
    } mirrors[] = {
        {b->query_start_loc_device, "batch.query_start_loc_device", 1},
        {b->seq_lens_device, "batch.seq_lens_device", 1},
        {kv->block_table_device, "kv.block_table_device", 1},
        {kv->slot_mapping_device, "kv.slot_mapping_device", 0},
        {b->causal_device, "batch.causal_device", 0},
        {ranges ? ranges->ranges_device : NULL, "prefix_ranges.ranges_device",
         0},
        {parallel ? parallel->local_seq_lens_device : NULL,
         "context_parallel.local_seq_lens_device", 0},
        {state ? state->has_initial_state_device : NULL,
         "state.has_initial_state_device", 0},
        {state ? state->num_accepted_tokens_device : NULL,
         "state.num_accepted_tokens_device", 0},
        {state ? state->checkpoint_slots_device : NULL,
         "state.checkpoint_slots_device", 0},
    };
    for (size_t i = 0; i < sizeof mirrors / sizeof *mirrors; i++) {
        const attn_tensor *t = mirrors[i].tensor;
        const char *name = mirrors[i].name;
        if (!t && mirrors[i].needed)
            return attn_error_set(err, ATTN_E_ARG, name,
                                  "%s is NULL: the backend runs on a device",
                                  name);
        if (t && is_elsewhere(t, device))
            return attn_error_set(err, ATTN_E_ARG, name,
                                  "%s: on device type %d number %d, the "
                                  "backend runs on %d number %d",
                                  name, t->device.type, t->device.id,
                                  device.type, device.id);
    }
    return ATTN_OK;
}

/* What the step's masks need and the layer was not described with: a backend
 * chosen without it would compute something else in silence. */
static attn_status
check_masks(const attn_group *g, const attn_batch *batch, attn_error *err)
{
    const attn_ext_prefix_ranges *ranges =
        (const attn_ext_prefix_ranges *)attn_ext_find(batch->ext,
                                                      ATTN_EXT_PREFIX_RANGES);
    const struct {
        int used;
        uint64_t feature;
        const char *where;
    } masks[] = {
        {(batch->flags & ATTN_BATCH_CROSS) != 0, ATTN_F_CROSS, "batch.flags"},
        {batch->causal || batch->causal_device, ATTN_F_PER_REQUEST_CAUSAL,
         "batch.causal"},
        {ranges && ranges->max_ranges, ATTN_F_PREFIX_RANGES, "batch.ext"},
    };
    if (!layer_block_size(g))
        return ATTN_OK;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        if (masks[i].used && !(g->layer->features & masks[i].feature))
            return attn_error_set(
                err, ATTN_E_ARG, masks[i].where,
                "%s: the layer was described without feature %s",
                masks[i].where, attn_feature_str(masks[i].feature));
    return ATTN_OK;
}

/* No operation of this ABI reads a rank's lengths: each would attend to the
 * whole of seq_lens. */
static attn_status
check_parallel(const attn_group *g, const attn_batch *batch, attn_error *err)
{
    const attn_ext_context_parallel *p =
        (const attn_ext_context_parallel *)attn_ext_find(
            batch->ext, ATTN_EXT_CONTEXT_PARALLEL);
    if (!p || p->world <= 1 || !layer_block_size(g))
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_UNSUPPORTED, "batch.ext",
                          "context_parallel: rank %u of %u: %s layers attend "
                          "to all of seq_lens: give the rank's lengths there "
                          "and merge by lse",
                          p->rank, p->world,
                          attn_family_find(g->layer->family)->key);
}

static attn_status
check_step(const attn_group *g, const attn_batch *batch,
           const attn_kv_group *kv, const attn_stream *stream, attn_error *err)
{
    attn_status s = attn_batch_validate(batch, err);
    if (s == ATTN_OK)
        s = check_limits(&g->limits, batch, kv, err);
    if (s == ATTN_OK)
        s = attn_kv_group_validate(kv, batch, ATTN_CHECK_PAGES, err);
    if (s == ATTN_OK)
        s = check_masks(g, batch, err);
    if (s == ATTN_OK)
        s = check_parallel(g, batch, err);
    if (s != ATTN_OK)
        return s;
    uint32_t size = layer_block_size(g);
    if (size && kv->block_size != size)
        return attn_error_set(err, ATTN_E_ARG, "kv.block_size",
                              "block_size %u: the layer's is %u",
                              kv->block_size, size);
    if (stream->device.type != g->place.device.type ||
        (g->place.service && stream->device.id != g->place.device.id))
        return attn_error_set(err, ATTN_E_ARG, "stream",
                              "stream of device type %d number %d, the backend "
                              "runs on %d number %d",
                              stream->device.type, stream->device.id,
                              g->place.device.type, g->place.device.id);
    return g->place.service ? check_mirrors(batch, kv, g->place.device, err)
                            : ATTN_OK;
}

static attn_status
build_part(attn_part *part, const attn_batch *batch, const attn_kv_group *kv,
           const attn_stream *stream, attn_error *err)
{
    if (part->lost)
        return attn_error_set(err, ATTN_E_DEVICE, "group",
                              "%s lost its device: destroy the group",
                              part->entry->name);
    attn_plugin_error_open(err);
    attn_status s =
        part->entry->backend->op->build(part->builder, batch, kv, stream, err);
    part->lost = s == ATTN_E_DEVICE;
    return attn_plugin_error_close(s, part, "build", err);
}

/* The first `decodes` requests have one query token each; the rest have
 * more, or none (padding). */
static attn_status
find_cut(const attn_batch *batch, attn_split *split, attn_error *err)
{
    static const attn_split_params params = {.struct_size = sizeof params,
                                             .decode_threshold = 1,
                                             .treat_short_extends_as_decodes =
                                                 1};
    attn_status s = attn_batch_split(batch, &params, split, err);
    if (s != ATTN_OK)
        return s;
    const int32_t *start = batch->query_start_loc;
    for (uint32_t r = split->num_decodes; r < batch->num_reqs; r++)
        if (start[r + 1] - start[r] == 1)
            return attn_error_set(err, ATTN_E_ARG, "batch.query_start_loc",
                                  "request %u is a decode behind the prefill "
                                  "%u: two backends need decodes first",
                                  r, split->num_decodes);
    return ATTN_OK;
}

static attn_status
build_two(attn_group *g, const attn_batch *batch, const attn_kv_group *kv,
          const attn_stream *stream, attn_error *err)
{
    attn_split split;
    attn_status s = find_cut(batch, &split, err);
    if (s != ATTN_OK)
        return s;
    const attn_cut cuts[2] = {
        {0, split.num_decodes, 0, split.num_decode_tokens},
        {split.num_decodes, split.num_prefills, split.num_decode_tokens,
         split.num_prefill_tokens}};
    for (int i = 0; i < 2 && s == ATTN_OK; i++) {
        attn_part *p = &g->parts[i];
        p->first_token = cuts[i].first_token;
        p->num_tokens = cuts[i].num_tokens;
        if (cuts[i].num_reqs == 0 || cuts[i].num_tokens == 0)
            continue;
        s = attn_slice_make(&p->slice, batch, kv, &cuts[i], stream, err);
        if (s == ATTN_OK)
            s = build_part(p, &p->slice.batch, &p->slice.kv, stream, err);
    }
    return s;
}

attn_status
attn_group_build(attn_group *group, const attn_batch *batch,
                 const attn_kv_group *kv, const attn_stream *stream,
                 attn_error *err)
{
    group->built = 0;
    if (!stream)
        stream = &attn_cpu_stream;
    if (!batch || !kv)
        return attn_error_set(err, ATTN_E_ARG, "batch", "%s is NULL",
                              batch ? "kv" : "batch");
    attn_status s = check_step(group, batch, kv, stream, err);
    if (s != ATTN_OK)
        return s;
    if (group->num_parts == 1)
        s = build_part(&group->parts[0], batch, kv, stream, err);
    else
        s = build_two(group, batch, kv, stream, err);
    if (s != ATTN_OK)
        return s;
    group->built = 1;
    group->batch = batch;
    group->kv = kv;
    group->extent.num_tokens = batch->num_tokens;
    group->extent.num_slots = kv->num_blocks;
    return ATTN_OK;
}

/* ------------------------------------------------- update_cache, forward */

/* An argument block in which tensors may be exchanged. */
union block_copy {
    attn_head head;
    char bytes[ATTN_MAX_BLOCK];
    void *align;
};

typedef attn_status (*op_call)(attn_builder *builder, const attn_head *args,
                               attn_error *err);

static attn_status
check_call(const attn_group *g, const attn_block *block, const attn_head *args,
           const char *what, attn_error *err)
{
    if (!g->built)
        return attn_error_set(err, ATTN_E_ARG, "group",
                              "%s before a build that succeeded", what);
    if (!args)
        return attn_error_set(err, ATTN_E_ARG, "args", "args is NULL");
    if (g->layer == &g->known.head)
        return attn_block_check(block, args, &g->extent, err);
    if (args->struct_size >= sizeof *args &&
        args->struct_size <= ATTN_MAX_BLOCK)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "args.struct_size",
                          "struct_size %u: at most %u", args->struct_size,
                          ATTN_MAX_BLOCK);
}

static attn_status
call_part(attn_part *part, op_call call, const attn_head *args,
          const char *what, attn_error *err)
{
    if (part->lost)
        return attn_error_set(err, ATTN_E_DEVICE, "group",
                              "%s lost its device: destroy the group",
                              part->entry->name);
    attn_plugin_error_open(err);
    attn_status s = call(part->builder, args, err);
    part->lost = s == ATTN_E_DEVICE;
    return attn_plugin_error_close(s, part, what, err);
}

/* The tokens of one part: each tensor with token rows becomes a view. */
static void
slice_block(const attn_block *block, const attn_part *part,
            union block_copy *args, attn_view views[ATTN_MAX_ARGS])
{
    for (uint32_t i = 0; i < block->num_args; i++) {
        const attn_arg *arg = &block->args[i];
        const attn_tensor *t = attn_block_tensor(&args->head, arg);
        if (!(arg->flags & ATTN_ARG_TOKENS) || !t)
            continue;
        t = attn_view_rows(&views[i], t, part->first_token, part->num_tokens);
        memcpy(args->bytes + arg->offset, &t, sizeof t);
    }
}

static void
set_layer(const attn_block *block, union block_copy *args,
          const attn_prepared *layer)
{
    if (block->layer_offset &&
        args->head.struct_size >= block->layer_offset + sizeof layer)
        memcpy(args->bytes + block->layer_offset, &layer, sizeof layer);
}

static op_call
operation(const attn_part *part, int forward)
{
    const attn_op *op = part->entry->backend->op;
    return forward ? op->forward : op->update_cache;
}

static attn_status
run_block(attn_group *g, const attn_block *block, attn_group_layer *layer,
          const attn_head *args, const char *what, attn_error *err)
{
    int forward = layer != NULL;
    const uint32_t size = block->size ? block->size : args->struct_size;
    attn_status s = ATTN_OK;
    for (uint32_t i = 0; i < g->num_parts && s == ATTN_OK; i++) {
        attn_part *part = &g->parts[i];
        union block_copy copy;
        attn_view views[ATTN_MAX_ARGS];
        if (g->num_parts == 2 && part->num_tokens == 0)
            continue;
        const uint32_t known =
            args->struct_size < size ? args->struct_size : size;
        memcpy(copy.bytes, args, known);
        memset(copy.bytes + known, 0, size - known);
        copy.head.struct_size = known;
        if (layer)
            set_layer(block, &copy, layer->prepared[i]);
        if (g->num_parts == 2)
            slice_block(block, part, &copy, views);
        s = call_part(part, operation(part, forward), &copy.head, what, err);
    }
    return s;
}

attn_status
attn_group_update_cache(attn_group *group, const attn_head *args,
                        attn_error *err)
{
    if (!operation(&group->parts[0], 0))
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "update_cache",
                              "%s has no update_cache",
                              group->parts[0].entry->name);
    attn_status s =
        check_call(group, &group->blocks.update, args, "update_cache", err);
    if (s != ATTN_OK)
        return s;
    return run_block(group, &group->blocks.update, NULL, args, "update_cache",
                     err);
}

attn_status
attn_group_forward(attn_group *group, attn_group_layer *layer,
                   const attn_head *args, attn_error *err)
{
    attn_status s =
        check_call(group, &group->blocks.forward, args, "forward", err);
    if (s == ATTN_OK && (!layer || layer->group != group))
        s = attn_error_set(err, ATTN_E_ARG, "layer", "layer is %s",
                           layer ? "of another group" : "NULL");
    if (s != ATTN_OK)
        return s;
    if (group->session->recorder)
        attn_record_forward(group, layer, args);
    return run_block(group, &group->blocks.forward, layer, args, "forward",
                     err);
}
