/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/upload.h>

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/memory.h"
#include "runtime/slice.h"

#define ALIGN 256u

/* What may be mirrored. The first NUM_SMALL, one value a request, lie side
 * by side and travel in one copy. */
enum item {
    STARTS,
    LENS,
    CAUSAL,
    LOCAL,
    INITIAL,
    ACCEPTED,
    NUM_SMALL,
    TABLE = NUM_SMALL,
    SLOTS,
    RANGES,
    CHECKPOINTS,
    NUM_ITEMS
};

static const attn_dtype type_i32 = ATTN_I32;
static const attn_dtype type_i64 = ATTN_I64;
static const attn_dtype type_u8 = ATTN_U8;

struct attn_upload {
    attn_place place;
    attn_limits limits;
    uint32_t max_ranges, max_checkpoints;
    uint32_t turn;
    uint64_t offset[NUM_ITEMS]; /* in device memory and in each ring slot */
    uint64_t bytes;             /* of all */
    attn_memory memory;
    /* Of the step at hand. */
    attn_batch batch;
    attn_kv_group kv;
    attn_ext_prefix_ranges prefix_ext;
    attn_ext_context_parallel parallel_ext;
    attn_ext_state state_ext;
    attn_view views[NUM_ITEMS];
    int64_t strides[NUM_ITEMS][3];
    uint64_t small_bytes; /* to the end of the last small item in use */
    char *staging;
    const attn_stream *stream;
};

static uint64_t
item_bytes(const attn_upload *u, enum item item)
{
    const uint64_t reqs = u->limits.max_reqs;
    switch (item) {
    case STARTS:
        return (reqs + 1) * sizeof(int32_t);
    case CAUSAL:
    case INITIAL:
        return reqs;
    case TABLE:
        return reqs * u->limits.max_blocks_per_req * sizeof(int32_t);
    case SLOTS:
        return u->limits.max_tokens * sizeof(int64_t);
    case RANGES:
        return reqs * u->max_ranges * 2 * sizeof(int32_t);
    case CHECKPOINTS:
        return reqs * u->max_checkpoints * sizeof(int32_t);
    default:
        return reqs * sizeof(int32_t);
    }
}

static attn_status
take_memory(attn_upload *u, attn_error *err)
{
    for (int i = 0; i < NUM_ITEMS; i++) {
        u->offset[i] = u->bytes;
        u->bytes += (item_bytes(u, (enum item)i) + ALIGN - 1) / ALIGN * ALIGN;
    }
    const attn_workspace need = {.struct_size = sizeof need,
                                 .pinned_bytes =
                                     u->bytes * u->limits.steps_in_flight,
                                 .pinned_align = ALIGN,
                                 .device_bytes = u->bytes,
                                 .device_align = ALIGN};
    return attn_memory_alloc(&u->place, &need, &u->memory, err);
}

attn_status
attn_upload_create(const attn_upload_params *params, attn_upload **upload,
                   attn_error *err)
{
    if (!params ||
        params->struct_size < ATTN_UP_TO(attn_upload_params, limits) ||
        !params->entry || !params->limits ||
        params->limits->struct_size < ATTN_LIMITS_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "params",
                              "params, entry or limits missing or too small");
    attn_upload *u = calloc(1, sizeof *u);
    if (!u)
        return attn_error_nomem(err, "upload", sizeof *u);
    attn_take(&u->limits, sizeof u->limits, params->limits);
    if (!u->limits.steps_in_flight)
        u->limits.steps_in_flight = 2;
    u->max_ranges = params->max_ranges;
    u->max_checkpoints = params->max_checkpoints;
    attn_status s = attn_place_of(params->entry, &u->place, err);
    if (s == ATTN_OK && u->place.service)
        s = take_memory(u, err);
    if (s != ATTN_OK)
        attn_upload_destroy(u);
    else
        *upload = u;
    return s;
}

void
attn_upload_destroy(attn_upload *upload)
{
    if (!upload)
        return;
    attn_memory_free(&upload->memory);
    free(upload);
}

/* ---------------------------------------------------------------- a step */

/* The mirror of an item: its tensor with this shape, row-major but for the
 * distance of rows. */
static const attn_tensor *
mirror(attn_upload *u, enum item item, attn_dtype dtype, int32_t ndim,
       int64_t rows, int64_t cols, int64_t row_stride)
{
    attn_view *v = &u->views[item];
    int64_t *st = u->strides[item];
    v->shape[0] = rows;
    v->shape[1] = cols;
    v->shape[2] = 2;
    st[0] = row_stride;
    st[1] = ndim == 3 ? 2 : 1;
    st[2] = 1;
    v->tensor = (attn_tensor){.data = (char *)u->memory.binding.device +
                                      u->offset[item],
                              .device = u->place.device,
                              .ndim = ndim,
                              .dtype = dtype,
                              .shape = v->shape,
                              .strides = st};
    return &v->tensor;
}

static attn_status
send(attn_upload *u, enum item item, uint64_t bytes, attn_error *err)
{
    if (bytes == 0)
        return ATTN_OK;
    return u->place.service->copy(u->stream, ATTN_COPY_TO_DEVICE,
                                  (char *)u->memory.binding.device +
                                      u->offset[item],
                                  u->staging + u->offset[item], bytes, err);
}

/* One value a request; sent with the other small ones. */
static const attn_tensor *
stage_small(attn_upload *u, enum item item, attn_dtype dtype,
            const attn_tensor *given, const void *host, uint32_t count)
{
    if (given || !host)
        return given;
    uint64_t bytes = (uint64_t)count * dtype.bits / 8;
    memcpy(u->staging + u->offset[item], host, bytes);
    if (u->offset[item] + bytes > u->small_bytes)
        u->small_bytes = u->offset[item] + bytes;
    return mirror(u, item, dtype, 1, count, 1, 1);
}

static attn_status
stage_block(attn_upload *u, enum item item, attn_dtype dtype,
            const attn_tensor **given, const void *host, uint32_t ndim,
            int64_t rows, int64_t cols, attn_error *err)
{
    if (*given || !host)
        return ATTN_OK;
    int64_t width = ndim == 1 ? 1 : ndim == 3 ? 2 * cols : cols;
    uint64_t bytes = (uint64_t)(rows * width) * dtype.bits / 8;
    memcpy(u->staging + u->offset[item], host, bytes);
    *given = mirror(u, item, dtype, (int32_t)ndim, rows, cols, width);
    return send(u, item, bytes, err);
}

static attn_status
stage_table(attn_upload *u, const attn_kv_group *kv, uint32_t reqs,
            attn_error *err)
{
    if (kv->block_table_device || !kv->block_table || reqs == 0)
        return ATTN_OK;
    const uint64_t stride = u->limits.max_blocks_per_req;
    int32_t *to = (int32_t *)(void *)(u->staging + u->offset[TABLE]);
    for (uint32_t r = 0; r < reqs; r++)
        memcpy(to + r * stride, kv->block_table + r * kv->block_table_stride,
               kv->block_table_cols * sizeof *to);
    u->kv.block_table_device = mirror(u, TABLE, type_i32, 2, reqs,
                                      kv->block_table_cols, (int64_t)stride);
    return send(u, TABLE,
                ((reqs - 1) * stride + kv->block_table_cols) * sizeof *to, err);
}

static attn_status
above(const char *name, uint64_t value, uint64_t limit, attn_error *err)
{
    return attn_error_set(err, ATTN_E_ARG, name,
                          "%s %llu: the upload's limit is %llu", name,
                          (unsigned long long)value, (unsigned long long)limit);
}

static attn_status
check_limits(const attn_upload *u, const attn_batch *b, const attn_kv_group *kv,
             attn_error *err)
{
    const attn_limits *l = &u->limits;
    const attn_ext_prefix_ranges *p =
        (const attn_ext_prefix_ranges *)attn_ext_find(b->ext,
                                                      ATTN_EXT_PREFIX_RANGES);
    const attn_ext_state *s =
        (const attn_ext_state *)attn_ext_find(kv->ext, ATTN_EXT_STATE);
    if (b->num_reqs > l->max_reqs)
        return above("batch.num_reqs", b->num_reqs, l->max_reqs, err);
    if (b->num_tokens > l->max_tokens)
        return above("batch.num_tokens", b->num_tokens, l->max_tokens, err);
    if (kv->block_table_cols > l->max_blocks_per_req)
        return above("kv.block_table_cols", kv->block_table_cols,
                     l->max_blocks_per_req, err);
    if (p && p->max_ranges > u->max_ranges)
        return above("max_ranges", p->max_ranges, u->max_ranges, err);
    if (s && s->max_checkpoints > u->max_checkpoints)
        return above("max_checkpoints", s->max_checkpoints, u->max_checkpoints,
                     err);
    return ATTN_OK;
}

/* Copies of known extensions come first on the chain and so are found. */
static attn_status
stage_batch_ext(attn_upload *u, const attn_batch *b, attn_error *err)
{
    const attn_ext *e = attn_ext_find(b->ext, ATTN_EXT_CONTEXT_PARALLEL);
    if (e) {
        attn_ext_context_parallel *x = &u->parallel_ext;
        attn_take(x, sizeof *x, e);
        x->head.next = u->batch.ext;
        x->local_seq_lens_device =
            stage_small(u, LOCAL, type_i32, x->local_seq_lens_device,
                        x->local_seq_lens, b->num_reqs);
        u->batch.ext = &x->head;
    }
    e = attn_ext_find(b->ext, ATTN_EXT_PREFIX_RANGES);
    if (!e)
        return ATTN_OK;
    attn_ext_prefix_ranges *x = &u->prefix_ext;
    attn_take(x, sizeof *x, e);
    x->head.next = u->batch.ext;
    u->batch.ext = &x->head;
    return stage_block(u, RANGES, type_i32, &x->ranges_device, x->ranges, 3,
                       b->num_reqs, x->max_ranges, err);
}

static attn_status
stage_group_ext(attn_upload *u, const attn_batch *b, const attn_kv_group *kv,
                attn_error *err)
{
    const attn_ext *e = attn_ext_find(kv->ext, ATTN_EXT_STATE);
    if (!e)
        return ATTN_OK;
    attn_ext_state *x = &u->state_ext;
    attn_take(x, sizeof *x, e);
    x->head.next = u->kv.ext;
    u->kv.ext = &x->head;
    x->has_initial_state_device =
        stage_small(u, INITIAL, type_u8, x->has_initial_state_device,
                    x->has_initial_state, b->num_reqs);
    x->num_accepted_tokens_device =
        stage_small(u, ACCEPTED, type_i32, x->num_accepted_tokens_device,
                    x->num_accepted_tokens, b->num_reqs);
    return stage_block(u, CHECKPOINTS, type_i32, &x->checkpoint_slots_device,
                       x->checkpoint_slots, 2, b->num_reqs, x->max_checkpoints,
                       err);
}

static void
stage_batch(attn_upload *u, const attn_batch *b)
{
    u->batch.query_start_loc_device =
        stage_small(u, STARTS, type_i32, b->query_start_loc_device,
                    b->query_start_loc, b->num_reqs + 1);
    u->batch.seq_lens_device = stage_small(
        u, LENS, type_i32, b->seq_lens_device, b->seq_lens, b->num_reqs);
    u->batch.causal_device = stage_small(u, CAUSAL, type_u8, b->causal_device,
                                         b->causal, b->num_reqs);
}

attn_status
attn_batch_upload(attn_upload *upload, const attn_batch *batch,
                  const attn_kv_group *kv, const attn_stream *stream,
                  const attn_batch **batch_out, const attn_kv_group **kv_out,
                  attn_error *err)
{
    attn_upload *u = upload;
    if (!u->place.service) {
        *batch_out = batch;
        *kv_out = kv;
        return ATTN_OK;
    }
    attn_status s = check_limits(u, batch, kv, err);
    if (s != ATTN_OK)
        return s;
    attn_take(&u->batch, sizeof u->batch, batch);
    attn_take(&u->kv, sizeof u->kv, kv);
    u->stream = stream;
    u->small_bytes = 0;
    u->staging = (char *)u->memory.binding.pinned + u->turn * u->bytes;
    u->turn = (u->turn + 1) % u->limits.steps_in_flight;
    stage_batch(u, batch);
    s = stage_batch_ext(u, batch, err);
    if (s == ATTN_OK)
        s = stage_group_ext(u, batch, kv, err);
    if (s == ATTN_OK)
        s = stage_table(u, kv, batch->num_reqs, err);
    if (s == ATTN_OK)
        s = stage_block(u, SLOTS, type_i64, &u->kv.slot_mapping_device,
                        kv->slot_mapping, 1, batch->num_tokens, 1, err);
    if (s == ATTN_OK)
        s = send(u, STARTS, u->small_bytes, err);
    if (s != ATTN_OK)
        return s;
    *batch_out = &u->batch;
    *kv_out = &u->kv;
    return ATTN_OK;
}
