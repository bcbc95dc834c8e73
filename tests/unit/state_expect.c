/* SPDX-License-Identifier: Apache-2.0 */
#include "state_expect.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const state_levels[STATE_LEVELS] = {"generic", "avx2", "avx512",
                                                "avx512bf16"};

attn_call *
state_call(const attn_layer *l, const char *spec, uint64_t seed, uint32_t flags)
{
    attn_spec_request req[64];
    uint32_t n = 0;
    attn_call *call = NULL;
    attn_error err = {.struct_size = sizeof err};
    attn_status s = attn_batch_spec_parse(spec, req, 64, &n, &err);
    const attn_case_params p = {.struct_size = sizeof p,
                                .num_reqs = n,
                                .layer = l,
                                .requests = req,
                                .seed = seed,
                                .flags = flags};
    if (!s)
        s = attn_case_make(&p, &call, &err);
    ck_assert_msg(!s, "%s: %s", err.where, err.message);
    return call;
}

attn_call *
state_recorded(const char *name)
{
    char path[1024];
    attn_call *call = NULL;
    attn_error err = {.struct_size = sizeof err};
    const char *shared = getenv("shared_dir");
    snprintf(path, sizeof path, "%s/cases/%s.safetensors",
             shared ? shared : "../shared", name);
    const attn_status s = attn_call_load(path, &call, &err);
    ck_assert_msg(!s || s == ATTN_E_IO, "%s", err.message);
    if (s)
        printf("skipped: %s\n", err.message);
    return call;
}

static attn_reference *
reference_of(const attn_call *call, uint32_t rows)
{
    attn_error err = {.struct_size = sizeof err};
    attn_reference *ref = NULL;
    const attn_status s = attn_reference_create(
        call, rows, ATTN_REFERENCE_USE_EXPECTED, &ref, &err);
    ck_assert_msg(!s, "%s: %s", err.where, err.message);
    return ref;
}

static void
judge(const attn_reference *ref, const attn_call *result, const char *what)
{
    const int verbose = getenv("HARNESS_VERBOSE") != NULL;
    attn_error err = {.struct_size = sizeof err};
    attn_verdict v[4];
    uint32_t pass = 0;
    memset(v, 0, sizeof v);
    const attn_status s = attn_compare(ref, result, v, &pass, &err);
    ck_assert_msg(!s, "%s: %s: %s", what, err.where, err.message);
    if (verbose)
        printf("%s\n", what);
    for (size_t i = 0; verbose && i < attn_reference_count(ref); i++)
        printf("  %-10s max %.3g of %.3g, mean %.3g of %.3g%s\n", v[i].name,
               v[i].max_error, v[i].bound_max, v[i].mean_error, v[i].bound_mean,
               v[i].pass ? "" : "  FAIL");
    for (size_t i = 0; i < attn_reference_count(ref); i++)
        ck_assert_msg(v[i].pass, "%s: %s", what, v[i].reason);
}

/* Every machine has the first level. */
static int
opened(harness *h, const expectation *e, uint32_t threads, const char *level,
       const char *value)
{
    const int open = harness_open(h, e->file, e->backend, threads, level,
                                  value ? e->key : NULL, value);
    ck_assert_msg(open || strcmp(level, state_levels[0]), "%s refuses %s",
                  e->backend, level);
    if (!open)
        printf("skipped: this machine lacks %s\n", level);
    return open;
}

static void
run_once(const expectation *e, const char *level, const char *value,
         const attn_call *call, const attn_reference *ref, const char *what)
{
    char text[256];
    harness h;
    snprintf(text, sizeof text, "%s%s%s%s%s, %s", level, value ? " " : "",
             value ? e->key : "", value ? " " : "", value ? value : "", what);
    if (opened(&h, e, 2, level, value)) {
        h.block_pad = e->block_pad;
        attn_call *result = harness_run(&h, call);
        judge(ref, result, text);
        attn_call_free(result);
    }
    harness_close(&h);
}

void
expect_call(const expectation *e, const attn_call *call, const char *what)
{
    static const char *const once[] = {NULL, NULL};
    attn_reference *ref = reference_of(call, e->rows);
    for (int i = 0; i < STATE_LEVELS; i++)
        for (const char *const *v = e->values ? e->values : once;
             v == once || *v; v++)
            run_once(e, state_levels[i], *v, call, ref, what);
    attn_reference_free(ref);
}

void
expect_right(const expectation *e, const attn_layer *l, const char *spec,
             uint64_t seed, uint32_t flags, const char *what)
{
    char text[192];
    attn_call *call = state_call(l, spec, seed, flags);
    snprintf(text, sizeof text, "%s, %s, seed %llu", what, spec,
             (unsigned long long)seed);
    expect_call(e, call, text);
    attn_call_free(call);
}

void
expect_invariant(const expectation *e, const char *level, const attn_layer *l,
                 const char *spec, uint64_t seed)
{
    attn_call *first = NULL, *call = state_call(l, spec, seed, 0);
    for (uint32_t threads = 1; threads <= 4; threads++) {
        harness h;
        if (opened(&h, e, threads, level, NULL)) {
            attn_call *result = harness_run(&h, call);
            const char *bad = first ? harness_differ(first, result) : NULL;
            ck_assert_msg(!bad, "%s, %u threads: %s", level, threads, bad);
            attn_call_free(first);
            first = result;
        }
        harness_close(&h);
    }
    attn_call_free(first);
    attn_call_free(call);
}
