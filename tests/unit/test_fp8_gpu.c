/* SPDX-License-Identifier: Apache-2.0 */
/* Every code of both fp8 types through a flash backend with a device service:
 * update_cache writes it, decode and prefill read it. One key a request, so its
 * weight is 1 and the output is what the code says; the query picks one column
 * of the key, so lse is what the code says too. Takes each emulated plugin that
 * was built. */
#include <attn/plugin.h>

#include <check.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODES 256
#define REQS 4 /* codes of one step */
#define DIM 64
#define MAX_HEADS 32

static const char *const plugins[] = {"attn_rocm_flash_emu.so",
                                      "attn_flash_cuda_emu.so"};
static const attn_plugin *plugin;
static const attn_device_service *dev;
static attn_device device;
static attn_stream stream;
static attn_error err = {.struct_size = sizeof(attn_error)};

#define OK(call)                                                     \
    ck_assert_msg((call) == ATTN_OK, "%s: %s: %s", #call, err.where, \
                  err.message)

/* From the fields of the code. */
static double
code_value(uint32_t c, int e5m2)
{
    const int bits = e5m2 ? 2 : 3, bias = e5m2 ? 15 : 7;
    const int e = (int)(c & 127) >> bits, m = (int)c & ((1 << bits) - 1);
    double v =
        e ? ldexp((1 << bits) + m, e - bias - bits) : ldexp(m, 1 - bias - bits);
    if (e5m2 && e == 31)
        v = m ? NAN : INFINITY;
    if (!e5m2 && (c & 127) == 127)
        v = NAN;
    return c & 128 ? -v : v;
}

static float
bf16_value(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint16_t
bf16_of(double v) /* exact here */
{
    const float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (uint16_t)(u >> 16);
}

/* A dense tensor on the device, and its bytes here. */
typedef struct array {
    attn_tensor t;
    int64_t shape[4], strides[4];
    void *host;
    size_t bytes;
} array;

static void
array_make(array *a, attn_dtype type, int ndim, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        a->shape[i] = shape[i];
        a->strides[i] = n;
        n *= shape[i];
    }
    a->bytes = (size_t)n * type.bits / 8;
    a->host = calloc(1, a->bytes);
    void *memory;
    OK(dev->alloc(device, ATTN_MEM_DEVICE, a->bytes, &memory, &err));
    a->t = (attn_tensor){memory, device, ndim, type, a->shape, a->strides, 0};
}

static void
upload(array *a)
{
    OK(dev->copy(&stream, ATTN_COPY_TO_DEVICE, a->t.data, a->host, a->bytes,
                 &err));
    OK(dev->stream_synchronize(&stream, &err));
}

static void
download(array *a)
{
    OK(dev->copy(&stream, ATTN_COPY_TO_HOST, a->host, a->t.data, a->bytes,
                 &err));
    OK(dev->stream_synchronize(&stream, &err));
}

typedef struct world {
    int e5m2, heads;
    attn_flash_layer layer;
    attn_ctx *ctx;
    attn_builder *builder;
    attn_prepared *prepared;
    void *workspace, *layer_device, *layer_host;
    array q, k, v, new_kv, out, lse, starts, lens, table, slots;
} world;

static const attn_op *
op(void)
{
    return plugin->backends[0]->op;
}

static void
make_arrays(world *w)
{
    const attn_dtype kv = w->layer.kv_dtype, bf16 = ATTN_BF16, f32 = ATTN_F32,
                     i32 = ATTN_I32, i64 = ATTN_I64;
    const int64_t q[3] = {REQS, w->heads, DIM}, fresh[3] = {REQS, 1, DIM},
                  cache[4] = {REQS, 1, 1, DIM}, starts[1] = {REQS + 1},
                  lens[1] = {REQS}, table[2] = {REQS, 1};
    array_make(&w->q, bf16, 3, q);
    array_make(&w->out, bf16, 3, q);
    array_make(&w->lse, f32, 2, q);
    array_make(&w->k, kv, 4, cache);
    array_make(&w->v, kv, 4, cache);
    array_make(&w->new_kv, bf16, 3, fresh);
    array_make(&w->starts, i32, 1, starts);
    array_make(&w->lens, i32, 1, lens);
    array_make(&w->table, i32, 2, table);
    array_make(&w->slots, i64, 1, lens);
    for (int i = 0; i < REQS; i++) {
        ((int32_t *)w->starts.host)[i + 1] = i + 1;
        ((int32_t *)w->lens.host)[i] = 1;
        ((int32_t *)w->table.host)[i] = i;
        ((int64_t *)w->slots.host)[i] = i;
        for (int h = 0; h < w->heads; h++)
            ((uint16_t *)w->q.host)[(i * w->heads + h) * DIM] = bf16_of(1);
    }
    array *all[] = {&w->q, &w->starts, &w->lens, &w->table, &w->slots};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        upload(all[i]);
}

static void
bind(world *w)
{
    const attn_limits limits = {sizeof limits,       REQS, 64, 64, 64, 64, 1, 2,
                                ATTN_CAPTURE_ALWAYS, 0};
    attn_workspace need = {.struct_size = sizeof need};
    attn_binding memory = {.struct_size = sizeof memory};
    OK(plugin->open(device, &w->ctx, &err));
    OK(op()->builder_create(w->ctx, plugin->backends[0], &w->layer.head,
                            &limits, &w->builder, &err));
    OK(op()->workspace(w->builder, &need));
    OK(dev->alloc(device, ATTN_MEM_DEVICE, need.device_bytes, &w->workspace,
                  &err));
    memory.device = w->workspace;
    OK(op()->bind(w->builder, &memory, &err));
    OK(op()->layer_bytes(w->builder, &need));
    OK(dev->alloc(device, ATTN_MEM_DEVICE, need.device_bytes, &w->layer_device,
                  &err));
    w->layer_host = malloc(need.host_bytes + 1);
    memory.host = w->layer_host;
    memory.device = w->layer_device;
    const attn_flash_constants none = {{sizeof none, 0}, NULL, NULL};
    OK(op()->layer_prepare(w->builder, &none.head, &memory, &stream,
                           &w->prepared, &err));
}

static void
world_make(world *w, int e5m2, int heads)
{
    const attn_dtype types[2] = {ATTN_E4M3, ATTN_E5M2}, bf16 = ATTN_BF16;
    *w = (world){.e5m2 = e5m2, .heads = heads};
    w->layer = (attn_flash_layer){
        .head = {sizeof w->layer, 0, ATTN_FAMILY_FLASH, ATTN_F_LSE},
        .num_heads = (uint32_t)heads,
        .num_kv_heads = 1,
        .head_dim = DIM,
        .head_dim_v = DIM,
        .block_size = 1,
        .causal = 1,
        .q_dtype = bf16,
        .kv_dtype = types[e5m2],
        .out_dtype = bf16,
        .scale = 1,
        .window_left = -1,
        .window_right = -1,
    };
    make_arrays(w);
    bind(w);
    const attn_batch batch = {.struct_size = sizeof batch,
                              .num_reqs = REQS,
                              .num_tokens = REQS,
                              .max_query_len = 1,
                              .max_seq_len = 1,
                              .query_start_loc_device = &w->starts.t,
                              .seq_lens_device = &w->lens.t};
    const attn_kv_group group = {.struct_size = sizeof group,
                                 .block_size = 1,
                                 .num_blocks = REQS,
                                 .block_table_cols = 1,
                                 .block_table_stride = 1,
                                 .block_table_device = &w->table.t,
                                 .slot_mapping_device = &w->slots.t};
    OK(op()->build(w->builder, &batch, &group, &stream, &err));
}

static void
world_drop(world *w)
{
    array *all[] = {&w->q,   &w->k,    &w->v,      &w->new_kv, &w->out,
                    &w->lse, &w->lens, &w->starts, &w->table,  &w->slots};
    op()->builder_destroy(w->builder);
    plugin->close(w->ctx);
    dev->free(device, ATTN_MEM_DEVICE, w->workspace);
    dev->free(device, ATTN_MEM_DEVICE, w->layer_device);
    free(w->layer_host);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        dev->free(device, ATTN_MEM_DEVICE, all[i]->t.data);
        free(all[i]->host);
    }
}

/* Keys with the code in column 0, or zeros; values with it in every column. */
static void
fill(world *w, uint32_t first, int in_keys)
{
    memset(w->k.host, 0, w->k.bytes);
    for (int i = 0; i < REQS; i++) {
        if (in_keys)
            ((uint8_t *)w->k.host)[i * DIM] = (uint8_t)(first + (uint32_t)i);
        memset((uint8_t *)w->v.host + i * DIM, (int)first + i, DIM);
    }
    upload(&w->k);
    upload(&w->v);
}

static void
forward(world *w)
{
    const attn_flash_forward args = {
        {sizeof args, 0}, stream, w->prepared, &w->q.t,   &w->k.t,
        &w->v.t,          NULL,   NULL,        &w->out.t, &w->lse.t};
    OK(dev->fill(&stream, w->out.t.data, 0x5A, w->out.bytes, &err));
    OK(dev->fill(&stream, w->lse.t.data, 0x5A, w->lse.bytes, &err));
    OK(op()->forward(w->builder, &args.head, &err));
    download(&w->out);
    download(&w->lse);
}

static void
expect(const world *w, uint32_t code, double got, double want, const char *of)
{
    const int good = isnan(want)   ? isnan(got)
                     : isinf(want) ? got == want
                                   : fabs(got - want) <= 1e-6 * fabs(want);
    ck_assert_msg(good, "%s, %d heads, %s of code 0x%02x: %g, not %g",
                  w->e5m2 ? "e5m2" : "e4m3", w->heads, of, code, got, want);
}

static void
check_step(world *w, uint32_t first, int in_keys)
{
    fill(w, first, in_keys);
    forward(w);
    for (int i = 0; i < REQS * w->heads; i++) {
        const uint32_t code = first + (uint32_t)(i / w->heads);
        const double value = code_value(code, w->e5m2);
        const double score = in_keys ? value : 0;
        const double lse = (double)((float *)w->lse.host)[i];
        if (isfinite(score))
            expect(w, code, lse, score, "lse");
        else
            ck_assert_msg(!isfinite(lse), "lse of code 0x%02x: %g", code, lse);
        /* inf - inf is NaN, and so is no weight of an infinite value */
        for (int d = 0; d < DIM; d++)
            expect(w, code,
                   (double)bf16_value(((uint16_t *)w->out.host)[i * DIM + d]),
                   isfinite(score) ? value : NAN, "output");
    }
}

/* Loop index: bit 0 the type, bit 1 prefill (more rows than a decode tile). */
START_TEST(read_codes)
{
    world w;
    world_make(&w, _i & 1, _i & 2 ? MAX_HEADS : 2);
    for (uint32_t first = 0; first < CODES; first += REQS) {
        check_step(&w, first, 0);
        check_step(&w, first, 1);
    }
    world_drop(&w);
}
END_TEST

/* Values to codes: what a code says gives that code again; NaN gives a NaN, an
 * infinity the largest number. */
START_TEST(write_codes)
{
    world w;
    world_make(&w, _i, 2);
    for (uint32_t first = 0; first < CODES; first += REQS) {
        for (int i = 0; i < REQS * DIM; i++)
            ((uint16_t *)w.new_kv.host)[i] =
                bf16_of(code_value(first + (uint32_t)(i / DIM), _i));
        upload(&w.new_kv);
        const attn_flash_update args = {
            {sizeof args, 0}, stream, &w.new_kv.t, &w.new_kv.t,
            &w.k.t,           &w.v.t, NULL,        NULL};
        OK(op()->update_cache(w.builder, &args.head, &err));
        download(&w.k);
        download(&w.v);
        for (int i = 0; i < REQS * DIM; i++) {
            const uint32_t code = first + (uint32_t)(i / DIM);
            const uint32_t k = ((uint8_t *)w.k.host)[i],
                           v = ((uint8_t *)w.v.host)[i];
            ck_assert_uint_eq(k, v);
            if (isnan(code_value(code, _i)))
                ck_assert(isnan(code_value(k, _i)));
            else if (isinf(code_value(code, _i)))
                ck_assert_uint_eq(k, code - 1);
            else
                ck_assert_uint_eq(k, code);
        }
    }
    world_drop(&w);
}
END_TEST

static int
open_plugin(const char *file)
{
    const char *top = getenv("top_builddir");
    char path[1024];
    snprintf(path, sizeof path, "%s/.libs/%s", top ? top : ".", file);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    attn_status (*entry)(attn_handshake *);
    if (!so) {
        fprintf(stderr, "%s\n", dlerror());
        return EXIT_FAILURE;
    }
    *(void **)&entry = dlsym(so, "attn_plugin_entry");
    attn_handshake hs = {.magic = ATTN_MAGIC_ASK,
                         .size = sizeof hs,
                         .host_minor = ATTN_ABI_MINOR};
    if (!entry || entry(&hs) || !hs.accepted)
        return EXIT_FAILURE;
    plugin = hs.plugin;
    dev = plugin->get_extension(ATTN_DEVICE_SERVICE);
    attn_device_info info = {.struct_size = sizeof info};
    if (!dev || dev->info(0, &info, &err) ||
        dev->stream_create(info.device, &stream, &err))
        return EXIT_FAILURE;
    device = info.device;
    printf("%s on %s\n", plugin->backends[0]->name, info.name);
    return EXIT_SUCCESS;
}

static int
run_suite(void)
{
    Suite *s = suite_create("fp8 codes on a device");
    TCase *c = tcase_create("codes");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, read_codes, 0, 4);
    tcase_add_loop_test(c, write_codes, 0, 2);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed;
}

int
main(void)
{
    int failed = 0;
    for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++) {
        if (open_plugin(plugins[i]))
            return EXIT_FAILURE;
        failed += run_suite();
        dev->stream_destroy(&stream);
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
