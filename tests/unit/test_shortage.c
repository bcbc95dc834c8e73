/* SPDX-License-Identifier: Apache-2.0 */
/* libattn-verify with each of its allocations failing in turn: making a call,
 * storing and reading it, its reference, a guarded run, the comparison. */
#include <attn/verify.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc_fail.h"
#include "unit_config.h"

static attn_error err;
static attn_config *config;
static attn_registry *registry;

/* Small layers with what their families may have. */
static const struct layer_row {
    const char *family;
    uint64_t features;
    const char *fields[5][2];
} layers[] = {{"flash",
               ATTN_F_SINKS | ATTN_F_ALIBI | ATTN_F_LSE | ATTN_F_PREFIX_RANGES |
                   ATTN_F_PER_REQUEST_CAUSAL | ATTN_F_KV_SCALES,
               {{"num_heads", "2"},
                {"head_dim", "8"},
                {"block_size", "4"},
                {"q_dtype", "bf16"},
                {"kv_dtype", "e4m3"}}},
              {"mla",
               ATTN_F_LSE,
               {{"num_heads", "2"},
                {"qk_nope_head_dim", "4"},
                {"qk_rope_head_dim", "4"},
                {"v_head_dim", "4"},
                {"kv_lora_rank", "8"}}},
              {"mamba2",
               ATTN_F_GATE | ATTN_F_CHECKPOINTS,
               {{"num_heads", "2"},
                {"head_dim", "4"},
                {"state_dim", "4"},
                {"chunk_size", "4"},
                {"conv_width", "3"}}},
              {"mamba1",
               ATTN_F_GATE | ATTN_F_DRAFTS,
               {{"num_channels", "4"},
                {"state_dim", "2"},
                {"conv_width", "3"},
                {"activation", "none"},
                {"dt_softplus", "no"}}},
              {"flash", /* what the hello plugin runs */
               ATTN_F_LSE,
               {{"num_heads", "2"},
                {"head_dim", "8"},
                {"block_size", "4"},
                {"q_dtype", "f32"},
                {"causal", "yes"}}}};
#define NUM_LAYERS (sizeof layers / sizeof *layers)

static attn_any_layer
make_layer(const struct layer_row *row)
{
    attn_any_layer l;
    attn_layer_init(attn_family_find(row->family), &l);
    for (int i = 0; i < 5; i++)
        ck_assert_good(
            attn_layer_set(&l, row->fields[i][0], row->fields[i][1], &err),
            err);
    l.head.features |= row->features;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    return l;
}

static attn_status
make_case(const attn_any_layer *l, uint32_t flags, attn_call **call)
{
    static const attn_spec_request requests[] = {
        {.query_len = 1, .seq_len = 6}, {.query_len = 5, .seq_len = 5}};
    const attn_case_params params = {.struct_size = sizeof params,
                                     .num_reqs = 2,
                                     .layer = &l->head,
                                     .requests = requests,
                                     .seed = 3,
                                     .flags = flags};
    return attn_case_make(&params, call, &err);
}

/* The way of a call that is made up, kept in a file and answered. */
static attn_status
answer(const attn_any_layer *l, const char *path)
{
    attn_call *made = NULL, *loaded = NULL;
    attn_reference *reference = NULL;
    attn_status s = make_case(l, ATTN_CASE_NEW_TOKENS, &made);
    if (s == ATTN_OK)
        s = attn_call_store(made, path, &err);
    if (s == ATTN_OK)
        s = attn_call_load(path, &loaded, &err);
    if (s == ATTN_OK)
        s = attn_reference_create(loaded, 64, 0, &reference, &err);
    attn_reference_free(reference);
    attn_call_free(loaded);
    attn_call_free(made);
    return s;
}

static attn_status
run(const attn_any_layer *l)
{
    const attn_entry *entry = attn_registry_find(registry, "hello");
    attn_call *made = NULL, *result = NULL;
    attn_reference *reference = NULL;
    uint32_t pass = 0;
    attn_status s = make_case(l, ATTN_CASE_NEW_TOKENS, &made);
    if (s == ATTN_OK)
        s = attn_reference_create(made, 0, 0, &reference, &err);
    if (s == ATTN_OK)
        s = attn_call_run(registry, entry, made, NULL, &result, &err);
    if (s == ATTN_OK)
        s = attn_compare(reference, result, NULL, &pass, &err);
    if (s == ATTN_OK && !pass)
        s = ATTN_E_INTERNAL;
    attn_reference_free(reference);
    attn_call_free(result);
    attn_call_free(made);
    return s;
}

static attn_status
bench(const attn_any_layer *l)
{
    static const attn_spec_request requests[] = {
        {.query_len = 1, .seq_len = 6}};
    const attn_bench_params params = {.struct_size = sizeof params,
                                      .num_reqs = 1,
                                      .layer = &l->head,
                                      .requests = requests,
                                      .cache = ATTN_CACHE_WARM,
                                      .seed = 3};
    attn_bench *b = NULL;
    attn_status s = attn_bench_create(
        registry, attn_registry_find(registry, "hello"), &params, &b, &err);
    attn_bench_destroy(b);
    return s;
}

/* Each allocation of `what` fails once; the message says no other thing. Run
 * once before, for what a process allocates only once. */
#define EACH_ALLOCATION(what, least)                                          \
    do {                                                                      \
        attn_status whole_ = what;                                            \
        ck_assert_msg(whole_ == ATTN_OK, "%s", err.message);                  \
        alloc_fail_start(ALLOC_FAIL_NEVER);                                   \
        whole_ = what;                                                        \
        const size_t n_ = alloc_fail_stop();                                  \
        ck_assert_msg(whole_ == ATTN_OK, "%s", err.message);                  \
        ck_assert_uint_gt(n_, least);                                         \
        for (size_t i_ = 0; i_ < n_; i_++) {                                  \
            err = ATTN_ERROR_INIT;                                            \
            alloc_fail_start(i_);                                             \
            attn_status s_ = what;                                            \
            alloc_fail_stop();                                                \
            ck_assert_msg(s_ == ATTN_E_NOMEM && err.status == s_,             \
                          "allocation %zu of %zu: status %d, %s", i_, n_, s_, \
                          err.message);                                       \
        }                                                                     \
    } while (0)

START_TEST(answering)
{
    char path[64];
    attn_any_layer l = make_layer(&layers[_i]);
    snprintf(path, sizeof path, "attn-shortage-%d-%ld.tmp", _i, (long)getpid());
    EACH_ALLOCATION(answer(&l, path), 30);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(running)
{
    attn_any_layer l = make_layer(&layers[NUM_LAYERS - 1]);
    registry = unit_registry_of("attn_hello.so", &config);
    EACH_ALLOCATION(run(&l), 30);
    EACH_ALLOCATION(bench(&l), 10);
    attn_registry_close(registry);
    attn_config_free(config);
}
END_TEST

/* A caller that was built before the last member came. */
START_TEST(a_roof_fits_its_caller)
{
    attn_roof roof, before;
    memset(&roof, 0x5a, sizeof roof);
    before = roof;
    roof.struct_size = offsetof(attn_roof, f64_flops);
    alloc_fail_start(0);
    attn_status s = attn_roof_measure(1, 1e-4, &roof, &err);
    alloc_fail_stop();
    ck_assert_int_eq(s, ATTN_E_NOMEM);
    ck_assert_good(attn_roof_measure(1, 1e-4, &roof, &err), err);
    ck_assert_mem_eq(&roof.f64_flops, &before.f64_flops, sizeof(double));
    ck_assert_uint_eq(roof.struct_size, offsetof(attn_roof, f64_flops));
    ck_assert(roof.f32_flops > 0);
    roof.struct_size = sizeof roof;
    ck_assert_good(attn_roof_measure(1, 1e-4, &roof, &err), err);
    ck_assert(roof.f64_flops > 0);
    roof.struct_size = 8;
    ck_assert_error(attn_roof_measure(1, 1e-4, &roof, &err), err, ATTN_E_ARG,
                    "struct_size 8: at least 48");
}
END_TEST

int
main(void)
{
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, answering, 0, NUM_LAYERS);
    tcase_add_test(all, running);
    tcase_add_test(all, a_roof_fits_its_caller);
    return unit_run_case("shortage", all);
}
