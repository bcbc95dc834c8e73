/* SPDX-License-Identifier: Apache-2.0 */
#include "state_expect.h"
#include "suite.h"

#include <attn/base.h>

#include <stdio.h>
#include <string.h>

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

/* Ways to run: by count, expanded, absorbed. */
static const char *const all_ways[] = {"0", "1", "1000000", NULL};
static const char *const both_ways[] = {"1", "1000000", NULL};

static expectation
ways(const char *const *values, uint32_t rows)
{
    return (expectation){
        "attn_mla_cpu.so", "mla.cpu", "expand_from", values, rows, 0};
}

static const char *const specs[] = {"3q1s40_2q5s60", "q70", "q1s700_q3s1100_q1",
                                    "2q20s200_q40s90"};

/* Every level, both ways, every pair of types. */
#define NUM_PAIRS 15
START_TEST(test_types)
{
    static const attn_dtype kv[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_E4M3,
                                    ATTN_E5M2};
    const attn_dtype q[] = {F32, F16, BF16};
    const expectation e = ways(_i < 5 ? all_ways : both_ways, 64);
    const attn_mla_layer l =
        make_layer(5, 64, 32, 48, 128, 16, q[_i / 5], kv[_i % 5]);
    char what[64];
    snprintf(what, sizeof what, "q %s kv %s", attn_dtype_str(q[_i / 5]),
             attn_dtype_str(kv[_i % 5]));
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
        expect_right(&e, &l.head, specs[s], 7 + s,
                     ATTN_CASE_PADDING | (s ? 0 : ATTN_CASE_NEW_TOKENS), what);
}
END_TEST

/* Short requests of f32 layers: in f32 arithmetic one of a few dozen such
 * problems, with few rows each, misses the rule by luck. */
START_TEST(test_short_f32)
{
    static const attn_dtype kv[] = {ATTN_F32, ATTN_E4M3, ATTN_E5M2};
    const expectation e = ways(NULL, 64);
    for (uint64_t seed = 1; seed <= 120; seed++) {
        const attn_mla_layer l = make_layer(1 + (uint32_t)seed % 6, 32, 16, 16,
                                            64, 16, F32, kv[seed % 3]);
        expect_right(&e, &l.head, seed & 1 ? "q2s9_q3s24" : "q1s30_q1s384",
                     seed, 0, "short");
    }
}
END_TEST

/* Few rows, heads and keys in bf16: where operands are rounded, one of some
 * hundred such problems misses the rule by luck, as those of seeds 28, 868;
 * of one with more heads in some thousand, as the last one here. */
START_TEST(test_short_bf16)
{
    static const attn_dtype kv[] = {ATTN_BF16, ATTN_F16, ATTN_F32, ATTN_E4M3,
                                    ATTN_E5M2};
    static const char *const spec[] = {"q9s24_q1s7", "q1s3_q2s11", "q20",
                                       "q4s40"};
    const expectation e = ways(NULL, 64);
    for (uint64_t seed = 1; seed <= 900; seed += seed == 60 ? 800 : 1) {
        const attn_mla_layer l = make_layer(1 + (uint32_t)seed % 4, 64, 32, 32,
                                            256, 16, BF16, kv[seed % 5]);
        expect_right(&e, &l.head, spec[seed / 4 % 4], seed, 0, "short");
    }
    const attn_mla_layer l = make_layer(17, 112, 32, 128, 208, 16, BF16, kv[3]);
    expect_right(&e, &l.head, "q5s16_q1s1_q1s24", (1ull << 62) + 246380, 0,
                 "short");
}
END_TEST

/* Rows of the cache that are not finite, of tokens that other queries of the
 * step do not see: what the others get must not change. */
static void
poison_of(const expectation *e, attn_dtype type, const char *spec, float poison)
{
    const attn_mla_layer l = make_layer(5, 64, 32, 48, 128, 16, type, type);
    attn_call *call = state_call(&l.head, spec, 3, 0);
    const attn_call_tensor *cache = attn_call_find(call, "kv_cache");
    const attn_call_tensor *table = attn_call_find(call, "block_table");
    const attn_call_tensor *lens = attn_call_find(call, "seq_lens");
    const size_t row = 20u * type.bits;
    char what[64];
    snprintf(what, sizeof what, "%s %g, %s", attn_dtype_str(type),
             (double)poison, spec);
    for (int32_t back = 1; back <= 4; back += 3) {
        const int32_t key = *(const int32_t *)lens->data - back;
        const int32_t block = ((const int32_t *)table->data)[key / 16];
        char *at = (char *)cache->data + (size_t)(block * 16 + key % 16) * row;
        if (type.bits == 32)
            memcpy(at + 4 * 7, &poison, 4);
        else
            memcpy(at + 2 * 7, (char *)&poison + 2, 2);
    }
    expect_call(e, call, what);
    attn_call_free(call);
}

START_TEST(test_poison)
{
    static const char *const specs_f32[] = {"q40s90", "q9s600", "q3s601"};
    static const char *const specs_bf16[] = {"q40s90", "q9s601", "q3s601"};
    /* Multiplied out, infinity may become NaN; with bf16 queries, lse. */
    static const char *const absorbed[] = {"1000000", NULL};
    const expectation any = ways(all_ways, 0), one = ways(absorbed, 0);
    for (int i = 0; i < 3; i++) {
        poison_of(&any, F32, specs_f32[i], __builtin_nanf(""));
        poison_of(&any, BF16, specs_bf16[i], __builtin_nanf(""));
        poison_of(&one, F32, specs_f32[i], __builtin_inff());
    }
}
END_TEST

/* Head counts, dimensions and block sizes: the most of each, but not of all
 * at once, which costs minutes where every access is checked. */
static const uint32_t shapes[][6] = {
    /* heads, dn, dr, dv, c, block */
    {16, 128, 64, 128, 512, 64}, {128, 32, 16, 32, 64, 16},
    {1, 16, 16, 16, 16, 1},      {3, 48, 16, 80, 96, 7},
    {8, 64, 32, 64, 256, 128},   {5, 256, 128, 256, 1024, 32},
    {20, 32, 16, 48, 160, 32},
};
#define NUM_SHAPES ((int)(sizeof shapes / sizeof *shapes))

START_TEST(test_shapes)
{
    const uint32_t *d = shapes[_i];
    const expectation e = ways(all_ways, 64);
    const attn_mla_layer l =
        make_layer(d[0], d[1], d[2], d[3], d[4], d[5], BF16, BF16);
    char what[64];
    snprintf(what, sizeof what, "shape %d", _i);
    expect_right(&e, &l.head, "q1s130_q17s33_q4s600", 11, 0, what);
}
END_TEST

/* Blocks an odd number of 16-bit elements apart; a key tile starts at the
 * last row of one. */
START_TEST(test_block_stride)
{
    expectation e = ways(both_ways, 64);
    const attn_mla_layer l = make_layer(4, 64, 32, 64, 128, 9, BF16, BF16);
    e.block_pad = 1;
    expect_right(&e, &l.head, "q1s600_q20s700", 13, 0, "odd block stride");
}
END_TEST

START_TEST(test_masks)
{
    const expectation e = ways(NULL, 64);
    attn_mla_layer l = make_layer(4, 64, 32, 64, 128, 16, BF16, BF16);
    l.causal = 0;
    l.head.features = ATTN_F_NONCAUSAL | ATTN_F_LSE;
    expect_right(&e, &l.head, "q40s90_q1s30_2q7s20", 3, 0, "not causal");
    l.causal = 1;
    l.head.features = ATTN_F_CAUSAL | ATTN_F_LSE | ATTN_F_PER_REQUEST_CAUSAL;
    expect_right(&e, &l.head, "q40s90_q1s30_2q7s20", 3, 0, "per request");
    l.head.features = ATTN_F_CAUSAL | ATTN_F_LSE;
    expect_right(&e, &l.head, "q200s200_q1s600", 5, ATTN_CASE_LARGE,
                 "large scores");
}
END_TEST

/* Bit for bit the same for any thread count, and alone or in company. */
START_TEST(test_invariance)
{
    const expectation e = ways(NULL, 0);
    const attn_mla_layer l = make_layer(16, 64, 32, 64, 128, 16, BF16, BF16);
    expect_invariant(&e, state_levels[_i], &l.head,
                     "q1s3k_q300s900_q4s20_q1s40", 5);
}
END_TEST

/* The recorded calls, each as it stands. */
START_TEST(test_recorded)
{
    static const char *const names[] = {"mla-000-bf16", "mla-001-f32",
                                        "mla-002-f16"};
    const expectation e = ways(both_ways, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        attn_call *call = state_recorded(names[i]);
        if (call)
            expect_call(&e, call, names[i]);
        attn_call_free(call);
    }
}
END_TEST

/* Each fp8 code comes back from the cache as it was put there. */
START_TEST(test_fp8_store)
{
    const expectation e = ways(NULL, 64);
    const attn_dtype kv[] = {E4M3, E5M2};
    for (int k = 0; k < 2; k++)
        for (uint64_t seed = 1; seed < 5; seed++) {
            const attn_mla_layer l =
                make_layer(2, 32, 16, 32, 64, 16, seed & 1 ? F32 : BF16, kv[k]);
            expect_right(&e, &l.head, "q33s50_q1s20", seed,
                         ATTN_CASE_NEW_TOKENS, attn_dtype_str(kv[k]));
        }
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
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_types, 0, NUM_PAIRS);
    tcase_add_test(t, test_short_f32);
    tcase_add_test(t, test_short_bf16);
    tcase_add_test(t, test_poison);
    tcase_add_loop_test(t, test_shapes, 0, NUM_SHAPES);
    tcase_add_test(t, test_masks);
    tcase_add_loop_test(t, test_invariance, 0, STATE_LEVELS);
    tcase_add_test(t, test_recorded);
    tcase_add_test(t, test_fp8_store);
    tcase_add_test(t, test_block_stride);
    tcase_add_test(t, test_refusal);
    return unit_run_case("mla.cpu", t);
}
