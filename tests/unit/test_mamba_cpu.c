/* SPDX-License-Identifier: Apache-2.0 */
#include "state_expect.h"
#include "suite.h"

#include "../../plugins/common/cpu/number.h"

#include <attn/base.h>
#include <stdio.h>
#include <string.h>

static const attn_dtype F32 = ATTN_F32, F16 = ATTN_F16, BF16 = ATTN_BF16;

static attn_mamba2_layer
make_layer(uint32_t heads, uint32_t p, uint32_t groups, uint32_t n,
           attn_dtype x, attn_dtype state)
{
    const attn_mamba2_layer l = {
        .head = {.struct_size = sizeof l, .family = ATTN_FAMILY_MAMBA2},
        .num_heads = heads,
        .head_dim = p,
        .num_groups = groups,
        .state_dim = n,
        .conv_width = 4,
        .chunk_size = 64,
        .activation = ATTN_ACTIVATION_SILU,
        .dt_softplus = 1,
        .x_dtype = x,
        .conv_state_dtype = x,
        .ssm_state_dtype = state,
        .out_dtype = x};
    return l;
}

static attn_mamba1_layer
make_layer1(uint32_t channels, uint32_t n, attn_dtype x, attn_dtype state)
{
    const attn_mamba1_layer l = {
        .head = {.struct_size = sizeof l, .family = ATTN_FAMILY_MAMBA1},
        .num_channels = channels,
        .state_dim = n,
        .conv_width = 4,
        .activation = ATTN_ACTIVATION_SILU,
        .dt_softplus = 1,
        .x_dtype = x,
        .conv_state_dtype = x,
        .ssm_state_dtype = state,
        .out_dtype = x};
    return l;
}

static const expectation mamba2 = {.file = "attn_mamba_cpu.so",
                                   .backend = "mamba.cpu"};
static const expectation mamba1 = {.file = "attn_mamba_cpu.so",
                                   .backend = "mamba1.cpu"};

static const char *const specs[] = {"5q1s40_q1", "q70", "q3s10_q8s100_q200s300",
                                    "q9s9_q64s128_q65"};
#define NUM_SPECS 4

/* Every level, every pair of types. */
#define NUM_PAIRS 9
START_TEST(test_types)
{
    const attn_dtype t[] = {F32, F16, BF16}, x = t[_i / 3], state = t[_i % 3];
    char what[64];
    const attn_mamba2_layer l = make_layer(4, 32, 2, 48, x, state);
    snprintf(what, sizeof what, "x %s state %s", attn_dtype_str(x),
             attn_dtype_str(state));
    for (int s = 0; s < NUM_SPECS; s++)
        expect_right(&mamba2, &l.head, specs[s], 3 + (uint64_t)s,
                     ATTN_CASE_PADDING, what);
}
END_TEST

static const uint32_t shapes[][4] = {
    /* heads, P, groups, N */
    {16, 64, 2, 128}, {24, 64, 1, 128}, {1, 16, 1, 16},
    {3, 80, 3, 32},   {40, 48, 2, 256},
};
#define NUM_SHAPES ((int)(sizeof shapes / sizeof *shapes))

START_TEST(test_shapes)
{
    const uint32_t *d = shapes[_i];
    for (int k = 0; k < 2; k++) {
        char what[64];
        attn_mamba2_layer l =
            make_layer(d[0], d[1], d[2], d[3], k ? BF16 : F32, F32);
        l.conv_width = 2 + (uint32_t)_i;
        snprintf(what, sizeof what, "shape %d, x %s", _i,
                 attn_dtype_str(l.x_dtype));
        expect_right(&mamba2, &l.head, "q1s50_q33s40_q130", 9, 0, what);
    }
}
END_TEST

/* States of short bf16 requests: the largest element is one product, so that
 * where operands are rounded the rule is a matter of luck. */
START_TEST(test_short_bf16)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        attn_mamba2_layer l = make_layer(4, 32, 1, 16, BF16, F32);
        l.conv_width = 2 + (uint32_t)seed % 3;
        expect_right(&mamba2, &l.head, seed & 1 ? "q11_q20s30" : "q40s90", seed,
                     0, "short");
    }
}
END_TEST

START_TEST(test_features)
{
    attn_mamba2_layer l = make_layer(6, 32, 2, 64, BF16, F32);
    l.head.features = ATTN_F_GATE;
    expect_right(&mamba2, &l.head, "q1s50_q33s40_q130", 9, 0, "gate");
    l.head.features = ATTN_F_DRAFTS;
    expect_right(&mamba2, &l.head, "4q4s50_2q1s20_q3s7", 9, 0, "drafts");
    l.ssm_state_dtype = BF16;
    expect_right(&mamba2, &l.head, "4q4s50_2q1s20_q90", 9, 0,
                 "drafts, bf16 state");
    l.ssm_state_dtype = F32;
    l.head.features = ATTN_F_CHECKPOINTS;
    expect_right(&mamba2, &l.head, "q1s64_q100s150_q6s66_q300", 9, 0,
                 "checkpoints");
    l.head.features = 0;
    l.dt_softplus = 0;
    l.activation = ATTN_ACTIVATION_NONE;
    expect_right(&mamba2, &l.head, "q1s64_q6s20", 9, 0, "plain steps");
}
END_TEST

static void
put(const attn_call_tensor *t, size_t i, float x)
{
    cpu_put(cpu_type_of(t->dtype), t->data, i, x);
}

/* Decays that leave something after thousands of tokens, after a few, and not
 * after one. */
START_TEST(test_decays)
{
    static const float a[] = {-0.001f, -1.0f, -20.0f, -70.0f,
                              -300.0f, -2e3f, -30e3f, -0.0f};
    for (int k = 0; k < 2; k++) {
        const attn_mamba2_layer l =
            make_layer(8, 32, 2, 64, k ? BF16 : F32, F32);
        attn_call *call = state_call(&l.head, "q150s170_q1s9_q5s8", 4, 0);
        memcpy(attn_call_find(call, "a")->data, a, sizeof a);
        expect_call(&mamba2, call, attn_dtype_str(l.x_dtype));
        attn_call_free(call);
    }
}
END_TEST

/* An input that is not finite: earlier tokens, other heads and other requests
 * get what they got without it. */
START_TEST(test_poison)
{
    static const float wrong[] = {NAN, INFINITY};
    const attn_dtype t[] = {F32, F16, BF16};
    for (int i = 0; i < 6; i++) {
        const attn_mamba2_layer l = make_layer(4, 32, 2, 48, t[i / 2], F32);
        attn_call *call = state_call(&l.head, "q70_q90s200_q5s40", 6, 0);
        const attn_call_tensor *x = attn_call_find(call, "xbc");
        const size_t channels = 4 * 32 + 2 * 2 * 48;
        /* x of a head, B and C of a group */
        put(x, 41 * channels + 3, wrong[i % 2]);
        put(x, 100 * channels + 4 * 32 + 50, NAN);
        put(x, 162 * channels + 4 * 32 + 2 * 48 + 7, NAN);
        expect_call(&mamba2, call, attn_dtype_str(l.x_dtype));
        attn_call_free(call);
    }
}
END_TEST

START_TEST(test_mamba1)
{
    const attn_dtype t[] = {F32, F16, BF16};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            attn_mamba1_layer l = make_layer1(176, 16, t[i], t[k]);
            for (int s = 0; s < NUM_SPECS; s++)
                expect_right(&mamba1, &l.head, specs[s], 3 + (uint64_t)s,
                             ATTN_CASE_PADDING, "mamba1");
        }
    attn_mamba1_layer l = make_layer1(48, 10, BF16, F32);
    l.head.features = ATTN_F_GATE;
    expect_right(&mamba1, &l.head, "q1s50_q33s40", 9, 0, "mamba1 gate");
    l.head.features = ATTN_F_DRAFTS;
    expect_right(&mamba1, &l.head, "4q4s50_2q1s20", 9, 0, "mamba1 drafts");
    l.head.features = ATTN_F_CHECKPOINTS;
    expect_right(&mamba1, &l.head, "q1s64_q100s150_q6s66", 9, 0,
                 "mamba1 checkpoints");
}
END_TEST

/* f32 all through: where the plain implementation is lucky, the rule leaves
 * one ulp of the largest value. */
START_TEST(test_mamba1_f32)
{
    static const uint32_t states[] = {16, 161, 10, 1};
    static const uint64_t features[] = {0, ATTN_F_GATE, ATTN_F_DRAFTS,
                                        ATTN_F_CHECKPOINTS};
    static const char *const spec[] = {"2q1s40_q1_q24", "q70s90_q5s9",
                                       "3q1s50_q1s20", "q100s150_q6s66"};
    for (uint32_t seed = 1; seed <= 64; seed++) {
        attn_mamba1_layer l = make_layer1(64, states[seed / 4 % 4], F32, F32);
        l.conv_width = 2 + seed % 7;
        l.head.features = features[seed % 4];
        expect_right(&mamba1, &l.head, spec[seed % 4], seed, 0, "mamba1");
    }
}
END_TEST

START_TEST(test_invariance)
{
    const attn_mamba2_layer l2 = make_layer(40, 64, 2, 64, BF16, F32);
    const attn_mamba2_layer l2f = make_layer(20, 32, 2, 64, F32, F32);
    const attn_mamba1_layer l1 = make_layer1(512, 16, BF16, F32);
    const attn_mamba1_layer l1f = make_layer1(512, 16, F32, F32);
    const attn_layer *layers[] = {&l2.head, &l2f.head, &l1.head, &l1f.head};
    for (int i = 0; i < 4; i++)
        expect_invariant(i < 2 ? &mamba2 : &mamba1, state_levels[_i], layers[i],
                         "q1s3k_q300s900_q4s20_q1", 5);
}
END_TEST

/* The recorded calls, each as it stands. */
START_TEST(test_recorded)
{
    static const char *const names[] = {"mamba2-001-f32", "mamba2-002-f16",
                                        "mamba2-004-f32"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        attn_call *call = state_recorded(names[i]);
        if (call)
            expect_call(&mamba2, call, names[i]);
        attn_call_free(call);
    }
}
END_TEST

START_TEST(test_refusal)
{
    harness h;
    attn_mamba2_layer l = make_layer(6, 60, 4, 64, BF16, F32);
    harness_open(&h, mamba2.file, mamba2.backend, 1, "auto", NULL, NULL);
    char buf[512];
    attn_reasons r = {
        .struct_size = sizeof r, .buf = buf, .capacity = sizeof buf};
    ck_assert_int_eq(h.backend->op->check(h.backend, NULL, &l.head, &r),
                     ATTN_E_UNSUPPORTED);
    ck_assert_uint_eq(r.count, 2);
    ck_assert_ptr_nonnull(strstr(buf, "head_dim 60: supports 16 to 256"));
    harness_close(&h);
}
END_TEST

int
main(void)
{
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_types, 0, NUM_PAIRS);
    tcase_add_loop_test(t, test_shapes, 0, NUM_SHAPES);
    tcase_add_test(t, test_short_bf16);
    tcase_add_test(t, test_features);
    tcase_add_test(t, test_decays);
    tcase_add_test(t, test_poison);
    tcase_add_test(t, test_mamba1);
    tcase_add_test(t, test_mamba1_f32);
    tcase_add_loop_test(t, test_invariance, 0, STATE_LEVELS);
    tcase_add_test(t, test_recorded);
    tcase_add_test(t, test_refusal);
    return unit_run_case("mamba.cpu", t);
}
