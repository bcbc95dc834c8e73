/* SPDX-License-Identifier: Apache-2.0 */
/* A flash backend with a device service, straight through the ABI, against fp64
 * from the definition. Takes both emulated plugins, or the one
 * FLASH_TEST_PLUGIN names. Arguments name the cases to run; none: all. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "flash_problem.h"
#include "gpu_plugin.h"
#include "small_float.h"
#include "suite.h"

/* clang-format off */
static const spec specs[] = {
    /* name, reqs, q, s, H, Hk, D, Dv, bs, bf, kv, ca, left, rt, cap, .. */
    {.name = "decode", 2, {1, 1}, {70, 9}, 8, 2, 128, 128, 16, 1, 0, 1, -1, -1,
     0},
    {.name = "decode split", 1, {1}, {600}, 4, 4, 64, 64, 32, 0, 0, 1, -1, -1,
     0},
    {.name = "decode shares", 2, {1, 1}, {900, 450}, 8, 8, 64, 64, 32, 1, 0, 1,
     -1, -1, 0},
    {.name = "decode shares e4m3", 3, {1, 2, 1}, {500, 70, 700}, 16, 8, 64, 64,
     16, 1, 1, 1, -1, -1, 0},
    {.name = "decode long tail",3, {1, 2, 1}, {333, 65, 1}, 8, 1, 80, 80, 8, 1,
     0, 1, -1, -1, 0},
    {.name = "decode pages of 1", 2, {1, 2}, {70, 333}, 8, 2, 128, 128, 1, 1, 0,
     1, -1, -1, 0},
    {.name = "decode pages of 3 e4m3", 2, {1, 1}, {70, 133}, 4, 2, 64, 64, 3, 0,
     1, 1, -1, -1, 0},
    {.name = "prefill", 1, {100}, {100}, 2, 2, 64, 64, 16, 1, 0, 1, -1, -1, 0},
    {.name = "prefill gqa", 2, {40, 33}, {40, 90}, 8, 2, 128, 128, 16, 0, 0, 1,
     -1, -1, 0},
    {.name = "chunk split", 1, {20}, {700}, 2, 1, 64, 64, 64, 1, 0, 1, -1, -1,
     0},
    {.name = "mixed", 4, {1, 50, 1, 7}, {40, 50, 3, 99}, 4, 2, 96, 96, 4, 1, 0,
     1, -1, -1, 0},
    {.name = "full", 1, {70}, {130}, 2, 1, 64, 64, 1, 1, 0, 0, -1, -1, 0},
    {.name = "window", 2, {90, 1}, {200, 190}, 2, 1, 64, 64, 16, 1, 0, 1, 30,
     -1, 0},
    {.name = "window both", 1, {80}, {150}, 2, 2, 64, 64, 3, 0, 0, 0, 17, 5, 0},
    {.name = "softcap sinks", 2, {30, 1}, {60, 61}, 4, 2, 64, 64, 16, 1, 0, 1,
     -1, -1, 20, 1},
    {.name = "alibi", 2, {30, 1}, {60, 61}, 4, 2, 64, 64, 16, 1, 0, 1, -1, -1,
     0, 0, 1},
    {.name = "ranges", 2, {60, 1}, {90, 70}, 2, 1, 64, 64, 16, 1, 0, 1, 20, -1,
     0, 0, 0, 1},
    {.name = "per request", 3, {20, 1, 20}, {40, 33, 20}, 2, 1, 64, 64, 16, 1,
     0, 1, -1, -1, 0, 0, 0, 0, 1},
    {.name = "cross", 2, {40, 3}, {17, 50}, 2, 1, 64, 64, 16, 1, 0, 0, -1, -1,
     0, 0, 0, 0, 0, 1},
    {.name = "192/128", 2, {33, 1}, {66, 80}, 2, 2, 192, 128, 16, 1, 0, 1, -1,
     -1, 0},
    {.name = "192", 2, {33, 1}, {66, 80}, 2, 2, 192, 192, 16, 0, 0, 1, -1, -1,
     0},
    {.name = "256", 2, {33, 1}, {66, 180}, 2, 1, 256, 256, 16, 1, 0, 1, -1, -1,
     0},
    {.name = "f16 96", 2, {33, 1}, {66, 80}, 2, 2, 96, 96, 16, 0, 0, 1, -1, -1,
     0},
    {.name = "f16 192/128", 2, {33, 1}, {66, 80}, 2, 2, 192, 128, 16, 0, 0, 1,
     -1, -1, 0},
    {.name = "bf16 192", 2, {33, 1}, {66, 80}, 2, 2, 192, 192, 16, 1, 0, 1, -1,
     -1, 0},
    {.name = "f16 256", 2, {33, 1}, {66, 180}, 2, 1, 256, 256, 16, 0, 0, 1, -1,
     -1, 0},
    {.name = "e4m3", 2, {33, 1}, {66, 180}, 4, 2, 128, 128, 16, 1, 1, 1, -1,
     -1, 0},
    {.name = "e5m2", 2, {33, 1}, {66, 180}, 4, 2, 64, 64, 16, 0, 2, 1, -1, -1,
     0},
    {.name = "e4m3 pages of 128", 2, {40, 33}, {300, 161}, 8, 2, 128, 128, 128,
     1, 1, 1, -1, -1, 0},
    {.name = "e5m2 group of 3", 2, {90, 20}, {90, 300}, 6, 2, 128, 128, 8, 1, 2,
     1, -1, -1, 0},
    {.name = "e4m3 split", 1, {40}, {700}, 2, 1, 64, 64, 64, 1, 1, 1, -1, -1,
     0},
    {.name = "e4m3 96 window", 1, {80}, {150}, 4, 2, 96, 80, 16, 0, 1, 1, 30,
     -1, 20},
    {.name = "e4m3 192/128", 2, {33, 1}, {266, 80}, 4, 2, 192, 128, 64, 1, 1, 1,
     -1, -1, 0, 1},
    {.name = "e5m2 256", 2, {33, 1}, {166, 180}, 2, 1, 256, 256, 16, 1, 2, 1,
     -1, -1, 0},
    {.name = "e4m3 alibi full", 1, {70}, {330}, 4, 2, 64, 64, 256, 1, 1, 0, -1,
     -1, 0, 0, 1},
    {.name = "e4m3 72", 2, {33, 1}, {66, 80}, 4, 2, 72, 72, 16, 1, 1, 1, -1, -1,
     0},
    {.name = "unaligned", 2, {33, 1}, {66, 80}, 2, 1, 72, 40, 5, 1, 0, 1, -1,
     -1, 0, 0, 0, 0, 0, 0, 1},
    {.name = "unaligned e4m3", 2, {33, 1}, {66, 80}, 2, 1, 64, 64, 5, 0, 1, 1,
     -1, -1, 0, 0, 0, 0, 0, 0, 1},
    {.name = "many heads", 1, {2}, {50}, 32, 1, 64, 64, 16, 1, 0, 1, -1, -1, 0},
    {.name = "group of 3", 2, {90, 20}, {90, 100}, 6, 2, 128, 128, 16, 1, 0, 1,
     -1, -1, 0},
    {.name = "group of 5 window", 1, {80}, {150}, 10, 2, 64, 64, 16, 0, 0, 1,
     30, -1, 0},
    {.name = "group of 7 split", 1, {20}, {700}, 7, 1, 128, 128, 64, 1, 0, 1,
     -1, -1, 0},
    {.name = "group of 3 unaligned", 2, {90, 20}, {90, 100}, 6, 2, 128, 128, 16,
     1, 0, 1, -1, -1, 0, 0, 0, 0, 0, 0, 1},
};
/* clang-format on */

static void
compare(problem *p)
{
    const spec *c = p->c;
    array_download(&p->out);
    array_download(&p->lse);
    double off = 0, norm = 0, ref[PROBLEM_MAX_DIM];
    for (int r = 0; r < c->reqs; r++)
        for (int t = 0; t < c->q[r]; t++)
            for (int h = 0; h < c->heads; h++) {
                const double lse = problem_reference(p, r, t, h, ref);
                const double got = (double)((float *)p->lse.host)[array_at(
                    &p->lse, p->start[r] + t, h, 0, 0)];
                ck_assert_msg(
                    isnan(lse)   ? isnan(got)
                    : isinf(lse) ? got == lse
                                 : fabs(got - lse) < 2e-5,
                    "%s: lse of request %d token %d head %d: %g, not %g",
                    c->name, r, t, h, got, lse);
                for (int d = 0; d < c->dv; d++) {
                    const double x =
                        half_value(((uint16_t *)p->out.host)[array_at(
                                       &p->out, p->start[r] + t, h, d, 0)],
                                   c->bf16);
                    if (!isfinite(ref[d])) {
                        ck_assert_msg(isnan(ref[d]) ? isnan(x) : x == ref[d],
                                      "%s: request %d token %d head %d [%d]: "
                                      "%g, not %g",
                                      c->name, r, t, h, d, x, ref[d]);
                        continue;
                    }
                    ck_assert_msg(
                        fabs(x - ref[d]) < 0.03,
                        "%s: request %d token %d head %d [%d]: %g, not %g",
                        c->name, r, t, h, d, x, ref[d]);
                    off += (x - ref[d]) * (x - ref[d]);
                    norm += ref[d] * ref[d];
                }
            }
    const double relative = sqrt(off / norm), most = c->bf16 ? 4e-3 : 5e-4;
    ck_assert_msg(relative < most, "%s: relative error %g", c->name, relative);
}

static void
build(const gpu_layer *n, problem *p)
{
    GPU_OK(problem_build(p, n));
}

static void
forward(const gpu_layer *n, problem *p)
{
    GPU_OK(problem_forward(p, n));
}

static void
update_cache(const gpu_layer *n, problem *p)
{
    const attn_flash_update args = {{sizeof args, 0},
                                    gpu.stream,
                                    &p->new_k.t,
                                    &p->new_v.t,
                                    &p->k.t,
                                    &p->v.t,
                                    p->c->kv ? &p->k_scale.t : NULL,
                                    p->c->kv ? &p->v_scale.t : NULL};
    GPU_OK(gpu.op->update_cache(n->builder, &args.head, &gpu.err));
}

START_TEST(numerics)
{
    problem p;
    gpu_layer n;
    problem_make(&p, &specs[_i]);
    problem_layer_make(&n, &p);
    problem_poison_outputs(&p);
    build(&n, &p);
    forward(&n, &p);
    forward(&n, &p); /* a second layer of the same step */
    compare(&p);
    gpu_layer_drop(&n);
    problem_drop(&p);
}
END_TEST

/* Element d of key j in each head of a cache becomes NaN, or infinite. */
static void
spoil(problem *p, array *a, int r, int j, int d, int infinite)
{
    const spec *c = p->c;
    const int32_t block =
        ((int32_t *)p->table.host)[r * p->cols + j / c->block];
    for (int h = 0; h < c->kv_heads; h++) {
        const int64_t i = array_at(a, block, j % c->block, h, d);
        if (c->kv)
            ((uint8_t *)a->host)[i] = infinite && c->kv == 2 ? 0x7C : 0x7F;
        else
            ((uint16_t *)a->host)[i] = !infinite ? 0x7FFF
                                       : c->bf16 ? 0x7F80
                                                 : 0x7C00;
    }
}

/* What is not finite in the first and the last value, and in some requests'
 * last key, comes to those rows only that see it. */
START_TEST(hidden)
{
    problem p;
    gpu_layer n;
    problem_make(&p, &specs[_i]);
    problem_layer_make(&n, &p);
    for (int r = 0; r < p.c->reqs; r++) {
        spoil(&p, &p.v, r, p.c->s[r] - 1, 1, 0);
        spoil(&p, &p.v, r, p.c->s[r] - 1, 2, 1);
        spoil(&p, &p.v, r, 0, p.c->dv - 1, 0);
        if (r % 2)
            spoil(&p, &p.k, r, p.c->s[r] - 1, 3, 0);
    }
    array_upload(&p.k);
    array_upload(&p.v);
    problem_poison_outputs(&p);
    build(&n, &p);
    forward(&n, &p);
    compare(&p);
    gpu_layer_drop(&n);
    problem_drop(&p);
}
END_TEST

#define TWO_REQUESTS(text)                                                 \
    .name = text, .reqs = 2, .heads = 4, .kv_heads = 2, .d = 64, .dv = 64, \
    .block = 16, .bf16 = 1, .causal = 1, .left = -1, .right = -1

/* A graph of forward, which the caller destroys. */
static uint64_t
record(const gpu_layer *n, problem *p)
{
    uint64_t recorded = 0;
    GPU_OK(gpu.service->graph_begin(&gpu.stream, &gpu.err));
    forward(n, p);
    GPU_OK(gpu.service->graph_end(&gpu.stream, &recorded, &gpu.err));
    return recorded;
}

static void
replay(uint64_t recorded, problem *p)
{
    problem_poison_outputs(p);
    GPU_OK(gpu.service->graph_launch(recorded, &gpu.stream, &gpu.err));
    compare(p);
}

/* A captured forward follows a later build: longer, other split, other pages.
 */
START_TEST(graph)
{
    static const spec first = {TWO_REQUESTS("graph 1"), .q = {1, 20},
                               .s = {30, 40}};
    static const spec second = {TWO_REQUESTS("graph 2"), .q = {20, 1},
                                .s = {40, 400}};
    problem a, b;
    gpu_layer n;
    problem_make(&a, &first);
    problem_make(&b, &second);
    ck_assert_int_eq(a.tokens, b.tokens);
    problem_layer_make(&n, &a);
    /* The second problem's data at the first one's addresses: one set of
     * buffers for both. */
    build(&n, &b);
    const uint64_t recorded = record(&n, &b);
    replay(recorded, &b);
    /* The same addresses, shorter sequences: the last 20 tokens of request 0
     * see less. */
    spec shorter = second;
    shorter.q[0] = 1;
    shorter.q[1] = 20;
    shorter.s[0] = 33;
    shorter.s[1] = 390;
    b.c = &shorter;
    b.start[1] = 1;
    ((int32_t *)b.qsl.host)[1] = 1;
    ((int32_t *)b.lens.host)[0] = 33;
    ((int32_t *)b.lens.host)[1] = 390;
    array_upload(&b.qsl);
    array_upload(&b.lens);
    build(&n, &b);
    replay(recorded, &b);
    gpu.service->graph_destroy(recorded);
    gpu_layer_drop(&n);
    problem_drop(&a);
    problem_drop(&b);
}
END_TEST

/* Recorded on a step of few tokens and blocks, replayed on all that the tensors
 * hold. */
START_TEST(graph_grows)
{
    static const spec full = {TWO_REQUESTS("graph grows"), .q = {90, 30},
                              .s = {90, 200}};
    problem p;
    gpu_layer n;
    problem_make(&p, &full);
    problem_layer_make(&n, &p);
    problem few = p;
    int32_t *start = p.qsl.host;
    few.tokens = start[1] = start[2] = 1;
    few.blocks = 1;
    array_upload(&p.qsl);
    build(&n, &few);
    const uint64_t recorded = record(&n, &p);
    start[1] = p.start[1];
    start[2] = p.tokens;
    array_upload(&p.qsl);
    build(&n, &p);
    replay(recorded, &p);
    gpu.service->graph_destroy(recorded);
    gpu_layer_drop(&n);
    problem_drop(&p);
}
END_TEST

static void
check_element(const spec *c, const void *cache, int64_t i, uint16_t raw,
              double scale)
{
    if (!c->kv) {
        ck_assert_int_eq(((const uint16_t *)cache)[i], raw);
        return;
    }
    const double want = half_value(raw, c->bf16) / scale;
    const double got = fp8_value(((const uint8_t *)cache)[i], c->kv == 2);
    ck_assert_msg(fabs(got - want) <= fabs(want) / (c->kv == 1 ? 15 : 7) + 1e-2,
                  "%s: %g, not %g", c->name, got, want);
}

/* Each token but the first, which has no slot, is there, and nothing else of
 * the cache has changed. */
static void
check_stored(const problem *p, array *cache, const array *fresh,
             const array *scale)
{
    const spec *c = p->c;
    const int64_t unit = c->kv ? 1 : 2, *slots = p->slots.host;
    uint8_t *others = malloc(cache->bytes);
    memcpy(others, cache->host, cache->bytes);
    array_download(cache);
    const uint8_t *now = cache->host;
    for (int t = 1; t < p->tokens; t++)
        for (int h = 0; h < c->kv_heads; h++)
            for (int d = 0; d < cache->shape[3]; d++) {
                const int64_t i = array_at(cache, slots[t] / c->block,
                                           slots[t] % c->block, h, d);
                const uint16_t raw =
                    ((uint16_t *)fresh->host)[array_at(fresh, t, h, d, 0)];
                check_element(c, now, i, raw,
                              (double)((float *)scale->host)[h]);
                memcpy(others + i * unit, now + i * unit, (size_t)unit);
            }
    ck_assert_msg(!memcmp(others, now, cache->bytes),
                  "%s: slots of nobody are written", c->name);
    free(others);
}

/* New tokens through slot_mapping; slot -1 writes nothing. */
START_TEST(update)
{
    spec c = specs[_i];
    problem p;
    gpu_layer n;
    problem_make(&p, &c);
    problem_layer_make(&n, &p);
    for (size_t i = 0; i < p.new_k.bytes / 2; i++)
        ((uint16_t *)p.new_k.host)[i] = half_of(1.5 * draw(), c.bf16);
    for (size_t i = 0; i < p.new_v.bytes / 2; i++)
        ((uint16_t *)p.new_v.host)[i] = half_of(1.5 * draw(), c.bf16);
    array_upload(&p.new_k);
    array_upload(&p.new_v);
    ((int64_t *)p.slots.host)[0] = -1;
    array_upload(&p.slots);
    build(&n, &p);
    update_cache(&n, &p);
    check_stored(&p, &p.k, &p.new_k, &p.k_scale);
    check_stored(&p, &p.v, &p.new_v, &p.v_scale);
    gpu_layer_drop(&n);
    problem_drop(&p);
}
END_TEST

/* A step that is refused ends the one before it. */
START_TEST(refused_step)
{
    problem p;
    gpu_layer n;
    problem_make(&p, &specs[0]);
    problem_layer_make(&n, &p);
    build(&n, &p);
    forward(&n, &p);
    spec more = specs[0];
    more.reqs = 9; /* the limit is 8 */
    p.c = &more;
    ck_assert_int_eq(problem_build(&p, &n), ATTN_E_ARG);
    p.c = &specs[0];
    ck_assert_int_eq(problem_forward(&p, &n), ATTN_E_ARG);
    build(&n, &p);
    forward(&n, &p);
    gpu_layer_drop(&n);
    problem_drop(&p);
}
END_TEST

START_TEST(refused_services)
{
    const attn_device none = {gpu.device.type, 99};
    uint64_t free_bytes = 1, total = 1, event = 1;
    array a;
    const int64_t one[1] = {1};
    ck_assert_int_ne(
        gpu.service->memory_info(none, &free_bytes, &total, &gpu.err), ATTN_OK);
    ck_assert_int_ne(gpu.service->event_create(none, &event, &gpu.err),
                     ATTN_OK);
    ck_assert(free_bytes == 1 && total == 1 && event == 1);
    array_make(&a, (attn_dtype)ATTN_F32, 1, one, 0);
    ck_assert_int_eq(gpu.service->copy(&gpu.stream, ATTN_COPY_ON_DEVICE + 1,
                                       a.t.data, a.t.data, 4, &gpu.err),
                     ATTN_E_ARG);
    array_drop(&a);
}
END_TEST

/* All calls of a step, captured: what would allocate or wait is refused there.
 * The first test, so that nothing was loaded by another's step. */
START_TEST(whole_step)
{
    static const spec one = {TWO_REQUESTS("whole step"), .q = {1, 40},
                             .s = {90, 70}};
    problem p;
    gpu_layer n;
    problem_make(&p, &one);
    problem_layer_make(&n, &p);
    for (int t = 0; t < p.tokens; t++)
        ((int64_t *)p.slots.host)[t] = -1;
    array_upload(&p.slots);
    problem_poison_outputs(&p);
    GPU_OK(gpu.service->graph_begin(&gpu.stream, &gpu.err));
    build(&n, &p);
    update_cache(&n, &p);
    forward(&n, &p);
    uint64_t recorded = 0;
    GPU_OK(gpu.service->graph_end(&gpu.stream, &recorded, &gpu.err));
    GPU_OK(gpu.service->graph_launch(recorded, &gpu.stream, &gpu.err));
    compare(&p);
    gpu.service->graph_destroy(recorded);
    gpu_layer_drop(&n);
    problem_drop(&p);
}
END_TEST

static bool
wanted(char *const *names, const char *name)
{
    bool found = !*names;
    for (; *names; names++)
        found |= !strcmp(*names, name);
    return found;
}

static TCase *
cases_of(char *const *names)
{
    TCase *c = tcase_create("flash");
    tcase_set_timeout(c, 300);
    if (wanted(names, "graph"))
        tcase_add_test(c, whole_step);
    const int count = (int)(sizeof specs / sizeof specs[0]);
    for (int i = 0; i < count; i++)
        if (wanted(names, specs[i].name))
            tcase_add_loop_test(c, numerics, i, i + 1);
    for (int i = 0; i < count; i++)
        if (wanted(names, "hidden"))
            tcase_add_loop_test(c, hidden, i, i + 1);
    for (int i = 0; i < count; i++)
        if (wanted(names, "update") &&
            (i == 0 || specs[i].kv || specs[i].d == 256))
            tcase_add_loop_test(c, update, i, i + 1);
    if (wanted(names, "refused")) {
        tcase_add_test(c, refused_step);
        tcase_add_test(c, refused_services);
    }
    if (wanted(names, "graph")) {
        tcase_add_test(c, graph);
        tcase_add_test(c, graph_grows);
    }
    return c;
}

static int
run_on(const char *plugin, char *const *names)
{
    const int opened = gpu_open(plugin);
    if (opened != EXIT_SUCCESS)
        return opened;
    const int status =
        unit_run_as(CK_NOFORK, "flash on a device", cases_of(names));
    gpu_close();
    return status;
}

int
main(int argc, char **argv)
{
    const char *named = getenv("FLASH_TEST_PLUGIN");
    char *const *names = argv + (argc > 0);
    if (named)
        return run_on(named, names);
    const int status = run_on("attn_flash_cuda_emu.so", names);
    return run_on("attn_rocm_flash_emu.so", names) || status ? EXIT_FAILURE
                                                             : EXIT_SUCCESS;
}
