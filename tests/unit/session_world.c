/* SPDX-License-Identifier: Apache-2.0 */
#include "session_world.h"

struct world w;
attn_error err;

attn_any_layer
make_layer(uint64_t features)
{
    attn_any_layer l;
    attn_layer_init(attn_family_find("flash"), &l);
    l.flash.num_heads = HEADS;
    l.flash.head_dim = WIDTH;
    l.flash.block_size = BLOCK;
    l.flash.q_dtype = (attn_dtype)ATTN_F32;
    l.head.features = features;
    if (attn_layer_finish(&l, &err) != ATTN_OK)
        abort();
    return l;
}

const attn_limits world_limits = {.struct_size = sizeof world_limits,
                                  .max_reqs = 4,
                                  .max_tokens = MAX_TOKENS,
                                  .max_query_len = 12,
                                  .max_seq_len = 16,
                                  .max_blocks_per_req = 4};

attn_status
make_group(attn_session *session, uint64_t features, const char *backend,
           attn_group **group, attn_error *e)
{
    attn_any_layer l = make_layer(features);
    const attn_group_params params = {.struct_size = sizeof params,
                                      .layer_index = ATTN_LAYER_INDEX_NONE,
                                      .layer = &l.head,
                                      .limits = &world_limits,
                                      .backend = backend};
    return attn_group_create(session, &params, group, e);
}

attn_tensor
tensor(void *data, int64_t *shape, int64_t *strides, int ndim)
{
    return (attn_tensor){
        .data = data,
        .device = {fake.on_device ? ATTN_DEVICE_EXT : ATTN_DEVICE_CPU, 0},
        .ndim = ndim,
        .dtype = ATTN_F32,
        .shape = shape,
        .strides = strides};
}

void
make_step(uint32_t reqs, const int32_t (*lengths)[2])
{
    int32_t page = 0, t = 0;
    for (uint32_t r = 0; r < reqs; r++) {
        int32_t q = lengths[r][0], s = lengths[r][1];
        w.lens[r] = s;
        w.starts[r] = t;
        for (int32_t j = 0; j < (s + BLOCK - 1) / BLOCK; j++)
            w.table[r][j] = BLOCKS - 1 - page++;
        for (int32_t i = s - q; i < s; i++)
            w.slots[t++] = w.table[r][i / BLOCK] * BLOCK + i % BLOCK;
    }
    w.starts[reqs] = t;
    w.batch = (attn_batch){.struct_size = sizeof w.batch,
                           .num_reqs = reqs,
                           .num_tokens = (uint32_t)t,
                           .query_start_loc_state = ATTN_EXACT,
                           .seq_lens_state = ATTN_EXACT,
                           .query_start_loc = w.starts,
                           .seq_lens = w.lens};
    for (uint32_t r = 0; r < reqs; r++) {
        if (lengths[r][0] > (int32_t)w.batch.max_query_len)
            w.batch.max_query_len = (uint32_t)lengths[r][0];
        if (lengths[r][1] > (int32_t)w.batch.max_seq_len)
            w.batch.max_seq_len = (uint32_t)lengths[r][1];
    }
    w.kv = (attn_kv_group){.struct_size = sizeof w.kv,
                           .block_size = BLOCK,
                           .num_blocks = BLOCKS,
                           .block_table_cols = 4,
                           .block_table_stride = 4,
                           .block_table = w.table[0],
                           .slot_mapping = w.slots};
    memcpy(w.shape3, (int64_t[]){t, HEADS, WIDTH}, sizeof w.shape3);
}

static void
make_tensors(void)
{
    memcpy(w.stride3, (int64_t[]){HEADS * WIDTH, WIDTH, 1}, sizeof w.stride3);
    memcpy(w.shape4, (int64_t[]){BLOCKS, BLOCK, HEADS, WIDTH}, sizeof w.shape4);
    memcpy(w.stride4,
           (int64_t[]){BLOCK * HEADS * WIDTH, HEADS * WIDTH, WIDTH, 1},
           sizeof w.stride4);
    w.tq = tensor(w.q, w.shape3, w.stride3, 3);
    w.tout = tensor(w.out, w.shape3, w.stride3, 3);
    w.tk = tensor(w.k, w.shape3, w.stride3, 3);
    w.tv = tensor(w.v, w.shape3, w.stride3, 3);
    w.tkc = tensor(w.k_cache, w.shape4, w.stride4, 4);
    w.tvc = tensor(w.v_cache, w.shape4, w.stride4, 4);
    w.forward = (attn_flash_forward){.head = {sizeof w.forward, 0},
                                     .q = &w.tq,
                                     .k_cache = &w.tkc,
                                     .v_cache = &w.tvc,
                                     .out = &w.tout};
    w.update = (attn_flash_update){.head = {sizeof w.update, 0},
                                   .k = &w.tk,
                                   .v = &w.tv,
                                   .k_cache = &w.tkc,
                                   .v_cache = &w.tvc};
}

void
open_world(const char *ini, const char *backend)
{
    open_world_with(0, ini, backend);
}

void
open_world_with(uint64_t features, const char *ini, const char *backend)
{
    ck_assert_good(attn_session_create(fake_registry(ini), &w.session, &err),
                   err);
    ck_assert_good(make_group(w.session, features, backend, &w.group, &err),
                   err);
    ck_assert_good(attn_group_add_layer(w.group, NULL, &w.layer, &err), err);
    make_tensors();
}

void
close_world(void)
{
    attn_session_destroy(w.session);
    fake_registry_free();
}

attn_status
run_step(void)
{
    attn_status s = attn_group_build(w.group, &w.batch, &w.kv, NULL, &err);
    if (s == ATTN_OK)
        s = attn_group_update_cache(w.group, &w.update.head, &err);
    if (s == ATTN_OK)
        s = attn_group_forward(w.group, w.layer, &w.forward.head, &err);
    return s;
}
