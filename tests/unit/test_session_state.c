/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of recurrent layers and of families the library does not know:
 * what their backends are given, on the CPU and on a device. */
#include <attn/upload.h>
#include <attn/verify.h>
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "alloc_fail.h"
#include "fake_backend.h"
#include "unit.h"

static attn_error err;

/* Three requests: a decode and two prefills, one of them new; two drafts. */
#define REQS 3
#define TOKENS 8
#define COLS 3
#define SLOTS 12
static const int32_t starts[] = {0, 1, 4, 8}, lens[] = {9, 7, 4};
static const int32_t states[REQS][COLS] = {{5, 6, 7}, {1, 2, 3}, {8, 9, 10}};
static const uint8_t initial[] = {1, 1, 0};
static const int32_t accepted[] = {2, 3, 1};
static const int32_t checkpoints[REQS][2] = {{-1, -1}, {4, -1}, {11, 0}};
static attn_ext_state state;
static attn_batch batch;
static attn_kv_group kv;

static const char two[] = "[select]\nmamba2.prefill = fake.b\n"
                          "mamba2.decode = fake.a\n";

static void
make_step(void)
{
    state = (attn_ext_state){.head = {sizeof state, 0, ATTN_EXT_STATE, NULL},
                             .max_checkpoints = 2,
                             .checkpoint_interval = 4,
                             .has_initial_state = initial,
                             .num_accepted_tokens = accepted,
                             .checkpoint_slots = checkpoints[0]};
    batch = (attn_batch){.struct_size = sizeof batch,
                         .num_reqs = REQS,
                         .num_tokens = TOKENS,
                         .max_query_len = 4,
                         .max_seq_len = 9,
                         .query_start_loc_state = ATTN_EXACT,
                         .seq_lens_state = ATTN_EXACT,
                         .query_start_loc = starts,
                         .seq_lens = lens};
    kv = (attn_kv_group){.struct_size = sizeof kv,
                         .flags = ATTN_KV_STATE,
                         .num_blocks = SLOTS,
                         .block_table_cols = COLS,
                         .block_table_stride = COLS,
                         .block_table = states[0],
                         .ext = &state.head};
}

static attn_any_layer
make_layer(void)
{
    attn_any_layer l;
    attn_layer_init(attn_family_find("mamba2"), &l);
    l.mamba2.num_heads = 2;
    l.mamba2.head_dim = 4;
    l.mamba2.state_dim = 2;
    l.mamba2.x_dtype = (attn_dtype)ATTN_F32;
    l.head.features = ATTN_F_DRAFTS | ATTN_F_CHECKPOINTS;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    return l;
}

static const attn_limits limits = {.struct_size = sizeof limits,
                                   .max_reqs = REQS,
                                   .max_tokens = TOKENS,
                                   .max_query_len = 4,
                                   .max_seq_len = 9,
                                   .max_blocks_per_req = COLS};

static attn_status
make_group(attn_session *session, const attn_layer *layer, attn_group **group)
{
    const attn_group_params params = {.struct_size = sizeof params,
                                      .layer_index = ATTN_LAYER_INDEX_NONE,
                                      .layer = layer,
                                      .limits = &limits};
    err = ATTN_ERROR_INIT;
    return attn_group_create(session, &params, group, &err);
}

static const attn_ext_state *
state_of(const attn_kv_group *g)
{
    return (const attn_ext_state *)attn_ext_find(g->ext, ATTN_EXT_STATE);
}

/* fake.a has request 0, fake.b requests 1 and 2. */
static void
look_at_slices(int which, const attn_batch *b, const attn_kv_group *g)
{
    const int first = which ? 1 : 0;
    const attn_ext_state *e = state_of(g);
    ck_assert_uint_eq(b->num_reqs, which ? 2 : 1);
    ck_assert_uint_eq(b->num_tokens, which ? 7 : 1);
    ck_assert_uint_eq(b->max_query_len, which ? 4 : 1);
    ck_assert_int_eq(b->query_start_loc[1], which ? 3 : 1);
    ck_assert_ptr_eq(b->seq_lens, lens + first);
    ck_assert_ptr_eq(g->block_table, states[first]);
    ck_assert_ptr_eq(e->has_initial_state, initial + first);
    ck_assert_ptr_eq(e->num_accepted_tokens, accepted + first);
    ck_assert_ptr_eq(e->checkpoint_slots, checkpoints[first]);
    ck_assert_uint_eq(e->max_checkpoints, 2);
    ck_assert_uint_eq(e->checkpoint_interval, 4);
}

START_TEST(states_are_split_between_two_backends)
{
    const attn_any_layer l = make_layer();
    attn_session *s;
    attn_group *g;
    fake.family = ATTN_FAMILY_MAMBA2;
    fake.look = look_at_slices;
    ck_assert_good(attn_session_create(fake_registry(two), &s, &err), err);
    ck_assert_good(make_group(s, &l.head, &g), err);
    make_step();
    ck_assert_good(attn_group_build(g, &batch, &kv, NULL, &err), err);
    ck_assert_uint_eq(fake.builds, 2);
    attn_session_destroy(s);
    fake_registry_free();
}
END_TEST

static void
look_at_mirrors(int which, const attn_batch *b, const attn_kv_group *g)
{
    const int first = which ? 1 : 0;
    const attn_ext_state *e = state_of(g);
    const attn_tensor *t = e->checkpoint_slots_device;
    ck_assert_int_eq(t->shape[0], b->num_reqs);
    ck_assert_int_eq(t->shape[1], 2);
    const int32_t *slots =
        (const int32_t *)(void *)((char *)t->data + t->byte_offset);
    ck_assert_mem_eq(slots, checkpoints[first], b->num_reqs * 8);
    t = e->has_initial_state_device;
    ck_assert_mem_eq((char *)t->data + t->byte_offset, initial + first,
                     b->num_reqs);
    t = e->num_accepted_tokens_device;
    ck_assert_mem_eq((char *)t->data + t->byte_offset, accepted + first,
                     b->num_reqs * 4);
    t = g->block_table_device;
    ck_assert_int_eq(t->strides[0], COLS);
    ck_assert_mem_eq((char *)t->data + t->byte_offset, states[first],
                     b->num_reqs * COLS * 4);
}

/* A tensor of the extension that the device cannot read. */
static void
refuse_on_the_cpu(attn_group *g, const attn_batch *b, const attn_kv_group *k,
                  const attn_stream *stream, int which)
{
    attn_ext_state e = *state_of(k);
    attn_kv_group own = *k;
    const struct {
        const attn_tensor **tensor;
        const char *says;
    } rows[] = {{&e.has_initial_state_device,
                 "state.has_initial_state_device: on device type 1"},
                {&e.num_accepted_tokens_device,
                 "state.num_accepted_tokens_device: on device type 1"},
                {&e.checkpoint_slots_device,
                 "state.checkpoint_slots_device: on device type 1"}};
    attn_tensor there = **rows[which].tensor;
    there.device = (attn_device){ATTN_DEVICE_CPU, 0};
    *rows[which].tensor = &there;
    own.ext = &e.head;
    ck_assert_error(attn_group_build(g, b, &own, stream, &err), err, ATTN_E_ARG,
                    rows[which].says);
}

START_TEST(states_go_to_the_device)
{
    const attn_any_layer l = make_layer();
    const attn_stream stream = {.handle = 1, .device = {ATTN_DEVICE_EXT, 0}};
    attn_session *s;
    attn_group *g;
    attn_upload *u;
    const attn_batch *b;
    const attn_kv_group *k;
    fake.on_device = 1;
    fake.family = ATTN_FAMILY_MAMBA2;
    fake.look = look_at_mirrors;
    ck_assert_good(attn_session_create(fake_registry(two), &s, &err), err);
    ck_assert_good(make_group(s, &l.head, &g), err);
    attn_upload_params params = {.struct_size = sizeof params,
                                 .max_checkpoints = 1,
                                 .entry =
                                     attn_group_backend(g, ATTN_PHASE_DECODE),
                                 .limits = &limits};
    make_step();
    ck_assert_good(attn_upload_create(&params, &u, &err), err);
    ck_assert_error(attn_batch_upload(u, &batch, &kv, &stream, &b, &k, &err),
                    err, ATTN_E_ARG,
                    "max_checkpoints 2: the upload's limit is 1");
    attn_upload_destroy(u);
    params.max_checkpoints = 2;
    ck_assert_good(attn_upload_create(&params, &u, &err), err);
    ck_assert_good(attn_batch_upload(u, &batch, &kv, &stream, &b, &k, &err),
                   err);
    ck_assert_good(attn_group_build(g, b, k, &stream, &err), err);
    ck_assert_uint_eq(fake.builds, 2);
    for (int i = 0; i < 3; i++)
        refuse_on_the_cpu(g, b, k, &stream, i);
    ck_assert_uint_eq(fake.builds, 2);
    attn_upload_destroy(u);
    attn_session_destroy(s);
    fake_registry_free();
    ck_assert_uint_eq(fake.live_device_bytes, 0);
}
END_TEST

/* ------------------------------------------------------------------ recording
 */

static attn_tensor
tensor(void *data, int ndim, int64_t *shape, int64_t *strides)
{
    strides[ndim - 1] = 1;
    for (int i = ndim - 1; i > 0; i--)
        strides[i - 1] = strides[i] * shape[i];
    return (attn_tensor){.data = data,
                         .device = {ATTN_DEVICE_CPU, 0},
                         .ndim = ndim,
                         .dtype = ATTN_F32,
                         .shape = shape,
                         .strides = strides};
}

static void
run_forward(attn_group *g)
{
    static float xbc[TOKENS * 12], dt[TOKENS * 2], out[TOKENS * 8];
    static float conv[SLOTS * 12 * 3], ssm[SLOTS * 2 * 4 * 2];
    static float weight[12 * 4], a[2];
    int64_t shapes[7][4] = {{TOKENS, 12},
                            {TOKENS, 2},
                            {TOKENS, 2, 4},
                            {SLOTS, 12, 3},
                            {SLOTS, 2, 4, 2},
                            {12, 4},
                            {2}};
    int64_t strides[7][4];
    void *const data[] = {xbc, dt, out, conv, ssm, weight, a};
    const int ndim[] = {2, 2, 3, 3, 4, 2, 1};
    attn_tensor t[7];
    attn_group_layer *layer;
    for (int i = 0; i < 7; i++)
        t[i] = tensor(data[i], ndim[i], shapes[i], strides[i]);
    for (int i = 0; i < SLOTS; i++)
        ssm[i * 16] = (float)i;
    const attn_mamba_constants c = {
        .head = {sizeof c, 0}, .conv_weight = &t[5], .a = &t[6]};
    const attn_mamba2_forward f = {.head = {sizeof f, 0},
                                   .xbc = &t[0],
                                   .dt = &t[1],
                                   .out = &t[2],
                                   .conv_state = &t[3],
                                   .ssm_state = &t[4]};
    ck_assert_good(attn_group_add_layer(g, &c.head, &layer, &err), err);
    ck_assert_good(attn_group_build(g, &batch, &kv, NULL, &err), err);
    ck_assert_good(attn_group_forward(g, layer, &f.head, &err), err);
}

static attn_call *
take_call(const char *dir)
{
    char path[300];
    attn_call *call;
    snprintf(path, sizeof path, "%s/%ld-000000-fake.a.safetensors", dir,
             (long)getpid());
    ck_assert_good(attn_call_load(path, &call, &err), err);
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
    return call;
}

static const int32_t *
ints(const attn_call *call, const char *name)
{
    const attn_call_tensor *t = attn_call_find(call, name);
    ck_assert_msg(t != NULL, "no %s in the record", name);
    return t->data;
}

START_TEST(states_are_recorded)
{
    char dir[] = "attn-state-XXXXXX";
    const attn_any_layer l = make_layer();
    attn_session *s;
    attn_group *g;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("ATTN_DUMP_DIR", dir, 1);
    fake.family = ATTN_FAMILY_MAMBA2;
    ck_assert_good(attn_session_create(fake_registry(""), &s, &err), err);
    ck_assert_good(make_group(s, &l.head, &g), err);
    make_step();
    run_forward(g);
    attn_call *call = take_call(dir);
    /* Slots are renumbered by their first use. */
    for (int i = 0; i < REQS * COLS; i++) {
        const int32_t row = ints(call, "state_indices")[i];
        const float *ssm = attn_call_find(call, "ssm_state")->data;
        ck_assert_int_eq(row, i);
        ck_assert_float_eq(ssm[row * 16], (float)states[i / COLS][i % COLS]);
    }
    ck_assert_mem_eq(attn_call_find(call, "has_initial_state")->data, initial,
                     REQS);
    ck_assert_mem_eq(ints(call, "num_accepted_tokens"), accepted,
                     sizeof accepted);
    const int32_t renumbered[] = {-1, -1, 9, -1, 10, 11};
    ck_assert_mem_eq(ints(call, "checkpoint_slots"), renumbered,
                     sizeof renumbered);
    ck_assert_int_eq(ints(call, "checkpoint_interval")[0], 4);
    attn_call_free(call);
    attn_session_destroy(s);
    fake_registry_free();
}
END_TEST

/* -------------------------------------------------------- a vendor's family */

typedef struct vendor_layer {
    attn_layer head;
    uint32_t secret;
} vendor_layer;

START_TEST(a_family_of_a_vendor)
{
    char name[] = "org.example.op/1";
    vendor_layer l = {.head = {.struct_size = sizeof l, .family = name},
                      .secret = 7};
    attn_flash_forward f = {.head = {512 + 8, 0}};
    attn_session *s;
    attn_group *g;
    attn_group_layer *layer;
    fake.family = "org.example.op/1";
    ck_assert_good(attn_session_create(fake_registry(""), &s, &err), err);
    ck_assert_good(make_group(s, &l.head, &g), err);
    memset(name, 'x', sizeof name - 1); /* the caller's again */
    ck_assert_str_eq(attn_group_backend(g, ATTN_PHASE_ANY)->family,
                     fake.family);
    make_step();
    ck_assert_good(attn_group_add_layer(g, NULL, &layer, &err), err);
    ck_assert_good(attn_group_build(g, &batch, &kv, NULL, &err), err);
    ck_assert_error(attn_group_forward(g, layer, &f.head, &err), err,
                    ATTN_E_ARG, "at most 512");
    ck_assert_error(attn_group_forward(g, layer, NULL, &err), err, ATTN_E_ARG,
                    "args is NULL");
    f.head.struct_size = sizeof f;
    ck_assert_good(attn_group_forward(g, layer, &f.head, &err), err);
    ck_assert_uint_eq(fake.forwards, 1);
    attn_session_destroy(s);
    l.head.family = "org.example.op/1";
    ck_assert_good(attn_session_create(
                       fake_registry("[select]\norg.example.op/1.prefill = "
                                     "fake.b\norg.example.op/1.decode = "
                                     "fake.a\n"),
                       &s, &err),
                   err);
    ck_assert_int_eq(make_group(s, &l.head, &g), ATTN_E_CONFIG);
    ck_assert_str_eq(err.message, "family org.example.op/1 takes one backend "
                                  "for both phases");
    attn_session_destroy(s);
    fake_registry_free();
}
END_TEST

/* A vendor's group, its upload, a recorded layer: each allocation in turn. */
static attn_status
set_up(attn_registry *registry, const attn_layer *layer)
{
    attn_session *s;
    attn_group *g;
    attn_group_layer *l;
    attn_upload *u = NULL;
    attn_status st = attn_session_create(registry, &s, &err);
    if (st != ATTN_OK)
        return st;
    st = make_group(s, layer, &g);
    if (st == ATTN_OK)
        st = attn_group_add_layer(g, NULL, &l, &err);
    if (st == ATTN_OK) {
        const attn_upload_params params = {
            .struct_size = sizeof params,
            .entry = attn_group_backend(g, ATTN_PHASE_ANY),
            .limits = &limits};
        st = attn_upload_create(&params, &u, &err);
    }
    if (st == ATTN_OK)
        attn_upload_destroy(u);
    attn_session_destroy(s);
    return st;
}

START_TEST(memory_shortage_is_an_error)
{
    const attn_layer l = {.struct_size = sizeof l,
                          .family = "org.example.op/1"};
    setenv("ATTN_DUMP_DIR", ".", 1);
    fake.on_device = 1;
    fake.family = l.family;
    attn_registry *r = fake_registry("");
    alloc_fail_start(ALLOC_FAIL_NEVER);
    attn_status whole = set_up(r, &l);
    const size_t n = alloc_fail_stop();
    ck_assert_int_eq(whole, ATTN_OK);
    ck_assert_uint_gt(n, 15);
    for (size_t i = 0; i < n; i++) {
        alloc_fail_start(i);
        attn_status s = set_up(r, &l);
        alloc_fail_stop();
        ck_assert_msg(s == ATTN_E_NOMEM && err.status == s,
                      "allocation %zu of %zu: status %d, %s", i, n, s,
                      err.message);
        ck_assert_uint_eq(fake.live_device_bytes, 0);
    }
    fake_registry_free();
}
END_TEST

UNIT_MAIN("session_state", 20, states_are_split_between_two_backends,
          states_go_to_the_device, states_are_recorded, a_family_of_a_vendor,
          memory_shortage_is_an_error)
