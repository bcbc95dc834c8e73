/* SPDX-License-Identifier: Apache-2.0 */
/* bench_mamba_cpu - prefill of mamba.cpu beside a plain sequential scan: the
 * recurrence in f32 as one writes it first, without the convolution. One
 * thread; fails below 3 times its speed. Not run by `make check`: `make
 * tests/unit/bench_mamba_cpu` and run it on an idle machine. */
#include "state_harness.h"
#include "suite.h"

#include <attn/base.h>
#include <stdio.h>
#include <time.h>

#define TOKENS 1024
#define HEADS 32
#define P 64
#define N 128
#define GROUPS 2
#define REPEATS 5

typedef struct scan {
    float x[TOKENS][HEADS][P], y[TOKENS][HEADS][P];
    float b[TOKENS][GROUPS][N], c[TOKENS][GROUPS][N];
    float dt[TOKENS][HEADS], a[HEADS];
    float state[HEADS][P][N];
} scan;

/* exp of a negative number, so that no library call is part of the time. */
static float
decay_of(float x)
{
    const float y = 1.0f + x / 256.0f;
    float z = y * y;
    for (int i = 0; i < 7; i++)
        z *= z;
    return z;
}

static void
scan_head(scan *s, size_t t, size_t h)
{
    const float *b = s->b[t][h / (HEADS / GROUPS)];
    const float *c = s->c[t][h / (HEADS / GROUPS)];
    const float dt = s->dt[t][h], decay = decay_of(s->a[h] * dt);

    for (size_t p = 0; p < P; p++) {
        float sum = 0.0f;
        for (size_t n = 0; n < N; n++) {
            float *state = &s->state[h][p][n];
            *state = *state * decay + dt * s->x[t][h][p] * b[n];
            sum += *state * c[n];
        }
        s->y[t][h][p] = sum;
    }
}

static double
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void
fill(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
}

static double
scan_ms(void)
{
    scan *s = calloc(1, sizeof *s);
    double best = 1e30;

    ck_assert_ptr_nonnull(s);
    fill(&s->x[0][0][0], sizeof s->x / sizeof(float));
    fill(&s->b[0][0][0], sizeof s->b / sizeof(float));
    fill(&s->c[0][0][0], sizeof s->c / sizeof(float));
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t h = 0; h < HEADS; h++)
            s->dt[t][h] = 0.1f;
    for (size_t h = 0; h < HEADS; h++)
        s->a[h] = -1.0f;
    for (int i = 0; i < REPEATS; i++) {
        const double t0 = now_ms();
        for (size_t t = 0; t < TOKENS; t++)
            for (size_t h = 0; h < HEADS; h++)
                scan_head(s, t, h);
        const double spent = now_ms() - t0;
        best = spent < best ? spent : best;
    }
    ck_assert(s->y[TOKENS - 1][0][0] == s->y[TOKENS - 1][0][0]);
    free(s);
    return best;
}

static double
forward_ms(attn_dtype type)
{
    const attn_mamba2_layer l = {
        .head = {.struct_size = sizeof l, .family = ATTN_FAMILY_MAMBA2},
        .num_heads = HEADS,
        .head_dim = P,
        .num_groups = GROUPS,
        .state_dim = N,
        .conv_width = 4,
        .chunk_size = 256,
        .activation = ATTN_ACTIVATION_SILU,
        .dt_softplus = 1,
        .x_dtype = type,
        .conv_state_dtype = type,
        .ssm_state_dtype = ATTN_F32,
        .out_dtype = type};
    const attn_spec_request req = {.query_len = TOKENS, .seq_len = TOKENS};
    const attn_case_params p = {.struct_size = sizeof p,
                                .num_reqs = 1,
                                .layer = &l.head,
                                .requests = &req,
                                .seed = 1};
    attn_error err = {.struct_size = sizeof err};
    attn_call *call = NULL;
    harness h;

    ck_assert_msg(!attn_case_make(&p, &call, &err), "%s", err.message);
    ck_assert(harness_open(&h, "attn_mamba_cpu.so", "mamba.cpu", 1, "auto",
                           NULL, NULL));
    h.repeats = REPEATS;
    attn_call_free(harness_run(&h, call));
    harness_close(&h);
    attn_call_free(call);
    return h.forward_us * 1e-3;
}

START_TEST(bench_prefill)
{
    static const attn_dtype types[] = {ATTN_BF16, ATTN_F16, ATTN_F32};
    const double plain = scan_ms();

    printf("plain scan, f32: %.1f ms\n", plain);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const double ms = forward_ms(types[i]);
        printf("mamba.cpu, %s: %.1f ms, %.1f times as fast\n",
               attn_dtype_str(types[i]), ms, plain / ms);
        ck_assert_msg(plain >= 3 * ms, "only %.2f times as fast", plain / ms);
    }
}
END_TEST

int
main(void)
{
    TCase *t = tcase_create("bench");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, bench_prefill);
    return unit_run_case("mamba.cpu prefill", t);
}
