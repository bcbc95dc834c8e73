/* SPDX-License-Identifier: Apache-2.0 */
#include "state_harness.h"

#include <attn/base.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const levels[] = {"generic", "avx2", "avx512", "avx512bf16"};
#define NUM_LEVELS 4

static const attn_dtype F32 = ATTN_F32, F16 = ATTN_F16, BF16 = ATTN_BF16;
static const attn_dtype E4M3 = ATTN_E4M3, E5M2 = ATTN_E5M2;

static attn_mla_layer
make_layer(uint32_t heads, uint32_t dn, uint32_t dr, uint32_t dv, uint32_t c,
           uint32_t block, attn_dtype q, attn_dtype kv)
{
    attn_mla_layer l = {.head = {.struct_size = sizeof l,
                                 .family = ATTN_FAMILY_MLA,
                                 .features = ATTN_F_CAUSAL | ATTN_F_LSE},
                        .num_heads = heads,
                        .qk_nope_head_dim = dn,
                        .qk_rope_head_dim = dr,
                        .v_head_dim = dv,
                        .kv_lora_rank = c,
                        .block_size = block,
                        .causal = 1,
                        .q_dtype = q,
                        .kv_dtype = kv,
                        .out_dtype = q,
                        .weight_dtype = q};
    l.scale = 1.0f / __builtin_sqrtf((float)(dn + dr));
    if (kv.bits == 8)
        l.head.features |= ATTN_F_KV_SCALES;
    return l;
}

static attn_call *
make_call(const attn_mla_layer *l, const char *spec, uint64_t seed,
          uint32_t flags)
{
    attn_spec_request req[64];
    uint32_t n = 0;
    attn_call *call = NULL;
    attn_error err = {.struct_size = sizeof err};
    attn_status s = attn_batch_spec_parse(spec, req, 64, &n, &err);
    const attn_case_params p = {.struct_size = sizeof p,
                                .num_reqs = n,
                                .layer = &l->head,
                                .requests = req,
                                .seed = seed,
                                .flags = flags};
    if (!s)
        s = attn_case_make(&p, &call, &err);
    ck_assert_msg(!s, "%s: %s", err.where, err.message);
    return call;
}

static void
expect_right(harness *h, const attn_mla_layer *l, const char *spec,
             uint64_t seed, uint32_t flags, const char *what)
{
    attn_call *call = make_call(l, spec, seed, flags);
    if (getenv("HARNESS_VERBOSE"))
        printf("%s %s\n", what, spec);
    const char *bad = harness_check(h, call, 64);
    ck_assert_msg(!bad, "%s, %s, seed %llu: %s", what, spec,
                  (unsigned long long)seed, bad);
    attn_call_free(call);
}

static const char *const specs[] = {"3q1s40_2q5s60", "q70", "q1s700_q3s1100_q1",
                                    "2q20s200_q40s90"};

/* Every level, both ways, every pair of types. */
START_TEST(test_types)
{
    static const attn_dtype kv[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_E4M3,
                                    ATTN_E5M2};
    const attn_dtype q[] = {F32, F16, BF16};
    const char *way[] = {"1", "1000000", "0"};
    for (int w = 0; w < 3; w++) {
        harness h;
        if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i],
                          "expand_from", way[w])) {
            harness_close(&h);
            return;
        }
        for (int i = 0; i < (w < 2 ? 3 : 1); i++)
            for (int k = 0; k < 5; k++) {
                char what[64];
                const attn_mla_layer l =
                    make_layer(5, 64, 32, 48, 128, 16, q[i], kv[k]);
                snprintf(what, sizeof what, "%s expand_from %s q %s kv %s",
                         levels[_i], way[w], attn_dtype_str(q[i]),
                         attn_dtype_str(kv[k]));
                for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
                    expect_right(&h, &l, specs[s], 7 + s,
                                 ATTN_CASE_PADDING |
                                     (s ? 0 : ATTN_CASE_NEW_TOKENS),
                                 what);
            }
        harness_close(&h);
    }
}
END_TEST

/* Short requests of f32 layers: in f32 arithmetic one of a few dozen such
 * problems, with few rows each, misses the rule by luck. */
START_TEST(test_short_f32)
{
    static const attn_dtype kv[] = {ATTN_F32, ATTN_E4M3, ATTN_E5M2};
    harness h;
    if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i], NULL,
                      NULL)) {
        harness_close(&h);
        return;
    }
    for (uint64_t seed = 1; seed <= 120; seed++) {
        const attn_mla_layer l = make_layer(1 + (uint32_t)seed % 6, 32, 16, 16,
                                            64, 16, F32, kv[seed % 3]);
        expect_right(&h, &l, seed & 1 ? "q2s9_q3s24" : "q1s30_q1s384", seed, 0,
                     levels[_i]);
    }
    harness_close(&h);
}
END_TEST

/* Rows of the cache that are not finite, of tokens that other queries of the
 * step do not see: what the others get must not change. */
static void
poison_of(harness *h, attn_dtype type, const char *spec, float poison,
          const char *what)
{
    const attn_mla_layer l = make_layer(5, 64, 32, 48, 128, 16, type, type);
    attn_call *call = make_call(&l, spec, 3, 0);
    const attn_call_tensor *cache = attn_call_find(call, "kv_cache");
    const attn_call_tensor *table = attn_call_find(call, "block_table");
    const attn_call_tensor *lens = attn_call_find(call, "seq_lens");
    const size_t row = 20u * type.bits;
    for (int32_t back = 1; back <= 4; back += 3) {
        const int32_t key = *(const int32_t *)lens->data - back;
        const int32_t block = ((const int32_t *)table->data)[key / 16];
        char *at = (char *)cache->data + (size_t)(block * 16 + key % 16) * row;
        if (type.bits == 32)
            memcpy(at + 4 * 7, &poison, 4);
        else
            memcpy(at + 2 * 7, (char *)&poison + 2, 2);
    }
    const char *bad = harness_check(h, call, 0);
    ck_assert_msg(!bad, "%s %s: %s", what, spec, bad);
    attn_call_free(call);
}

START_TEST(test_poison)
{
    static const char *const way[] = {"0", "1", "1000000"};
    const float poison[] = {__builtin_nanf(""), __builtin_inff()};
    for (int w = 0; w < 6; w++) {
        harness h;
        char what[64];
        if (w % 2 && w < 5) /* multiplied out, infinity may become NaN */
            continue;
        snprintf(what, sizeof what, "%s expand_from %s %g", levels[_i],
                 way[w / 2], (double)poison[w % 2]);
        if (harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i],
                         "expand_from", way[w / 2])) {
            poison_of(&h, F32, "q40s90", poison[w % 2], what);
            poison_of(&h, F32, "q9s600", poison[w % 2], what);
            poison_of(&h, F32, "q3s601", poison[w % 2], what);
            if (w < 5) { /* else lse becomes NaN with bf16 queries */
                poison_of(&h, BF16, "q40s90", poison[w % 2], what);
                poison_of(&h, BF16, "q9s601", poison[w % 2], what);
                poison_of(&h, BF16, "q3s601", poison[w % 2], what);
            }
        }
        harness_close(&h);
    }
}
END_TEST

/* Head counts, dimensions and block sizes. */
START_TEST(test_shapes)
{
    static const uint32_t shape[][6] = {
        /* heads, dn, dr, dv, c, block */
        {16, 128, 64, 128, 512, 64}, {128, 128, 64, 128, 512, 16},
        {1, 16, 16, 16, 16, 1},      {3, 48, 16, 80, 96, 7},
        {8, 64, 32, 64, 256, 128},   {20, 256, 128, 256, 1024, 32},
    };
    for (int w = 0; w < 3; w++) {
        const char *way[] = {"0", "1", "1000000"};
        harness h;
        if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i],
                          "expand_from", way[w])) {
            harness_close(&h);
            return;
        }
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
            const uint32_t *d = shape[i];
            char what[64];
            const attn_mla_layer l =
                make_layer(d[0], d[1], d[2], d[3], d[4], d[5], BF16, BF16);
            snprintf(what, sizeof what, "%s expand_from %s shape %zu",
                     levels[_i], way[w], i);
            expect_right(&h, &l, "q1s130_q17s33_q4s600", 11, 0, what);
        }
        harness_close(&h);
    }
}
END_TEST

/* Blocks an odd number of 16-bit elements apart; a key tile starts at the
 * last row of one. */
START_TEST(test_block_stride)
{
    for (int w = 0; w < 2; w++) {
        harness h;
        if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i],
                          "expand_from", w ? "1" : "1000000")) {
            harness_close(&h);
            return;
        }
        h.block_pad = 1;
        const attn_mla_layer l = make_layer(4, 64, 32, 64, 128, 9, BF16, BF16);
        expect_right(&h, &l, "q1s600_q20s700", 13, 0, "odd block stride");
        harness_close(&h);
    }
}
END_TEST

START_TEST(test_masks)
{
    harness h;
    if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i], NULL,
                      NULL)) {
        harness_close(&h);
        return;
    }
    attn_mla_layer l = make_layer(4, 64, 32, 64, 128, 16, BF16, BF16);
    l.causal = 0;
    l.head.features = ATTN_F_NONCAUSAL | ATTN_F_LSE;
    expect_right(&h, &l, "q40s90_q1s30_2q7s20", 3, 0, "not causal");
    l.causal = 1;
    l.head.features = ATTN_F_CAUSAL | ATTN_F_LSE | ATTN_F_PER_REQUEST_CAUSAL;
    expect_right(&h, &l, "q40s90_q1s30_2q7s20", 3, 0, "per request");
    l.head.features = ATTN_F_CAUSAL | ATTN_F_LSE;
    expect_right(&h, &l, "q200s200_q1s600", 5, ATTN_CASE_LARGE, "large scores");
    harness_close(&h);
}
END_TEST

/* Bit for bit the same for any thread count, and alone or in company. */
START_TEST(test_invariance)
{
    attn_call *first = NULL;
    const attn_mla_layer l = make_layer(16, 64, 32, 64, 128, 16, BF16, BF16);
    attn_call *call = make_call(&l, "q1s3k_q300s900_q4s20_q1s40", 5, 0);
    for (uint32_t threads = 1; threads <= 4; threads++) {
        harness h;
        if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", threads, levels[_i],
                          NULL, NULL)) {
            harness_close(&h);
            return;
        }
        attn_call *result = harness_run(&h, call);
        if (first) {
            const char *bad = harness_differ(first, result);
            ck_assert_msg(!bad, "%u threads: %s", threads, bad);
            attn_call_free(result);
        } else
            first = result;
        harness_close(&h);
    }
    attn_call_free(first);
    attn_call_free(call);
}
END_TEST

/* The recorded calls, each as it stands. */
START_TEST(test_recorded)
{
    static const char *const names[] = {"mla-000-bf16", "mla-001-f32",
                                        "mla-002-f16"};
    const char *shared = getenv("shared_dir");
    for (int w = 0; w < 2; w++)
        for (size_t i = 0; i < 3; i++) {
            char path[1024];
            attn_call *call = NULL;
            attn_error err = {.struct_size = sizeof err};
            harness h;
            snprintf(path, sizeof path, "%s/cases/%s.safetensors",
                     shared ? shared : "../shared", names[i]);
            const attn_status s = attn_call_load(path, &call, &err);
            if (s == ATTN_E_IO) {
                printf("skipped: %s\n", err.message);
                return;
            }
            ck_assert_msg(!s, "%s", err.message);
            if (harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i],
                             "expand_from", w ? "1" : "1000000")) {
                const char *bad = harness_check(&h, call, 0);
                ck_assert_msg(!bad, "%s: %s", names[i], bad);
            }
            harness_close(&h);
            attn_call_free(call);
        }
}
END_TEST

/* Each fp8 code comes back from the cache as it was put there. */
START_TEST(test_fp8_store)
{
    harness h;
    if (!harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 2, levels[_i], NULL,
                      NULL)) {
        harness_close(&h);
        return;
    }
    const attn_dtype kv[] = {E4M3, E5M2};
    for (int k = 0; k < 2; k++)
        for (uint64_t seed = 1; seed < 5; seed++) {
            const attn_mla_layer l =
                make_layer(2, 32, 16, 32, 64, 16, seed & 1 ? F32 : BF16, kv[k]);
            expect_right(&h, &l, "q33s50_q1s20", seed, ATTN_CASE_NEW_TOKENS,
                         attn_dtype_str(kv[k]));
        }
    harness_close(&h);
}
END_TEST

START_TEST(test_refusal)
{
    harness h;
    harness_open(&h, "attn_mla_cpu.so", "mla.cpu", 1, "auto", NULL, NULL);
    attn_mla_layer l = make_layer(129, 60, 32, 64, 128, 16, BF16, BF16);
    char buf[512];
    attn_reasons r = {
        .struct_size = sizeof r, .buf = buf, .capacity = sizeof buf};
    ck_assert_int_eq(h.backend->op->check(h.backend, NULL, &l.head, &r),
                     ATTN_E_UNSUPPORTED);
    ck_assert_uint_eq(r.count, 2);
    ck_assert_ptr_nonnull(strstr(buf, "num_heads 129: supports 1 to 128"));
    attn_error err = {.struct_size = sizeof err};
    const attn_key_value bad[] = {{"isa", "sse9"}};
    ck_assert_int_eq(h.plugin->init(&h.host, bad, 1, &err), ATTN_E_ARG);
    harness_close(&h);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("mla.cpu");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_types, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_short_f32, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_poison, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_shapes, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_masks, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_invariance, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_recorded, 0, NUM_LEVELS);
    tcase_add_loop_test(t, test_fp8_store, 0, NUM_LEVELS);
    tcase_add_test(t, test_refusal);
    suite_add_tcase(s, t);
    t = tcase_create("stride");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_block_stride, 0, NUM_LEVELS);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
