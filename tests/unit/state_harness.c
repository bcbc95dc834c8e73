/* SPDX-License-Identifier: Apache-2.0 */
#include "state_harness.h"

#include <check.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static attn_executor *the_executor;

static void
host_log(const attn_host *host, int32_t level, const char *text)
{
    (void)host;
    fprintf(stderr, "plugin log %d: %s\n", level, text);
}

static void
host_parallel_for(const attn_host *host, uint32_t tasks, uint32_t workers,
                  attn_task task, void *arg)
{
    (void)host;
    the_executor->parallel_for(the_executor->arg, tasks, workers, task, arg);
}

int
harness_open(harness *h, const char *file, const char *backend,
             uint32_t threads, const char *isa, const char *key,
             const char *value)
{
    char path[1024];
    attn_error err = {.struct_size = sizeof err};
    const char *top = getenv("top_builddir");
    memset(h, 0, sizeof *h);
    snprintf(path, sizeof path, "%s/.libs/%s", top ? top : ".", file);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    ck_assert_msg(so != NULL, "%s", dlerror());
    attn_status (*entry)(attn_handshake *);
    *(void **)&entry = dlsym(so, "attn_plugin_entry");
    ck_assert_ptr_nonnull(entry);
    attn_handshake hs = {.magic = ATTN_MAGIC_ASK,
                         .size = sizeof hs,
                         .host_major_lo = ATTN_ABI_MAJOR,
                         .host_major_hi = ATTN_ABI_MAJOR,
                         .host_minor = ATTN_ABI_MINOR};
    ck_assert_int_eq(entry(&hs), ATTN_OK);
    h->plugin = hs.plugin;
    for (uint32_t i = 0; i < h->plugin->num_backends; i++)
        if (!strcmp(h->plugin->backends[i]->name, backend))
            h->backend = h->plugin->backends[i];
    ck_assert_ptr_nonnull(h->backend);
    ck_assert_int_eq(attn_executor_create(threads, &h->executor, &err), 0);
    the_executor = h->executor;
    h->threads = threads;
    h->host = (attn_host){.struct_size = sizeof(attn_host),
                          .name = "test",
                          .version = "0",
                          .log = host_log,
                          .parallel_for = host_parallel_for};
    const attn_key_value options[] = {{"isa", isa}, {key, value}};
    const attn_status s = h->plugin->init(&h->host, options, key ? 2 : 1, &err);
    if (s == ATTN_E_UNSUPPORTED)
        return 0;
    ck_assert_msg(s == ATTN_OK, "%s", err.message);
    ck_assert_int_eq(
        h->plugin->open((attn_device){ATTN_DEVICE_CPU, 0}, &h->ctx, &err), 0);
    return 1;
}

void
harness_close(harness *h)
{
    if (h->ctx)
        h->plugin->close(h->ctx);
    h->plugin->shutdown();
    attn_executor_destroy(h->executor);
}

/* A call's tensor as an attn_tensor; .present 0 when absent. */
typedef struct view {
    attn_tensor t;
    int present;
} view;

static view
view_of(const attn_call_tensor *c)
{
    view v = {0};
    if (!c)
        return v;
    v.present = 1;
    v.t.data = c->data;
    v.t.device.type = ATTN_DEVICE_CPU;
    v.t.ndim = (int32_t)c->ndim;
    v.t.dtype = c->dtype;
    v.t.shape = (int64_t *)(uintptr_t)c->shape;
    v.t.strides = (int64_t *)(uintptr_t)c->strides;
    return v;
}

#define PTR(v) ((v).present ? &(v).t : NULL)

static const attn_call_tensor *
find(const attn_call *c, const char *name)
{
    return attn_call_find(c, name);
}

/* The step's metadata, derived from the call as the format says. */
typedef struct step {
    attn_batch batch;
    attn_kv_group group;
    attn_ext_state state;
    int32_t *lens;
} step;

static uint32_t
num_tokens(const attn_call *c)
{
    const char *names[] = {"q_nope", "xbc", "x"};
    for (int i = 0; i < 3; i++)
        if (find(c, names[i]))
            return (uint32_t)find(c, names[i])->shape[0];
    return 0;
}

static void
step_lengths(step *s, const attn_call *c)
{
    const attn_call_tensor *lens = find(c, "seq_lens");
    const attn_call_tensor *init = find(c, "has_initial_state");
    const attn_layer *l = attn_call_layer(c);
    const int32_t *qsl = s->batch.query_start_loc;
    int32_t chunk = 1;
    if (!strcmp(l->family, ATTN_FAMILY_MAMBA2))
        chunk = (int32_t)((const attn_mamba2_layer *)l)->chunk_size;
    for (uint32_t r = 0; r < s->batch.num_reqs; r++) {
        const int32_t q = qsl[r + 1] - qsl[r];
        const int seen = init && ((const uint8_t *)init->data)[r];
        s->lens[r] =
            lens ? ((const int32_t *)lens->data)[r] : q + (seen ? chunk : 0);
        if ((uint32_t)q > s->batch.max_query_len)
            s->batch.max_query_len = (uint32_t)q;
        if ((uint32_t)s->lens[r] > s->batch.max_seq_len)
            s->batch.max_seq_len = (uint32_t)s->lens[r];
    }
}

static const void *
data_of(const attn_call *c, const char *name)
{
    const attn_call_tensor *t = find(c, name);
    return t ? t->data : NULL;
}

static void
step_state(step *s, const attn_call *c)
{
    const attn_call_tensor *idx = find(c, "state_indices");
    const attn_call_tensor *check = find(c, "checkpoint_slots");
    s->group.flags = ATTN_KV_STATE;
    s->group.num_blocks = (uint32_t)find(c, "ssm_state")->shape[0];
    s->group.block_table = idx->data;
    s->group.block_table_cols = idx->ndim > 1 ? (uint32_t)idx->shape[1] : 1;
    s->group.block_table_stride = s->group.block_table_cols;
    s->state.head.struct_size = sizeof s->state;
    s->state.head.id = ATTN_EXT_STATE;
    s->state.has_initial_state = data_of(c, "has_initial_state");
    s->state.num_accepted_tokens = data_of(c, "num_accepted_tokens");
    if (check) {
        s->state.checkpoint_slots = check->data;
        s->state.max_checkpoints = (uint32_t)check->shape[1];
        s->state.checkpoint_interval =
            (uint32_t) * (const int32_t *)data_of(c, "checkpoint_interval");
    }
    s->group.ext = &s->state.head;
}

static void
step_open(step *s, const attn_call *c)
{
    memset(s, 0, sizeof *s);
    const attn_call_tensor *qsl = find(c, "query_start_loc");
    attn_batch *b = &s->batch;
    b->struct_size = sizeof *b;
    b->num_reqs = (uint32_t)qsl->shape[0] - 1;
    b->num_tokens = num_tokens(c);
    b->query_start_loc = qsl->data;
    b->query_start_loc_state = b->seq_lens_state = ATTN_EXACT;
    b->causal = data_of(c, "causal");
    s->lens = calloc(b->num_reqs + 1, sizeof *s->lens);
    b->seq_lens = s->lens;
    step_lengths(s, c);
    s->group.struct_size = sizeof s->group;
    if (find(c, "state_indices")) {
        step_state(s, c);
        return;
    }
    const attn_call_tensor *table = find(c, "block_table");
    const attn_call_tensor *cache = find(c, "kv_cache");
    s->group.block_size = (uint32_t)cache->shape[1];
    s->group.num_blocks = (uint32_t)cache->shape[0];
    s->group.block_table = table->data;
    s->group.block_table_cols = (uint32_t)table->shape[1];
    s->group.block_table_stride = table->shape[1];
    s->group.slot_mapping = data_of(c, "slot_mapping");
}

static attn_call_tensor *
add(attn_call *to, const char *name, attn_dtype type, uint32_t ndim,
    const int64_t *shape, const void *data)
{
    attn_call_tensor *t = NULL;
    attn_error err = {.struct_size = sizeof err};
    ck_assert_msg(!attn_call_add(to, name, type, ndim, shape, data, &t, &err),
                  "%s", err.message);
    return t;
}

static attn_call_tensor *
copy(attn_call *to, const attn_call *from, const char *name)
{
    const attn_call_tensor *t = find(from, name);
    return t ? add(to, name, t->dtype, t->ndim, t->shape, t->data) : NULL;
}

/* Memory that ends where the claim ends, filled with NaN patterns. */
static void *
bind_memory(const attn_workspace *need, attn_binding *to)
{
    const size_t guard = 4096;
    const size_t n = ((size_t)need->host_bytes + 63) / 64 * 64;
    char *p = aligned_alloc(64, n + guard);
    memset(p, 0xff, n);
    memset(p + need->host_bytes, 0x5a, n + guard - need->host_bytes);
    *to = (attn_binding){.struct_size = sizeof *to, .host = p};
    return p;
}

static void
release_memory(const attn_workspace *need, char *p)
{
    for (size_t i = 0; i < 4096; i++)
        ck_assert_msg(p[need->host_bytes + i] == 0x5a,
                      "wrote %zu bytes past its workspace", i + 1);
    free(p);
}

/* One builder with its memory, ready to run. */
typedef struct run {
    harness *h;
    const attn_call *call;
    attn_call *result;
    attn_builder *b;
    attn_prepared *prepared;
    attn_workspace need, layer_need;
    void *memory, *layer_memory;
    step s;
} run;

static void
check_ok(attn_status s, const attn_error *err, const char *what)
{
    ck_assert_msg(s == ATTN_OK, "%s: status %d: %s: %s", what, s, err->where,
                  err->message);
}

static void
open_builder(run *r)
{
    attn_error err = {.struct_size = sizeof err};
    const attn_op *op = r->h->backend->op;
    const attn_batch *b = &r->s.batch;
    const attn_limits limits = {
        .struct_size = sizeof limits,
        .max_reqs = b->num_reqs,
        .max_tokens = b->num_tokens,
        .max_query_len = b->max_query_len ? b->max_query_len : 1,
        .max_seq_len = b->max_seq_len ? b->max_seq_len : 1,
        .max_blocks_per_req = r->s.group.block_table_cols,
        .num_threads = r->h->threads,
        .steps_in_flight = 1};
    attn_binding binding;
    check_ok(op->builder_create(r->h->ctx, r->h->backend,
                                attn_call_layer(r->call), &limits, &r->b, &err),
             &err, "builder_create");
    r->need.struct_size = r->layer_need.struct_size = sizeof r->need;
    ck_assert_int_eq(op->workspace(r->b, &r->need), 0);
    r->memory = bind_memory(&r->need, &binding);
    check_ok(op->bind(r->b, &binding, &err), &err, "bind");
}

static void
prepare(run *r, const attn_head *constants)
{
    attn_error err = {.struct_size = sizeof err};
    const attn_op *op = r->h->backend->op;
    attn_binding binding;
    ck_assert_int_eq(op->layer_bytes(r->b, &r->layer_need), 0);
    r->layer_memory = bind_memory(&r->layer_need, &binding);
    check_ok(
        op->layer_prepare(r->b, constants, &binding, NULL, &r->prepared, &err),
        &err, "layer_prepare");
}

static double
now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* A step that is refused ends the one before it. */
static void
refuse_step(run *r, const attn_head *args)
{
    attn_error err = {.struct_size = sizeof err};
    const attn_op *op = r->h->backend->op;
    attn_batch beyond = r->s.batch;
    beyond.num_tokens++; /* the limit is what the call has */
    ck_assert_int_ne(op->build(r->b, &beyond, &r->s.group, NULL, &err),
                     ATTN_OK);
    ck_assert_msg(op->forward(r->b, args, &err) == ATTN_E_ARG,
                  "forward ran the step before a refused one");
}

static void
forward(run *r, const attn_head *update, const attn_head *args)
{
    attn_error err = {.struct_size = sizeof err};
    const attn_op *op = r->h->backend->op;
    double t = now_us();
    check_ok(op->build(r->b, &r->s.batch, &r->s.group, NULL, &err), &err,
             "build");
    r->h->build_us = now_us() - t;
    if (update)
        check_ok(op->update_cache(r->b, update, &err), &err, "update_cache");
    r->h->forward_us = 1e30;
    for (uint32_t i = 0; i < (r->h->repeats ? r->h->repeats : 1); i++) {
        t = now_us();
        check_ok(op->forward(r->b, args, &err), &err, "forward");
        t = now_us() - t;
        if (t < r->h->forward_us)
            r->h->forward_us = t;
    }
    refuse_step(r, args);
}

static attn_call_tensor *
new_output(run *r, const char *name, attn_dtype type, uint32_t ndim,
           const int64_t *shape)
{
    attn_call_tensor *t = add(r->result, name, type, ndim, shape, NULL);
    memset(t->data, 0xff, t->bytes);
    return t;
}

/* The cache with pad elements of NaN between its blocks; the caller frees. */
static void *
spread_blocks(view *cache, uint32_t pad, int64_t *strides)
{
    const size_t e = cache->t.dtype.bits / 8u, n = (size_t)cache->t.shape[0];
    const size_t old = (size_t)cache->t.strides[0] * e, now = old + pad * e;
    char *data = malloc(n * now);
    ck_assert_ptr_nonnull(data);
    memset(data, 0xff, n * now);
    for (size_t i = 0; i < n; i++)
        memcpy(data + i * now, (const char *)cache->t.data + i * old, old);
    memcpy(strides, cache->t.strides, 3 * sizeof *strides);
    strides[0] += pad;
    cache->t.strides = strides;
    cache->t.data = data;
    return data;
}

static void
run_mla(run *r)
{
    const attn_mla_layer *l = (const attn_mla_layer *)attn_call_layer(r->call);
    const attn_call *c = r->call;
    const int64_t t = r->s.batch.num_tokens;
    const int64_t shape[] = {t, l->num_heads, l->v_head_dim};
    const attn_dtype f32 = ATTN_F32;
    view uk = view_of(find(c, "w_uk")), uv = view_of(find(c, "w_uv"));
    const attn_mla_constants k = {{sizeof k, 0}, PTR(uk), PTR(uv)};
    prepare(r, &k.head);
    view qn = view_of(find(c, "q_nope")), qp = view_of(find(c, "q_pe"));
    view cache = view_of(copy(r->result, c, "kv_cache"));
    int64_t strides[3];
    void *spread = r->h->block_pad
                       ? spread_blocks(&cache, r->h->block_pad, strides)
                       : NULL;
    view scale = view_of(find(c, "kv_scale"));
    view lat = view_of(find(c, "latent")), pe = view_of(find(c, "k_pe"));
    view out = view_of(new_output(r, "out", l->out_dtype, 3, shape));
    view lse = view_of(new_output(r, "lse", f32, 2, shape));
    const attn_mla_update u = {.head = {sizeof u, 0},
                               .latent = PTR(lat),
                               .k_pe = PTR(pe),
                               .kv_cache = PTR(cache),
                               .kv_scale = PTR(scale)};
    const attn_mla_forward f = {.head = {sizeof f, 0},
                                .layer = r->prepared,
                                .q_nope = PTR(qn),
                                .q_pe = PTR(qp),
                                .kv_cache = PTR(cache),
                                .kv_scale = PTR(scale),
                                .out = PTR(out),
                                .lse = PTR(lse)};
    forward(r, lat.present ? &u.head : NULL, &f.head);
    free(spread);
}

static void
prepare_mamba(run *r)
{
    const attn_call *c = r->call;
    view w = view_of(find(c, "conv_weight")),
         bias = view_of(find(c, "conv_bias"));
    view a = view_of(find(c, "a")), d = view_of(find(c, "d"));
    view dtb = view_of(find(c, "dt_bias"));
    const attn_mamba_constants k = {{sizeof k, 0}, PTR(w), PTR(bias),
                                    PTR(a),        PTR(d), PTR(dtb)};
    prepare(r, &k.head);
}

static void
run_mamba(run *r)
{
    const attn_call *c = r->call;
    const attn_layer *any = attn_call_layer(c);
    const int two = !strcmp(any->family, ATTN_FAMILY_MAMBA2);
    const attn_mamba2_layer *m2 = (const attn_mamba2_layer *)any;
    const attn_mamba1_layer *m1 = (const attn_mamba1_layer *)any;
    const int64_t t = r->s.batch.num_tokens;
    const int64_t shape2[] = {t, m2->num_heads, m2->head_dim};
    const int64_t shape1[] = {t, m1->num_channels};
    prepare_mamba(r);
    view x = view_of(find(c, two ? "xbc" : "x")), dt = view_of(find(c, "dt"));
    view b = view_of(find(c, "b")), cc = view_of(find(c, "c"));
    view z = view_of(find(c, "z"));
    view conv = view_of(copy(r->result, c, "conv_state"));
    view ssm = view_of(copy(r->result, c, "ssm_state"));
    view out = view_of(two ? new_output(r, "out", m2->out_dtype, 3, shape2)
                           : new_output(r, "out", m1->out_dtype, 2, shape1));
    const attn_mamba2_forward f2 = {{sizeof f2, 0}, {0},      r->prepared,
                                    PTR(x),         PTR(dt),  PTR(z),
                                    PTR(conv),      PTR(ssm), PTR(out)};
    const attn_mamba1_forward f1 = {
        {sizeof f1, 0}, {0},    r->prepared, PTR(x),   PTR(dt), PTR(b),
        PTR(cc),        PTR(z), PTR(conv),   PTR(ssm), PTR(out)};
    forward(r, NULL, two ? &f2.head : &f1.head);
}

attn_call *
harness_run(harness *h, const attn_call *call)
{
    run r = {.h = h, .call = call};
    attn_error err = {.struct_size = sizeof err};
    ck_assert_int_eq(attn_call_create(attn_call_layer(call), &r.result, &err),
                     0);
    step_open(&r.s, call);
    open_builder(&r);
    if (!strcmp(attn_call_layer(call)->family, ATTN_FAMILY_MLA))
        run_mla(&r);
    else
        run_mamba(&r);
    h->backend->op->builder_destroy(r.b);
    release_memory(&r.need, r.memory);
    release_memory(&r.layer_need, r.layer_memory);
    free(r.s.lens);
    return r.result;
}

const char *
harness_differ(const attn_call *a, const attn_call *b)
{
    static char line[128];
    for (size_t i = 0; i < attn_call_count(a); i++) {
        const attn_call_tensor *x = attn_call_at(a, i);
        const attn_call_tensor *y = attn_call_find(b, x->name);
        for (uint64_t k = 0; k < x->bytes; k++)
            if (((const char *)x->data)[k] != ((const char *)y->data)[k]) {
                snprintf(line, sizeof line, "%s differs at byte %llu", x->name,
                         (unsigned long long)k);
                return line;
            }
    }
    return NULL;
}
