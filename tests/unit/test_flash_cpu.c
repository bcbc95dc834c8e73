/* SPDX-License-Identifier: Apache-2.0 */
/* flash.cpu against an f64 reference: every level of this CPU x features x
 * types. */
#include "flash_driver.h"
#include "suite.h"

#include "../../plugins/common/cpu/isa.h"
#include "../../plugins/common/cpu/number.h"
#include <stdio.h>

#define F32 ((attn_dtype)ATTN_F32)
#define F16 ((attn_dtype)ATTN_F16)
#define BF16 ((attn_dtype)ATTN_BF16)
#define E4M3 ((attn_dtype)ATTN_E4M3)
#define E5M2 ((attn_dtype)ATTN_E5M2)

static driver *
open_level(int level)
{
    const attn_key_value options[] = {{"isa", cpu_isa_name((cpu_isa)level)},
                                      {"decode", "stream"},
                                      {"split_keys", "64"},
                                      {"query_rows", "40"},
                                      {"max_splits", "5"}};
    driver *d = driver_open(options, 5);
    ck_assert_ptr_nonnull(d);
    return d;
}

static flash_case
base_case(attn_dtype type)
{
    flash_case c = {.heads = 4,
                    .kv_heads = 2,
                    .dim = 64,
                    .dim_v = 64,
                    .block_size = 16,
                    .q_type = type,
                    .kv_type = type,
                    .out_type = type,
                    .window_left = -1,
                    .window_right = -1,
                    .causal = 1,
                    .threads = 2,
                    .num_reqs = 5,
                    .query_len = {1, 37, 1, 3, 60},
                    .seq_len = {501, 470, 1, 130, 60},
                    .req_seed = {1, 2, 3, 4, 5}};
    return c;
}

/* Runs a case at a level and holds it against the reference. */
static void
prove(int level, const flash_case *c, const char *what)
{
    driver *d = open_level(level);
    flash_data *data = flash_data_create(c);
    const attn_status status = driver_run(d, c, data, 1, NULL);
    const int good = status == ATTN_OK && flash_data_check(c, data);
    flash_data_free(data);
    driver_close(d);
    ck_assert_msg(
        good, "%s: %s, q code %u bits %u, kv code %u, dims %u/%u, status %d",
        cpu_isa_name((cpu_isa)level), what, c->q_type.code, c->q_type.bits,
        c->kv_type.code, c->dim, c->dim_v, status);
}

static void
features_of(int level, attn_dtype type)
{
    flash_case c = base_case(type);
    prove(level, &c, "causal");
    c.token_major = 1;
    prove(level, &c, "token-major caches");
    c = base_case(type), c.token_major = 1, c.heads = 18, c.kv_heads = 6;
    prove(level, &c, "token-major caches, six KV heads");
    c = base_case(type), c.causal = 0;
    prove(level, &c, "not causal");
    c = base_case(type), c.causal = 2;
    prove(level, &c, "causal by request");
    c = base_case(type), c.window_left = 20;
    prove(level, &c, "window left");
    c = base_case(type), c.causal = 0, c.window_left = 33, c.window_right = 7;
    prove(level, &c, "window both sides");
    c = base_case(type), c.window_left = 0;
    prove(level, &c, "window of one");
    c = base_case(type), c.softcap = 3;
    prove(level, &c, "softcap");
    c = base_case(type), c.sinks = 1;
    prove(level, &c, "sinks");
    c = base_case(type), c.alibi = 1;
    prove(level, &c, "ALiBi");
    c = base_case(type), c.ranges = 1;
    prove(level, &c, "prefix ranges");
    c = base_case(type), c.ranges = 1, c.window_left = 9, c.sinks = 1,
    c.softcap = 5;
    prove(level, &c, "ranges, window, sinks and softcap");
    c = base_case(type), c.cross = 1, c.causal = 0, c.seq_len[1] = 5,
    c.seq_len[2] = 0;
    prove(level, &c, "cross, one empty");
    c = base_case(type), c.dim_v = 40;
    prove(level, &c, "a narrower V");
    c = base_case(type), c.heads = 2;
    prove(level, &c, "MHA");
    c = base_case(type), c.heads = 12, c.kv_heads = 1;
    prove(level, &c, "MQA");
    c = base_case(type), c.heads = 21, c.kv_heads = 1, c.query_len[1] = 1;
    prove(level, &c, "MQA of 21");
}

START_TEST(features_f32)
{
    features_of(_i, F32);
}
END_TEST

START_TEST(features_f16)
{
    features_of(_i, F16);
}
END_TEST

START_TEST(features_bf16)
{
    features_of(_i, BF16);
}
END_TEST

START_TEST(mixed_types)
{
    const attn_dtype q[] = {F32, F16, BF16},
                     kv[] = {F32, F16, BF16, E4M3, E5M2};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 5; j++) {
            flash_case c = base_case(q[i]);
            c.kv_type = kv[j];
            c.out_type = q[(i + j) % 3];
            c.scales = j >= 3;
            prove(_i, &c, "types");
        }
}
END_TEST

START_TEST(head_dims)
{
    for (uint32_t dim = 8; dim <= 256; dim += 8) {
        const attn_dtype types[] = {F32, BF16, F16};
        flash_case c = base_case(types[dim / 8 % 3]);
        c.dim = dim;
        c.dim_v = dim % 24 ? dim : 264 - dim;
        prove(_i, &c, "head_dim");
        c.q_type = c.kv_type = c.out_type = BF16;
        c.kv_type = dim % 16 ? BF16 : E4M3;
        prove(_i, &c, "head_dim");
    }
}
END_TEST

START_TEST(block_sizes)
{
    const uint32_t sizes[] = {1,   2,   3,   7,   16,  17,  31,  64,
                              100, 127, 128, 255, 256, 300, 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        flash_case c = base_case(i % 2 ? BF16 : F32);
        c.block_size = sizes[i];
        prove(_i, &c, "block size");
    }
}
END_TEST

START_TEST(long_rows)
{
    flash_case c = base_case(_i % 2 ? F32 : BF16);
    c.num_reqs = 2;
    c.query_len[0] = 1, c.seq_len[0] = 2500;
    c.query_len[1] = 19, c.seq_len[1] = 1100;
    c.q_type = c.kv_type = c.out_type = BF16;
    prove(_i, &c, "long");
    c.dim = c.dim_v = 256;
    c.q_type = c.kv_type = c.out_type = F32;
    prove(_i, &c, "long");
}
END_TEST

/* Positions that f32 does not tell apart. */
START_TEST(far_positions)
{
    const attn_dtype types[] = {F16, BF16};
    for (int i = 0; i < 16; i++) {
        flash_case c = base_case(types[i & 1]);
        c.far = 1, c.block_size = 65536, c.dim = c.dim_v = 8;
        c.num_reqs = 1, c.query_len[0] = i & 2 ? 3 : 1;
        c.seq_len[0] = (1u << 24) + (i & 4 ? 3 : 5);
        c.window_left = 2, c.alibi = i & 8;
        prove(_i, &c, "far positions");
    }
}
END_TEST

/* Short requests of f32 layers run in f64. */
START_TEST(short_f32)
{
    for (int i = 0; i < 8; i++) {
        flash_case c = base_case(F32);
        c.once = 1;
        c.seq_len[0] = 384, c.seq_len[1] = 370, c.query_len[1] = 130;
        c.dim = i & 1 ? 8 : 128, c.dim_v = i & 2 ? 24 : 136;
        c.kv_type = i & 1 ? E4M3 : i & 2 ? E5M2 : F32;
        c.scales = i & 1, c.alibi = i & 2, c.sinks = i & 4;
        c.softcap = i & 4 ? 5 : 0;
        c.window_left = i == 3 ? 20 : -1;
        c.ranges = i >= 6;
        prove(_i, &c, "each output rounded once");
    }
}
END_TEST

/* Rows of the caches that are not finite, of tokens that other queries of the
 * step do not see: what the others get must not change. */
static void
poison_rows(int level, const flash_case *c, const char *what, int value)
{
    driver *d = open_level(level);
    flash_data *data = flash_data_create(c);
    const cpu_type type = cpu_type_of(c->kv_type);
    for (uint32_t r = 1; r < c->num_reqs; r += 2)
        for (uint32_t back = 1; back <= 2; back++)
            for (int at = 0; at < 2; at++)
                cpu_put(type, (void *)(uintptr_t)flash_data_cache(data, value),
                        flash_data_slot(c, data, r, c->seq_len[r] - back, value,
                                        1) +
                            (at ? (value ? c->dim_v : c->dim) - 3 : 5),
                        NAN);
    const attn_status status = driver_run(d, c, data, 1, NULL);
    const int good = status == ATTN_OK && flash_data_check(c, data);
    flash_data_free(data);
    driver_close(d);
    ck_assert_msg(good, "%s: %s, q code %u bits %u, status %d",
                  cpu_isa_name((cpu_isa)level), what, c->q_type.code,
                  c->q_type.bits, status);
}

/* K alone, whose weights are lost, and V alone, which must fill its own column
 * and no other. */
static void
poison_of(int level, const flash_case *c, const char *what)
{
    poison_rows(level, c, what, 0);
    poison_rows(level, c, what, 1);
}

START_TEST(poison)
{
    const attn_dtype types[] = {F32, F16, BF16, E4M3};
    for (int i = 0; i < 4; i++) {
        flash_case c = base_case(i == 3 ? BF16 : types[i]);
        c.kv_type = types[i];
        poison_of(_i, &c, "causal");
        c.causal = 0, c.window_left = 33, c.window_right = 1;
        poison_of(_i, &c, "window");
        c = base_case(c.q_type), c.kv_type = types[i];
        c.num_reqs = 4, c.query_len[1] = 3, c.query_len[3] = 2;
        c.seq_len[3] = 450;
        poison_of(_i, &c, "few queries");
        c.heads = 8, c.token_major = 1;
        poison_of(_i, &c, "few queries, token-major");
        c.dim_v = 40;
        poison_of(_i, &c, "few queries, a vector left over");
    }
}
END_TEST

/* Pages so long that bf16 caches are streamed, with requests that end and
 * begin inside their pieces. */
static flash_case
streamed_case(uint32_t heads, uint32_t dim)
{
    flash_case c = base_case(BF16);
    c.heads = heads, c.dim = c.dim_v = dim;
    c.block_size = dim == 64 ? 1024 : 512;
    c.query_len[1] = 2, c.query_len[4] = 4;
    c.seq_len[0] = 1301, c.seq_len[1] = 1030, c.seq_len[4] = 2048;
    return c;
}

static void
streams_of(int level, uint32_t heads, uint32_t dim)
{
    const flash_case base = streamed_case(heads, dim);
    flash_case c = base;
    prove(level, &c, "streamed");
    c.block_size = dim == 64 ? 1500 : 700;
    prove(level, &c, "streamed, pages that are not whole vectors");
    c = base, c.window_left = 777;
    prove(level, &c, "streamed, window");
    c = base, c.causal = 0, c.dim_v = 192 - dim, c.block_size = 1024;
    prove(level, &c, "streamed, another V");
    c = base, c.softcap = 3, c.alibi = 1, c.sinks = 1;
    prove(level, &c, "streamed, softcap, ALiBi and sinks");
    c = base, c.ranges = 1;
    prove(level, &c, "streamed, prefix ranges");
    poison_of(level, &base, "streamed");
}

START_TEST(streams)
{
    const uint32_t heads[] = {2, 4, 6, 8, 14};
    if (_i < CPU_ISA_AVX512BF16)
        return;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        streams_of(_i, heads[i], i % 2 ? 64 : 128);
    streams_of(_i, 8, 128);
}
END_TEST

/* ------------------------------------------------------------ bit for bit */

/* Request r of case a and request s of case b: the same bits in out and lse? */
static void
same_bits(const flash_case *c, const flash_data *a, uint32_t r,
          const flash_data *b, uint32_t s, const char *what)
{
    const size_t rows = (size_t)c->query_len[r] * c->heads,
                 size = c->out_type.bits / 8;
    const size_t at = flash_data_token(a, r) * c->heads,
                 bt = flash_data_token(b, s) * c->heads;
    const char *x = (const char *)flash_data_out(a) + at * c->dim_v * size;
    const char *y = (const char *)flash_data_out(b) + bt * c->dim_v * size;
    ck_assert_msg(!memcmp(x, y, rows * c->dim_v * size),
                  "%s: out of request %u", what, r);
    ck_assert_msg(
        !memcmp(flash_data_lse(a) + at, flash_data_lse(b) + bt, rows * 4),
        "%s: lse of request %u", what, r);
}

static void
invariance_of(int level, const flash_case *given)
{
    const flash_case c = *given;
    driver *d = open_level(level);
    flash_data *first = flash_data_create(&c);
    ck_assert_int_eq(driver_run(d, &c, first, 1, NULL), ATTN_OK);
    for (uint32_t threads = 1; threads <= 5; threads += 2) {
        flash_case other = c;
        other.threads = threads;
        other.page_seed = threads;
        flash_data *data = flash_data_create(&other);
        ck_assert_int_eq(driver_run(d, &other, data, 2, NULL), ATTN_OK);
        for (uint32_t r = 0; r < c.num_reqs; r++)
            same_bits(&c, first, r, data, r, "threads and pages");
        flash_data_free(data);
    }
    flash_case turned = c;
    for (uint32_t r = 0; r < c.num_reqs; r++) {
        const uint32_t s = c.num_reqs - 1 - r;
        flash_case alone = c;
        alone.num_reqs = 1;
        alone.query_len[0] = turned.query_len[s] = c.query_len[r];
        alone.seq_len[0] = turned.seq_len[s] = c.seq_len[r];
        alone.req_seed[0] = turned.req_seed[s] = c.req_seed[r];
        flash_data *data = flash_data_create(&alone);
        ck_assert_int_eq(driver_run(d, &alone, data, 1, NULL), ATTN_OK);
        same_bits(&c, first, r, data, 0, "alone");
        flash_data_free(data);
    }
    flash_data *data = flash_data_create(&turned);
    ck_assert_int_eq(driver_run(d, &turned, data, 1, NULL), ATTN_OK);
    for (uint32_t r = 0; r < c.num_reqs; r++)
        same_bits(&c, first, r, data, c.num_reqs - 1 - r, "order");
    flash_data_free(data);
    flash_data_free(first);
    driver_close(d);
}

START_TEST(invariance)
{
    const flash_case cases[] = {base_case(F32), base_case(F16), base_case(BF16),
                                streamed_case(8, 128)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        invariance_of(_i, &cases[i]);
}
END_TEST

/* ----------------------------------------------------------- update_cache */

static void
update_of(attn_dtype q, attn_dtype kv, int scales)
{
    flash_case c = base_case(q);
    c.kv_type = kv;
    c.scales = scales;
    c.dim_v = 24;
    c.num_reqs = 1;
    c.query_len[0] = c.seq_len[0] = 50;
    const cpu_type qt = cpu_type_of(q), kt = cpu_type_of(kv);
    driver *d = open_level(CPU_ISA_GENERIC);
    flash_data *data = flash_data_create(&c);
    const size_t kn = (size_t)50 * c.kv_heads * c.dim,
                 vn = (size_t)50 * c.kv_heads * c.dim_v;
    void *k = malloc(kn * 4), *v = malloc(vn * 4);
    for (size_t i = 0; i < kn; i++)
        cpu_put(qt, k, i, (float)((int)(i * 7919 % 4001) - 2000) * 0.31f);
    for (size_t i = 0; i < vn; i++)
        cpu_put(qt, v, i, (float)((int)(i * 104729 % 8009) - 4000) * 1e-4f);
    int64_t slots[50];
    for (uint32_t t = 0; t < 50; t++)
        slots[t] = t % 7 == 3 ? -1 : flash_data_slot_id(&c, data, 0, t);
    const float old = cpu_get(kt, flash_data_cache(data, 0),
                              flash_data_slot(&c, data, 0, 3, 0, 0));
    ck_assert_int_eq(driver_update(d, &c, data, k, v, slots), ATTN_OK);
    for (uint32_t t = 0; t < 50; t++)
        for (uint32_t h = 0; h < c.kv_heads && slots[t] >= 0; h++)
            for (uint32_t n = 0; n < c.dim; n++) {
                float x =
                    cpu_get(qt, k, ((size_t)t * c.kv_heads + h) * c.dim + n);
                uint8_t want[4] = {0};
                x = scales ? x / (0.5f + (float)h * 0.25f) : x;
                cpu_put(kt, want, 0, x);
                const float got =
                    cpu_get(kt, flash_data_cache(data, 0),
                            flash_data_slot(&c, data, 0, t, 0, h) + n);
                ck_assert_float_eq(got, cpu_get(kt, want, 0));
            }
    const float same = cpu_get(kt, flash_data_cache(data, 0),
                               flash_data_slot(&c, data, 0, 3, 0, 0));
    ck_assert_float_eq(old, same);
    free(k);
    free(v);
    flash_data_free(data);
    driver_close(d);
}

START_TEST(update)
{
    const attn_dtype q[] = {F32, F16, BF16},
                     kv[] = {F32, F16, BF16, E4M3, E5M2};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 5; j++)
            update_of(q[i], kv[j], j >= 3);
}
END_TEST

/* Nearest code by search: what a rounding must give. */
static uint8_t
nearest(cpu_type t, float x, float largest)
{
    double best = INFINITY;
    uint8_t code = 0;
    x = x > largest ? largest : x < -largest ? -largest : x;
    for (int i = 0; i < 256; i++) {
        const uint8_t byte[4] = {(uint8_t)i};
        const double y = (double)cpu_get(t, byte, 0), d = fabs(y - (double)x);
        if (!isfinite(y) || (signbit(y) != 0) != (signbit(x) != 0))
            continue;
        if (d < best || (d == best && !(i & 1)))
            best = d, code = byte[0];
    }
    return code;
}

START_TEST(fp8_codes)
{
    const cpu_type t = _i ? CPU_E5M2 : CPU_E4M3;
    const float largest = _i ? 57344 : 448;
    for (int i = 0; i < 256; i++) {
        const uint8_t byte[4] = {(uint8_t)i};
        uint8_t back[4] = {0};
        const float x = cpu_get(t, byte, 0);
        if (isfinite(x)) {
            cpu_put(t, back, 0, x);
            ck_assert_uint_eq(back[0], byte[0]);
        }
    }
    for (uint32_t i = 0; i < 20000; i++) {
        const float x = ldexpf((float)(i * 2654435761u >> 8) - 8388608.0f,
                               (int)(i % 48) - 40);
        uint8_t got[4];
        cpu_put(t, got, 0, x);
        ck_assert_msg(got[0] == nearest(t, x, largest),
                      "%a gives %02x, not %02x", (double)x, got[0],
                      nearest(t, x, largest));
    }
    uint8_t nan[4];
    cpu_put(t, nan, 0, -NAN);
    ck_assert_uint_eq(nan[0], 0xff); /* as the oracle and the hardware */
    ck_assert(isnan(cpu_get(t, nan, 0)));
}
END_TEST

/* All 256 codes as values through the kernels: one key, so that out is the
 * value itself. */
START_TEST(fp8_through_kernels)
{
    const attn_dtype kv[] = {E4M3, E5M2};
    for (int i = 0; i < 2; i++) {
        flash_case c = base_case(BF16);
        c.kv_type = kv[i];
        c.out_type = F32;
        c.heads = c.kv_heads = 1;
        c.dim_v = 256;
        c.num_reqs = 1;
        c.query_len[0] = c.seq_len[0] = 1;
        driver *d = open_level(_i);
        flash_data *data = flash_data_create(&c);
        uint8_t *v = (uint8_t *)(uintptr_t)flash_data_cache(data, 1);
        for (uint32_t n = 0; n < 256; n++)
            v[flash_data_slot(&c, data, 0, 0, 1, 0) + n] = (uint8_t)n;
        ck_assert_int_eq(driver_run(d, &c, data, 1, NULL), ATTN_OK);
        for (uint32_t n = 0; n < 256; n++) {
            const uint8_t code[4] = {(uint8_t)n};
            const float want = cpu_get(cpu_type_of(kv[i]), code, 0);
            const float got = ((const float *)flash_data_out(data))[n];
            ck_assert_msg(isnan(want) ? isnan(got) : got == want,
                          "%s code %02x: %g, not %g", cpu_isa_name((cpu_isa)_i),
                          n, (double)got, (double)want);
        }
        flash_data_free(data);
        driver_close(d);
    }
}
END_TEST

int
main(void)
{
    const int levels = (int)cpu_isa_best() + 1;
    TCase *t = tcase_create("levels");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, features_f32, 0, levels);
    tcase_add_loop_test(t, features_f16, 0, levels);
    tcase_add_loop_test(t, features_bf16, 0, levels);
    tcase_add_loop_test(t, mixed_types, 0, levels);
    tcase_add_loop_test(t, head_dims, 0, levels);
    tcase_add_loop_test(t, block_sizes, 0, levels);
    tcase_add_loop_test(t, long_rows, 0, levels);
    tcase_add_loop_test(t, far_positions, 0, levels);
    tcase_add_loop_test(t, short_f32, 0, levels);
    tcase_add_loop_test(t, poison, 0, levels);
    tcase_add_loop_test(t, streams, 0, levels);
    tcase_add_loop_test(t, invariance, 0, levels);
    tcase_add_loop_test(t, fp8_through_kernels, 0, levels);
    tcase_add_loop_test(t, fp8_codes, 0, 2);
    tcase_add_test(t, update);
    return unit_run_case("flash.cpu", t);
}
