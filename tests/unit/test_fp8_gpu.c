/* SPDX-License-Identifier: Apache-2.0 */
/* Every code of both fp8 types through a flash backend with a device service:
 * update_cache writes it, decode and prefill read it. One key a request, so its
 * weight is 1 and the output is what the code says; the query picks one column
 * of the key, so lse is what the code says too. Takes both emulated plugins. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device_array.h"
#include "gpu_plugin.h"
#include "small_float.h"
#include "suite.h"

#define CODES 256
#define REQS 4 /* codes of one step */
#define DIM 64
#define MAX_HEADS 32

static const char *const plugins[] = {"attn_rocm_flash_emu.so",
                                      "attn_flash_cuda_emu.so"};

typedef struct world {
    int e5m2, heads;
    attn_flash_layer layer;
    gpu_layer bound;
    array q, k, v, new_kv, out, lse, starts, lens, table, slots;
} world;

static void
make_arrays(world *w)
{
    const attn_dtype kv = w->layer.kv_dtype, bf16 = ATTN_BF16, f32 = ATTN_F32,
                     i32 = ATTN_I32, i64 = ATTN_I64;
    const int64_t q[3] = {REQS, w->heads, DIM}, fresh[3] = {REQS, 1, DIM},
                  cache[4] = {REQS, 1, 1, DIM}, starts[1] = {REQS + 1},
                  lens[1] = {REQS}, table[2] = {REQS, 1};
    array_make(&w->q, bf16, 3, q, 0);
    array_make(&w->out, bf16, 3, q, 0);
    array_make(&w->lse, f32, 2, q, 0);
    array_make(&w->k, kv, 4, cache, 0);
    array_make(&w->v, kv, 4, cache, 0);
    array_make(&w->new_kv, bf16, 3, fresh, 0);
    array_make(&w->starts, i32, 1, starts, 0);
    array_make(&w->lens, i32, 1, lens, 0);
    array_make(&w->table, i32, 2, table, 0);
    array_make(&w->slots, i64, 1, lens, 0);
    for (int i = 0; i < REQS; i++) {
        ((int32_t *)w->starts.host)[i + 1] = i + 1;
        ((int32_t *)w->lens.host)[i] = 1;
        ((int32_t *)w->table.host)[i] = i;
        ((int64_t *)w->slots.host)[i] = i;
        for (int h = 0; h < w->heads; h++)
            ((uint16_t *)w->q.host)[(i * w->heads + h) * DIM] = half_of(1, 1);
    }
    array *all[] = {&w->q, &w->starts, &w->lens, &w->table, &w->slots};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        array_upload(all[i]);
}

static void
bind(world *w)
{
    const attn_limits limits = {sizeof limits,       REQS, 64, 64, 64, 64, 1, 2,
                                ATTN_CAPTURE_ALWAYS, 0};
    const attn_flash_constants none = {{sizeof none, 0}, NULL, NULL};
    gpu_layer_make(&w->bound, &w->layer.head, &limits, &none.head);
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
    GPU_OK(
        gpu.op->build(w->bound.builder, &batch, &group, &gpu.stream, &gpu.err));
}

static void
world_drop(world *w)
{
    array *all[] = {&w->q,   &w->k,    &w->v,      &w->new_kv, &w->out,
                    &w->lse, &w->lens, &w->starts, &w->table,  &w->slots};
    gpu_layer_drop(&w->bound);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        array_drop(all[i]);
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
    array_upload(&w->k);
    array_upload(&w->v);
}

static void
forward(world *w)
{
    const attn_flash_forward args = {{sizeof args, 0},
                                     gpu.stream,
                                     w->bound.prepared,
                                     &w->q.t,
                                     &w->k.t,
                                     &w->v.t,
                                     NULL,
                                     NULL,
                                     &w->out.t,
                                     &w->lse.t};
    array_fill(&w->out, 0x5A);
    array_fill(&w->lse, 0x5A);
    GPU_OK(gpu.op->forward(w->bound.builder, &args.head, &gpu.err));
    array_download(&w->out);
    array_download(&w->lse);
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
        const double value = fp8_value(code, w->e5m2);
        const double score = in_keys ? value : 0;
        const double lse = (double)((float *)w->lse.host)[i];
        if (isfinite(score))
            expect(w, code, lse, score, "lse");
        else
            ck_assert_msg(!isfinite(lse), "lse of code 0x%02x: %g", code, lse);
        /* inf - inf is NaN, and so is no weight of an infinite value */
        for (int d = 0; d < DIM; d++)
            expect(w, code,
                   half_value(((uint16_t *)w->out.host)[i * DIM + d], 1),
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
                half_of(fp8_value(first + (uint32_t)(i / DIM), _i), 1);
        array_upload(&w.new_kv);
        const attn_flash_update args = {
            {sizeof args, 0}, gpu.stream, &w.new_kv.t, &w.new_kv.t,
            &w.k.t,           &w.v.t,     NULL,        NULL};
        GPU_OK(gpu.op->update_cache(w.bound.builder, &args.head, &gpu.err));
        array_download(&w.k);
        array_download(&w.v);
        for (int i = 0; i < REQS * DIM; i++) {
            const uint32_t code = first + (uint32_t)(i / DIM);
            const uint32_t k = ((uint8_t *)w.k.host)[i],
                           v = ((uint8_t *)w.v.host)[i];
            ck_assert_uint_eq(k, v);
            if (isnan(fp8_value(code, _i)))
                ck_assert(isnan(fp8_value(k, _i)));
            else if (isinf(fp8_value(code, _i)))
                ck_assert_uint_eq(k, code - 1);
            else
                ck_assert_uint_eq(k, code);
        }
    }
    world_drop(&w);
}
END_TEST

static int
run_suite(void)
{
    TCase *c = tcase_create("codes");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, read_codes, 0, 4);
    tcase_add_loop_test(c, write_codes, 0, 2);
    return unit_run_as(CK_NOFORK, "fp8 codes on a device", c);
}

int
main(void)
{
    int failed = EXIT_SUCCESS;
    for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++) {
        if (gpu_open(plugins[i]))
            return EXIT_FAILURE;
        failed |= run_suite();
        gpu_close();
    }
    return failed;
}
