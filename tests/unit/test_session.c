/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/base.h>
#include <attn/upload.h>
#include <stdio.h>

#include "alloc_fail.h"
#include "session_world.h"
#include "unit.h"

/* What fake_backend.h promises of token i of request r. */
static void
check_out(uint32_t r, int32_t i, int which)
{
    int32_t t = w.starts[r] + i;
    float want = (float)(1000 * which + 10 * w.lens[r] + i);
    for (int j = 0; j < HEADS * WIDTH; j++)
        ck_assert_float_eq(w.out[t * HEADS * WIDTH + j], want);
}

static const int32_t mixed[][2] = {{1, 7}, {1, 3}, {4, 4}, {6, 9}};

START_TEST(one_backend)
{
    open_world("", NULL);
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_ANY)->name,
                     "fake.a");
    make_step(4, mixed);
    for (int i = 0; i < MAX_TOKENS; i++)
        w.k[i * HEADS * WIDTH] = (float)(i + 1);
    err = ATTN_ERROR_INIT;
    ck_assert_good(run_step(), err);
    ck_assert_uint_eq(fake.reqs_of[0], 4);
    check_out(0, 0, 1);
    check_out(3, 5, 1);
    for (int t = 0; t < w.starts[4]; t++)
        ck_assert_float_eq(w.k_cache[w.slots[t] * HEADS * WIDTH],
                           (float)(t + 1));
    close_world();
}
END_TEST

static const char two[] = "[select]\nflash.prefill = fake.b\n"
                          "flash.decode = fake.a\n";

START_TEST(two_backends_share_a_step)
{
    open_world(two, NULL);
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_DECODE)->name,
                     "fake.a");
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_ANY)->name,
                     "fake.b");
    make_step(4, mixed);
    for (int i = 0; i < MAX_TOKENS; i++)
        w.k[i * HEADS * WIDTH] = (float)(i + 1);
    ck_assert_good(run_step(), err);
    ck_assert_uint_eq(fake.reqs_of[0], 2);
    ck_assert_uint_eq(fake.tokens_of[0], 2);
    ck_assert_uint_eq(fake.reqs_of[1], 2);
    ck_assert_uint_eq(fake.tokens_of[1], 10);
    ck_assert_uint_eq(fake.first_start_of[1], 0);
    ck_assert_uint_eq(fake.forwards, 2);
    check_out(0, 0, 1);
    check_out(1, 0, 1);
    check_out(2, 3, 2);
    check_out(3, 5, 2);
    for (int t = 0; t < w.starts[4]; t++)
        ck_assert_float_eq(w.k_cache[w.slots[t] * HEADS * WIDTH],
                           (float)(t + 1));
    make_step(2, mixed);
    ck_assert_good(run_step(), err);
    ck_assert_uint_eq(fake.forwards, 3);
    make_step(2, mixed + 2);
    ck_assert_good(run_step(), err);
    ck_assert_uint_eq(fake.forwards, 4);
    close_world();
}
END_TEST

START_TEST(two_backends_need_decodes_first)
{
    static const int32_t bad[][2] = {{4, 4}, {1, 3}};
    open_world(two, NULL);
    make_step(2, bad);
    ck_assert_error(run_step(), err, ATTN_E_ARG,
                    "request 1 is a decode behind the prefill 0");
    /* What was built before no longer counts. */
    ck_assert_error(attn_group_forward(w.group, w.layer, &w.forward.head, &err),
                    err, ATTN_E_ARG, "forward before a build that succeeded");
    close_world();
}
END_TEST

/* Measured speed parts the phases only where one cache serves both. */
START_TEST(speed_alone_splits_no_cache)
{
    static const char tuned[] = "[profile p]\nfamily = flash\n"
                                "phase = prefill\n"
                                "time_us.fake.a = 90\ntime_us.fake.b = 10\n"
                                "[profile d]\nfamily = flash\n"
                                "phase = decode\n"
                                "time_us.fake.a = 5\ntime_us.fake.b = 7\n";
    attn_group *g = NULL;
    open_world(tuned, NULL);
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_DECODE)->name,
                     "fake.a");
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_PREFILL)->name,
                     "fake.b");
    close_world();
    fake.apart = 1;
    open_world(tuned, NULL);
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_DECODE)->name,
                     "fake.b");
    ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_PREFILL)->name,
                     "fake.b");
    close_world();
    /* A name for one phase: auto takes it for the other too. */
    for (int i = 0; i < 2; i++) {
        open_world(i ? "[select]\nflash.prefill = fake.b\n"
                     : "[select]\nflash.decode = fake.b\n",
                   NULL);
        ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_DECODE)->name,
                         "fake.b");
        ck_assert_str_eq(attn_group_backend(w.group, ATTN_PHASE_PREFILL)->name,
                         "fake.b");
        close_world();
    }
    /* Two names that do not fit remain an error. */
    ck_assert_good(attn_session_create(fake_registry(two), &w.session, &err),
                   err);
    ck_assert_error(make_group(w.session, 0, NULL, &g, &err), err,
                    ATTN_E_CONFIG,
                    "fake.a and fake.b run on different devices and cannot "
                    "share a cache");
    ck_assert_ptr_null(g);
    close_world();
}
END_TEST

START_TEST(nothing_is_allocated_after_set_up)
{
    static const char *const inis[] = {"", two};
    for (int i = 0; i < 2; i++) {
        open_world(inis[i], NULL);
        make_step(4, mixed);
        ck_assert_good(run_step(), err);
        alloc_fail_start(ALLOC_FAIL_NEVER);
        attn_status s = run_step();
        size_t n = alloc_fail_stop();
        ck_assert_int_eq(s, ATTN_OK);
        ck_assert_uint_eq(n, 0);
        close_world();
    }
}
END_TEST

/* One change to the forward block, and the message it must get. */
#define REFUSED(change, undo, text)                                           \
    do {                                                                      \
        change;                                                               \
        ck_assert_error(                                                      \
            attn_group_forward(w.group, w.layer, &w.forward.head, &err), err, \
            ATTN_E_ARG, text);                                                \
        undo;                                                                 \
    } while (0)

START_TEST(tensors_are_checked)
{
    open_world("", NULL);
    make_step(4, mixed);
    ck_assert_good(run_step(), err);
    uint32_t forwards = fake.forwards;
    REFUSED(w.forward.q = NULL, w.forward.q = &w.tq, "q is NULL");
    REFUSED(w.tq.ndim = 2, w.tq.ndim = 3, "q: 2 dimensions, must be 3");
    REFUSED(w.shape4[0] = 15, w.shape4[0] = 16,
            "k_cache: dimension 0 is 15, must be at least 16");
    REFUSED(w.shape4[1] = 8, w.shape4[1] = 4,
            "k_cache: dimension 1 is 8, must be 4");
    REFUSED(w.shape3[0] = 11, w.shape3[0] = 12,
            "q: dimension 0 is 11, must be 12");
    REFUSED(w.stride3[2] = 2, w.stride3[2] = 1, "q: inner stride 2, must be 1");
    REFUSED(w.tout.dtype.bits = 16, w.tout.dtype.bits = 32,
            "out: type f16, must be f32");
    REFUSED(w.tout.device.type = ATTN_DEVICE_CUDA,
            w.tout.device.type = ATTN_DEVICE_CPU,
            "out: on device type 2 number 0, the backend runs on 1");
    REFUSED(w.forward.lse = &w.tout, w.forward.lse = NULL,
            "lse: the layer was described without feature lse");
    REFUSED(w.tq.data = NULL, w.tq.data = w.q, "q: data NULL");
    REFUSED(w.forward.head.struct_size = 40,
            w.forward.head.struct_size = sizeof w.forward,
            "struct_size 40: the block has");
    ck_assert_uint_eq(fake.forwards, forwards);
    ck_assert_error(attn_group_forward(w.group, NULL, &w.forward.head, &err),
                    err, ATTN_E_ARG, "layer is NULL");
    ck_assert_good(attn_group_forward(w.group, w.layer, &w.forward.head, &err),
                   err);
    close_world();
}
END_TEST

START_TEST(steps_are_checked)
{
    open_world("", NULL);
    make_step(4, mixed);
    w.batch.max_query_len = 13;
    ck_assert_error(run_step(), err, ATTN_E_ARG,
                    "batch.max_query_len 13: the group's limit is 12");
    make_step(4, mixed);
    w.kv.block_size = 2;
    ck_assert_int_eq(run_step(), ATTN_E_ARG);
    make_step(4, mixed);
    w.lens[0] = 0;
    ck_assert_int_eq(run_step(), ATTN_E_ARG);
    make_step(4, mixed);
    attn_stream s = {.device = {ATTN_DEVICE_CUDA, 0}};
    ck_assert_error(attn_group_build(w.group, &w.batch, &w.kv, &s, &err), err,
                    ATTN_E_ARG, "stream of device type 2");
    ck_assert_error(attn_group_build(w.group, NULL, &w.kv, NULL, &err), err,
                    ATTN_E_ARG, "batch is NULL");
    ck_assert_uint_eq(fake.builds, 0);
    close_world();
}
END_TEST

/* A mask the layer was not described with must not be dropped in silence. */
START_TEST(masks_are_checked)
{
    static const uint8_t causal[4] = {1, 1, 1, 1};
    static const int32_t rows[4][2] = {{0, 1}, {-1, -1}, {-1, -1}, {-1, -1}};
    attn_ext_prefix_ranges ranges = {
        .head = {sizeof ranges, 0, ATTN_EXT_PREFIX_RANGES, NULL},
        .max_ranges = 1,
        .ranges = rows[0]};
    open_world("", NULL);
    make_step(4, mixed);
    w.batch.flags = ATTN_BATCH_CROSS;
    ck_assert_error(run_step(), err, ATTN_E_ARG,
                    "batch.flags: the layer was described without feature "
                    "cross");
    make_step(4, mixed);
    w.batch.causal = causal;
    ck_assert_error(run_step(), err, ATTN_E_ARG,
                    "without feature per_request_causal");
    make_step(4, mixed);
    w.batch.ext = &ranges.head;
    ck_assert_error(run_step(), err, ATTN_E_ARG,
                    "without feature prefix_ranges");
    ck_assert_uint_eq(fake.builds, 0);
    close_world();
}
END_TEST

/* No backend reads it: each would attend over all keys in silence. */
START_TEST(context_parallelism_is_refused)
{
    int32_t local[4];
    attn_ext_context_parallel part = {
        .head = {sizeof part, 0, ATTN_EXT_CONTEXT_PARALLEL, NULL},
        .world = 2,
        .rank = 1,
        .interleave = 1,
        .local_seq_lens = local};
    open_world("", NULL);
    make_step(4, mixed);
    for (int r = 0; r < 4; r++)
        local[r] = w.lens[r] / 2;
    w.batch.ext = &part.head;
    ck_assert_error(run_step(), err, ATTN_E_UNSUPPORTED,
                    "context_parallel: rank 1 of 2: flash layers attend to "
                    "all of seq_lens");
    ck_assert_uint_eq(fake.builds, 0);
    part.world = 1;
    part.rank = 0;
    part.local_seq_lens = NULL;
    ck_assert_good(run_step(), err);
    close_world();
}
END_TEST

START_TEST(set_up_is_checked)
{
    attn_group *g = NULL;
    attn_any_layer l = make_layer(0);
    attn_limits limits = {.struct_size = sizeof limits, .max_reqs = 1};
    attn_group_params p = {.struct_size = sizeof p,
                           .layer_index = ATTN_LAYER_INDEX_NONE,
                           .limits = &limits};
    open_world("", NULL);
    ck_assert_error(attn_group_create(w.session, &p, &g, &err), err, ATTN_E_ARG,
                    "layer missing");
    p.layer = &l.head;
    ck_assert_error(attn_group_create(w.session, &p, &g, &err), err, ATTN_E_ARG,
                    "limits.max_tokens 0: at least 1");
    l.flash.num_kv_heads = 7;
    ck_assert_error(attn_group_create(w.session, &p, &g, &err), err, ATTN_E_ARG,
                    "num_heads 2: not a multiple of num_kv_heads 7");
    ck_assert_error(make_group(w.session, 0, "fake.c", &g, &err), err,
                    ATTN_E_CONFIG, "no backend 'fake.c'");
    ck_assert_ptr_null(g);
    ck_assert_good(make_group(w.session, ATTN_F_SINKS, "fake.b", &g, &err),
                   err);
    attn_group_layer *layer = NULL;
    ck_assert_error(attn_group_add_layer(g, NULL, &layer, &err), err,
                    ATTN_E_ARG, "constants NULL: this layer has sinks");
    attn_flash_constants c = {.head = {sizeof c, 0}};
    ck_assert_error(attn_group_add_layer(g, &c.head, &layer, &err), err,
                    ATTN_E_ARG, "sinks is NULL");
    int64_t shape[] = {3}, one[] = {1};
    attn_tensor sinks = tensor(w.q, shape, one, 1);
    c.sinks = &sinks;
    ck_assert_error(attn_group_add_layer(g, &c.head, &layer, &err), err,
                    ATTN_E_ARG, "sinks: dimension 0 is 3, must be 2");
    shape[0] = HEADS;
    ck_assert_good(attn_group_add_layer(g, &c.head, &layer, &err), err);
    close_world();
}
END_TEST

START_TEST(plugin_failures_are_told)
{
    open_world("", NULL);
    make_step(4, mixed);
    fake.build_status = 77;
    ck_assert_error(run_step(), err, ATTN_E_INTERNAL,
                    "fake.a: build fails: internal error");
    fake.build_status = ATTN_E_WORKSPACE;
    fake.build_message = "workspace of 3 bytes: needs 4";
    ck_assert_error(run_step(), err, ATTN_E_WORKSPACE,
                    "workspace of 3 bytes: needs 4");
    fake.build_status = ATTN_E_DEVICE;
    ck_assert_int_eq(run_step(), ATTN_E_DEVICE);
    fake.build_status = ATTN_OK;
    ck_assert_error(run_step(), err, ATTN_E_DEVICE,
                    "fake.a lost its device: destroy the group");
    close_world();
}
END_TEST

START_TEST(caches_are_described)
{
    attn_any_layer l = make_layer(0);
    attn_kv_spec spec = {.struct_size = sizeof spec};
    const attn_registry *r = fake_registry("");
    const attn_entry *e = attn_registry_at(r, 0);
    ck_assert_good(attn_kv_spec_get(e, &l.head, &spec, &err), err);
    ck_assert_uint_eq(spec.num_caches, 2);
    ck_assert_str_eq(spec.caches[0].name, "k");
    ck_assert_str_eq(spec.caches[1].name, "v");
    ck_assert_uint_eq(spec.caches[0].ndim, 3);
    ck_assert_int_eq(spec.caches[0].shape[0], BLOCK);
    ck_assert_int_eq(spec.caches[0].strides[0], HEADS * WIDTH);
    ck_assert_uint_eq(spec.caches[0].bytes_per_block,
                      BLOCK * HEADS * WIDTH * 4);
    ck_assert_uint_eq(spec.preferred_block_size, BLOCK);
    attn_layer_init(attn_family_find("mamba2"), &l);
    l.mamba2.num_heads = 2;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_good(attn_kv_spec_get(e, &l.head, &spec, &err), err);
    ck_assert_str_eq(spec.caches[0].name, "conv_state");
    ck_assert_int_eq(spec.caches[0].shape[0], 2 * 64 + 2 * 128);
    ck_assert_int_eq(spec.caches[0].shape[1], 3);
    ck_assert_str_eq(spec.caches[1].name, "ssm_state");
    ck_assert_uint_eq(spec.preferred_block_size, 0);
    fake_registry_free();
}
END_TEST

START_TEST(device_backends_get_their_memory)
{
    fake.on_device = 1;
    open_world(two, NULL);
    ck_assert_uint_gt(fake.live_device_bytes, 0);
    make_step(4, mixed);
    attn_stream s = {.handle = 1, .device = {ATTN_DEVICE_EXT, 0}};
    ck_assert_error(attn_group_build(w.group, &w.batch, &w.kv, &s, &err), err,
                    ATTN_E_ARG,
                    "batch.query_start_loc_device is NULL: the backend runs");
    int64_t n5[] = {5}, n4[] = {4}, n44[] = {4, 4}, one[] = {1}, s4[] = {4, 1};
    attn_tensor starts = tensor(w.starts, n5, one, 1);
    attn_tensor lens = tensor(w.lens, n4, one, 1);
    attn_tensor table = tensor(w.table, n44, s4, 2);
    starts.dtype = lens.dtype = table.dtype = (attn_dtype)ATTN_I32;
    w.batch.query_start_loc_device = &starts;
    w.batch.seq_lens_device = &lens;
    w.kv.block_table_device = &table;
    ck_assert_good(attn_group_build(w.group, &w.batch, &w.kv, &s, &err), err);
    ck_assert_uint_eq(fake.copies, 2); /* rebased starts of both parts */
    ck_assert_good(attn_group_forward(w.group, w.layer, &w.forward.head, &err),
                   err);
    check_out(3, 5, 2);
    close_world();
    ck_assert_uint_eq(fake.live_device_bytes, 0);
}
END_TEST

/* The group's device takes its memory, its streams and its tensors; nothing of
 * the other. */
START_TEST(a_group_on_the_second_device)
{
    const attn_any_layer l = make_layer(0);
    attn_group_params p = {.struct_size = sizeof p,
                           .layer_index = ATTN_LAYER_INDEX_NONE,
                           .layer = &l.head,
                           .limits = &world_limits,
                           .device = 1};
    attn_session *session;
    attn_group *g;
    attn_stream s = {.handle = 1, .device = {ATTN_DEVICE_EXT, 3}};
    fake.on_device = fake.two_devices = 1;
    ck_assert_good(attn_session_create(fake_registry(""), &session, &err), err);
    ck_assert_good(attn_group_create(session, &p, &g, &err), err);
    ck_assert_int_eq(attn_group_backend(g, ATTN_PHASE_ANY)->device_id, 4);
    ck_assert_int_eq(fake.last_device.id, 4);
    make_step(4, mixed);
    ck_assert_error(attn_group_build(g, &w.batch, &w.kv, &s, &err), err,
                    ATTN_E_ARG,
                    "stream of device type 12 number 3, the backend runs on 12 "
                    "number 4");
    p.device = 2;
    ck_assert_error(attn_group_create(session, &p, &g, &err), err,
                    ATTN_E_UNSUPPORTED, "fake.a: device 2: has 2, from 0");
    p.struct_size = offsetof(attn_group_params, device); /* an older caller */
    ck_assert_good(attn_group_create(session, &p, &g, &err), err);
    ck_assert_int_eq(attn_group_backend(g, ATTN_PHASE_ANY)->device_id, 3);
    attn_session_destroy(session);
    fake_registry_free();
    ck_assert_uint_eq(fake.live_device_bytes, 0);
}
END_TEST

/* Metadata that lies on the other device would be read there, or not at all. */
START_TEST(mirrors_lie_on_the_group_s_device)
{
    const attn_any_layer l = make_layer(0);
    attn_group_params p = {.struct_size = sizeof p,
                           .layer_index = ATTN_LAYER_INDEX_NONE,
                           .layer = &l.head,
                           .limits = &world_limits};
    attn_session *session;
    attn_group *g[2];
    attn_upload *u;
    const attn_batch *b;
    const attn_kv_group *k;
    fake.on_device = fake.two_devices = 1;
    ck_assert_good(attn_session_create(fake_registry(""), &session, &err), err);
    for (p.device = 0; p.device < 2; p.device++)
        ck_assert_good(attn_group_create(session, &p, &g[p.device], &err), err);
    const attn_upload_params params = {
        .struct_size = sizeof params,
        .entry = attn_group_backend(g[0], ATTN_PHASE_ANY),
        .limits = &world_limits};
    attn_stream s = {.handle = 1, .device = {ATTN_DEVICE_EXT, 3}};
    make_step(4, mixed);
    ck_assert_good(attn_upload_create(&params, &u, &err), err);
    ck_assert_good(attn_batch_upload(u, &w.batch, &w.kv, &s, &b, &k, &err),
                   err);
    ck_assert_good(attn_group_build(g[0], b, k, &s, &err), err);
    s.device.id = 4;
    ck_assert_error(attn_group_build(g[1], b, k, &s, &err), err, ATTN_E_ARG,
                    "batch.query_start_loc_device: on device type 12 number 3, "
                    "the backend runs on 12 number 4");
    attn_upload_destroy(u);
    attn_session_destroy(session);
    fake_registry_free();
    ck_assert_uint_eq(fake.live_device_bytes, 0);
}
END_TEST

static attn_upload *
open_upload(void)
{
    const attn_limits limits = {.struct_size = sizeof limits,
                                .max_reqs = 4,
                                .max_tokens = MAX_TOKENS,
                                .max_blocks_per_req = 6};
    const attn_upload_params params = {
        .struct_size = sizeof params,
        .max_ranges = 2,
        .entry = attn_group_backend(w.group, ATTN_PHASE_ANY),
        .limits = &limits};
    attn_upload *u;
    ck_assert_good(attn_upload_create(&params, &u, &err), err);
    return u;
}

static int32_t
i32_of(const attn_tensor *t, int64_t row, int64_t col)
{
    return ((const int32_t *)t->data)[row * t->strides[0] + col];
}

START_TEST(metadata_goes_to_the_device)
{
    fake.on_device = 1;
    open_world_with(ATTN_F_PREFIX_RANGES, two, NULL);
    attn_upload *u = open_upload();
    const attn_stream s = {.handle = 1, .device = {ATTN_DEVICE_EXT, 0}};
    const attn_batch *b;
    const attn_kv_group *kv;
    const void *first_address = NULL, *staged[5];
    static const int32_t ranges[4][2][2] = {{{0, 1}, {-1, -1}},
                                            {{-1, -1}, {-1, -1}},
                                            {{1, 2}, {3, 3}},
                                            {{-1, -1}, {-1, -1}}};
    attn_ext_prefix_ranges ext = {
        .head = {.struct_size = sizeof ext, .id = ATTN_EXT_PREFIX_RANGES},
        .max_ranges = 2,
        .ranges = ranges[0][0]};
    for (int i = 0; i < 5; i++) {
        make_step(4 - (uint32_t)(i % 2), mixed);
        w.batch.ext = i == 4 ? &ext.head : NULL;
        ck_assert_good(attn_batch_upload(u, &w.batch, &w.kv, &s, &b, &kv, &err),
                       err);
        staged[i] = fake.last_source;
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            ck_assert_int_eq(i32_of(b->query_start_loc_device, r + 1, 0),
                             w.starts[r + 1]);
            ck_assert_int_eq(i32_of(b->seq_lens_device, r, 0), w.lens[r]);
            ck_assert_int_eq(i32_of(kv->block_table_device, r, 0),
                             w.table[r][0]);
        }
        ck_assert_int_eq(kv->block_table_device->strides[0], 6);
        ck_assert_int_eq(kv->block_table_device->shape[1], 4);
        ck_assert_mem_eq(kv->slot_mapping_device->data, w.slots,
                         w.batch.num_tokens * sizeof *w.slots);
        ck_assert_ptr_null(b->causal_device);
        if (i == 0)
            first_address = kv->block_table_device->data;
        ck_assert_ptr_eq(kv->block_table_device->data, first_address);
        ck_assert_good(attn_group_build(w.group, b, kv, &s, &err), err);
    }
    const attn_ext_prefix_ranges *p =
        (const attn_ext_prefix_ranges *)attn_ext_find(b->ext,
                                                      ATTN_EXT_PREFIX_RANGES);
    ck_assert_mem_eq(p->ranges_device->data, ranges, sizeof ranges);
    attn_tensor there = *p->ranges_device;
    attn_ext_prefix_ranges elsewhere = *p;
    attn_batch own = *b;
    there.device = (attn_device){ATTN_DEVICE_CPU, 0};
    elsewhere.ranges_device = &there;
    own.ext = &elsewhere.head;
    ck_assert_error(attn_group_build(w.group, &own, kv, &s, &err), err,
                    ATTN_E_ARG,
                    "prefix_ranges.ranges_device: on device type 1");
    const attn_ext_context_parallel parallel = {
        .head = {.struct_size = sizeof parallel,
                 .id = ATTN_EXT_CONTEXT_PARALLEL},
        .world = 1,
        .interleave = 1,
        .local_seq_lens = w.lens,
        .local_seq_lens_device = &there};
    own.ext = &parallel.head;
    ck_assert_error(attn_group_build(w.group, &own, kv, &s, &err), err,
                    ATTN_E_ARG,
                    "context_parallel.local_seq_lens_device: on device type 1");
    /* Two steps may be pending: their staging is apart. */
    ck_assert_ptr_ne(staged[0], staged[1]);
    ck_assert_ptr_eq(staged[0], staged[2]);
    ext.max_ranges = 3;
    ck_assert_error(attn_batch_upload(u, &w.batch, &w.kv, &s, &b, &kv, &err),
                    err, ATTN_E_ARG, "max_ranges 3: the upload's limit is 2");
    attn_upload_destroy(u);
    close_world();
    ck_assert_uint_eq(fake.live_device_bytes, 0);
}
END_TEST

START_TEST(metadata_stays_on_the_cpu)
{
    open_world("", NULL);
    attn_upload *u = open_upload();
    const attn_batch *b;
    const attn_kv_group *kv;
    make_step(4, mixed);
    ck_assert_good(attn_batch_upload(u, &w.batch, &w.kv, NULL, &b, &kv, &err),
                   err);
    ck_assert_ptr_eq(b, &w.batch);
    ck_assert_ptr_eq(kv, &w.kv);
    attn_upload_destroy(u);
    close_world();
}
END_TEST

static attn_status
set_up(attn_registry *registry)
{
    attn_session *s;
    attn_group *g;
    attn_group_layer *l;
    attn_status st = attn_session_create(registry, &s, NULL);
    if (st != ATTN_OK)
        return st;
    st = make_group(s, 0, NULL, &g, NULL);
    if (st == ATTN_OK)
        st = attn_group_add_layer(g, NULL, &l, NULL);
    attn_session_destroy(s);
    return st;
}

START_TEST(memory_shortage_is_an_error)
{
    for (int device = 0; device < 2; device++) {
        fake.on_device = device;
        attn_registry *registry = fake_registry(two);
        alloc_fail_start(ALLOC_FAIL_NEVER);
        attn_status whole = set_up(registry);
        size_t n = alloc_fail_stop();
        ck_assert_int_eq(whole, ATTN_OK);
        ck_assert_uint_gt(n, 30);
        for (size_t i = 0; i < n; i++) {
            alloc_fail_start(i);
            attn_status s = set_up(registry);
            alloc_fail_stop();
            ck_assert_msg(s == ATTN_E_NOMEM, "allocation %zu: %d", i, s);
            ck_assert_uint_eq(fake.live_device_bytes, 0);
        }
    }
}
END_TEST

UNIT_MAIN("session", 20, one_backend, two_backends_share_a_step,
          two_backends_need_decodes_first, speed_alone_splits_no_cache,
          nothing_is_allocated_after_set_up, tensors_are_checked,
          steps_are_checked, masks_are_checked, context_parallelism_is_refused,
          set_up_is_checked, plugin_failures_are_told, caches_are_described,
          device_backends_get_their_memory, a_group_on_the_second_device,
          mirrors_lie_on_the_group_s_device, metadata_goes_to_the_device,
          metadata_stays_on_the_cpu, memory_shortage_is_an_error)
