/* SPDX-License-Identifier: Apache-2.0 */
/* The rate of reads beside the forwards that a bench times. */
#include <attn/verify.h>

#include "unit_config.h"

/* Copies of a cache of 8 MiB are cold, up to a last level of 256 MiB; one of 8
 * KiB is warm everywhere. */
static const attn_spec_request decode[] = {
    [ATTN_CACHE_COLD] = {.query_len = 1, .seq_len = 64 << 10},
    [ATTN_CACHE_WARM] = {.query_len = 1, .seq_len = 64}};

static attn_error err;
static attn_config *config;
static attn_registry *registry;

static void
open_hello(void)
{
    registry = unit_registry_of("attn_hello.so", &config);
}

static void
close_hello(void)
{
    attn_registry_close(registry);
    attn_config_free(config);
}

static attn_bench_result
time_decode(uint32_t cache, uint32_t num_readers)
{
    const attn_dtype f32 = ATTN_F32;
    attn_any_layer layer;
    attn_bench *bench = NULL;
    attn_bench_result r = {.struct_size = sizeof r};
    attn_layer_init(attn_family_find("flash"), &layer);
    layer.flash.num_heads = 2;
    layer.flash.head_dim = 8;
    layer.flash.q_dtype = f32;
    ck_assert_good(attn_layer_finish(&layer, &err), err);
    const attn_bench_params params = {.struct_size = sizeof params,
                                      .num_reqs = 1,
                                      .layer = &layer.head,
                                      .requests = &decode[cache],
                                      .num_threads = 1,
                                      .cache = cache,
                                      .num_readers = num_readers};
    ck_assert_good(attn_bench_create(registry,
                                     attn_registry_find(registry, "hello"),
                                     &params, &bench, &err),
                   err);
    ck_assert_good(attn_bench_measure(bench, 0.01, &r, &err), err);
    attn_bench_destroy(bench);
    ck_assert_uint_eq(r.cache, cache);
    ck_assert_uint_ge(r.forward.count, 5);
    return r;
}

START_TEST(reads_go_on_between_the_forwards)
{
    const attn_bench_result r = time_decode(ATTN_CACHE_COLD, 2);
    ck_assert(r.read_bytes > 0);
    /* A product of medians lies between products of extremes. */
    const double us = r.stream_bytes / r.read_bytes * 1e6;
    ck_assert_msg(us > r.forward.min / 100 && us < r.forward.p99 * 100,
                  "%g us of reads, a forward took %g to %g", us, r.forward.min,
                  r.forward.p99);
}
END_TEST

START_TEST(nobody_reads_unasked)
{
    const attn_bench_result r = time_decode(ATTN_CACHE_COLD, 0);
    ck_assert(r.read_bytes == 0 && r.stream_bytes == 0);
}
END_TEST

/* Reads would make the caches cold. */
START_TEST(warm_caches_stay_warm)
{
    const attn_bench_result r = time_decode(ATTN_CACHE_WARM, 1);
    ck_assert(r.read_bytes == 0 && r.stream_bytes == 0);
}
END_TEST

/* Those of an application with fewer fields than the first release had. */
START_TEST(short_structs_are_refused)
{
    attn_bench *bench = NULL;
    const attn_bench_params params = {.struct_size = 8};
    ck_assert_error(attn_bench_create(registry,
                                      attn_registry_find(registry, "hello"),
                                      &params, &bench, &err),
                    err, ATTN_E_ARG, "struct_size 8: at least");
    ck_assert_ptr_null(bench);
    attn_bench_result r = {.struct_size = 16};
    ck_assert_error(attn_bench_measure(NULL, 0.01, &r, &err), err, ATTN_E_ARG,
                    "struct_size 16: at least");
}
END_TEST

int
main(void)
{
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, open_hello, close_hello);
    tcase_add_test(all, reads_go_on_between_the_forwards);
    tcase_add_test(all, nobody_reads_unasked);
    tcase_add_test(all, warm_caches_stay_warm);
    tcase_add_test(all, short_structs_are_refused);
    return unit_run_case("bench", all);
}
