/* SPDX-License-Identifier: Apache-2.0 */
/* bench_flash_cpu - forward of flash.cpu as a share of the roofs of this
 * machine, measured in the same run. Not a test: `make
 * tests/unit/bench_flash_cpu` and run it on an idle machine. bench_flash_cpu
 * [isa [threads [filter [key=value...]]]] */
#include "flash_driver.h"

#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------- roofs */

#define ALL _Pragma("GCC unroll 32")

__attribute__((target("avx512f"))) static double
fma_rate(void)
{
    __m512 a[24];
    const __m512 x = _mm512_set1_ps(1e-9f), y = _mm512_set1_ps(0.5f);
    ALL for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps(1e-9f);
    const double start = now();
    for (int it = 0; it < 300000; it++) {
        ALL for (int i = 0; i < 24; i++) a[i] = _mm512_fmadd_ps(x, y, a[i]);
        ALL for (int i = 0; i < 24; i++) __asm__("" : "+v"(a[i]));
    }
    const double spent = now() - start;
    float s = 0;
    ALL for (int i = 0; i < 24; i++) s += _mm512_reduce_add_ps(a[i]);
    return s == 1 ? 0 : 300000.0 * 24 * 32 / spent;
}

__attribute__((target("avx512f,avx512bf16"))) static double
bf16_rate(void)
{
    __m512 a[24];
    const __m512bh x = (__m512bh)_mm512_set1_epi32(0x30003000);
    const __m512bh y = (__m512bh)_mm512_set1_epi32(0x3f003f00);
    ALL for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps(1e-9f);
    const double start = now();
    for (int it = 0; it < 300000; it++) {
        ALL for (int i = 0; i < 24; i++) a[i] = _mm512_dpbf16_ps(a[i], x, y);
        ALL for (int i = 0; i < 24; i++) __asm__("" : "+v"(a[i]));
    }
    const double spent = now() - start;
    float s = 0;
    ALL for (int i = 0; i < 24; i++) s += _mm512_reduce_add_ps(a[i]);
    return s == 1 ? 0 : 300000.0 * 24 * 64 / spent;
}

#define READ_BYTES ((size_t)192 << 20)
static char *memory;

typedef struct roof {
    int kind;
    uint32_t part, parts;
    double rate;
} roof;

__attribute__((target("avx512f"))) static double
read_rate(uint32_t part, uint32_t parts)
{
    const size_t n = READ_BYTES / parts / 4096 * 4096;
    const char *p = memory + n * part;
    __m512i s[8];
    ALL for (int j = 0; j < 8; j++) s[j] = _mm512_setzero_si512();
    const double start = now();
    for (size_t i = 0; i < n; i += 512) {
        _mm_prefetch(p + i + 1024, _MM_HINT_T0);
        ALL for (int j = 0; j < 8; j++) s[j] =
            _mm512_add_epi64(s[j], _mm512_loadu_si512(p + i + j * 64));
    }
    const double spent = now() - start;
    ALL for (int j = 1; j < 8; j++) s[0] = _mm512_add_epi64(s[0], s[j]);
    return _mm512_reduce_add_epi64(s[0]) == 1 ? 0 : (double)n / spent;
}

static void *
measure(void *p)
{
    roof *r = p;
    r->rate = r->kind == 0   ? fma_rate()
              : r->kind == 1 ? bf16_rate()
                             : read_rate(r->part, r->parts);
    return NULL;
}

static double
roof_of(int kind, uint32_t threads)
{
    double best = 0;
    for (int n = 0; n < 12; n++) {
        pthread_t t[8];
        roof r[8];
        double sum = 0;
        for (uint32_t i = 0; i < threads; i++) {
            r[i] = (roof){kind, i, threads, 0};
            pthread_create(&t[i], NULL, measure, &r[i]);
        }
        for (uint32_t i = 0; i < threads; i++) {
            pthread_join(t[i], NULL);
            sum += r[i].rate;
        }
        best = sum > best ? sum : best;
    }
    return best;
}

/* ------------------------------------------------------------------- cases */

typedef struct row {
    const char *name;
    int type; /* 0 f32, 1 bf16, 2 f16, 3 bf16 with e4m3 cache */
    uint32_t heads, kv_heads, dim, query, keys, token_major;
} row;

static const row rows[] = {
    {"prefill 2k d128", 1, 32, 8, 128, 2048, 2048, 0},
    {"prefill 4k d128", 1, 32, 8, 128, 4096, 4096, 0},
    {"prefill 2k d64", 1, 32, 8, 64, 2048, 2048, 0},
    {"prefill 2k d256", 1, 32, 8, 256, 2048, 2048, 0},
    {"prefill 2k d128 mha", 1, 32, 32, 128, 2048, 2048, 0},
    {"prefill 2k d128", 0, 32, 8, 128, 2048, 2048, 0},
    {"prefill 4k d128", 0, 32, 8, 128, 4096, 4096, 0},
    {"prefill 2k d64", 0, 32, 8, 64, 2048, 2048, 0},
    {"prefill 2k d256", 0, 32, 8, 256, 2048, 2048, 0},
    {"prefill 2k d128", 2, 32, 8, 128, 2048, 2048, 0},
    {"prefill 2k d128", 3, 32, 8, 128, 2048, 2048, 0},
    {"decode 16k d128", 1, 32, 8, 128, 1, 16384, 0},
    {"decode 16k d128 nhd", 1, 32, 8, 128, 1, 16384, 1},
    {"decode 16k d64", 1, 32, 8, 64, 1, 16384, 0},
    {"decode 16k d256", 1, 32, 8, 256, 1, 16384, 0},
    {"decode 16k d128 mha", 1, 32, 32, 128, 1, 8192, 0},
    {"decode 16k d128", 0, 32, 8, 128, 1, 16384, 0},
    {"decode 16k d64", 0, 32, 8, 64, 1, 16384, 0},
    {"decode 16k d256", 0, 32, 8, 256, 1, 16384, 0},
    {"decode 16k d128", 2, 32, 8, 128, 1, 16384, 0},
    {"decode 16k d128", 3, 32, 8, 128, 1, 16384, 0},
    {"cached d128", 1, 4, 1, 128, 1, 512, 0},
    {"cached d64", 1, 4, 1, 64, 1, 512, 0},
    {"cached d256", 1, 4, 1, 256, 1, 256, 0},
    {"cached d128 mha", 1, 1, 1, 128, 1, 512, 0},
    {"cached d128", 0, 4, 1, 128, 1, 256, 0},
    {"cached d64", 0, 4, 1, 64, 1, 512, 0},
    {"cached d256", 0, 4, 1, 256, 1, 128, 0},
    {"cached d128", 2, 4, 1, 128, 1, 512, 0},
    {"cached d128", 3, 4, 1, 128, 1, 512, 0},
};

static const char *const type_names[] = {"f32", "bf16", "f16", "e4m3"};

static void
bench(driver *d, const row *r, uint32_t threads, const double *roofs)
{
    static const attn_dtype q[] = {ATTN_F32, ATTN_BF16, ATTN_F16, ATTN_BF16};
    static const attn_dtype kv[] = {ATTN_F32, ATTN_BF16, ATTN_F16, ATTN_E4M3};
    const flash_case c = {.heads = r->heads,
                          .kv_heads = r->kv_heads,
                          .dim = r->dim,
                          .dim_v = r->dim,
                          .block_size = 64,
                          .q_type = q[r->type],
                          .kv_type = kv[r->type],
                          .out_type = q[r->type],
                          .window_left = -1,
                          .window_right = -1,
                          .causal = 1,
                          .token_major = (int)r->token_major,
                          .threads = threads,
                          .num_reqs = 1,
                          .query_len = {r->query},
                          .seq_len = {r->keys}};
    flash_data *data = flash_data_create(&c);
    double seconds = 0;
    const int compute = r->query > 1;
    if (driver_run(d, &c, data,
                   compute          ? 3
                   : r->keys < 1024 ? 300
                                    : 12,
                   &seconds))
        exit(1);
    const double pairs =
        compute ? (double)r->query * (r->query + 1) / 2 : r->keys;
    const double flops = 4.0 * r->dim * r->heads * pairs;
    const double bytes =
        2.0 * r->dim * r->kv_heads * r->keys * c.kv_type.bits / 8;
    const double limit =
        compute ? roofs[r->type == 1 || r->type == 3] : roofs[2];
    const double rate = (compute ? flops : bytes) / seconds;
    printf("%-20s %-5s %u threads %9.3f ms %7.1f %s %5.1f %%\n", r->name,
           type_names[r->type], threads, seconds * 1e3, rate * 1e-9,
           compute ? "GF/s" : "GB/s", 100 * rate / limit);
    fflush(stdout);
    flash_data_free(data);
}

int
main(int argc, char **argv)
{
    const uint32_t threads = argc > 2 ? (uint32_t)atoi(argv[2]) : 1;
    attn_key_value options[8] = {{"isa", argc > 1 ? argv[1] : "auto"}};
    uint32_t n = 1;
    for (int i = 4; i < argc && n < 8; i++) {
        char *value = strchr(argv[i], '=');
        *value = 0;
        options[n++] = (attn_key_value){argv[i], value + 1};
    }
    driver *d = driver_open(options, n);
    if (!d)
        return 1;
    memory = aligned_alloc((size_t)2 << 20, READ_BYTES);
    madvise(memory, READ_BYTES, MADV_HUGEPAGE);
    memset(memory, 1, READ_BYTES);
    const double roofs[3] = {roof_of(0, threads), roof_of(1, threads),
                             roof_of(2, threads)};
    printf("roofs: f32 %.1f, bf16 %.1f GF/s, read %.1f GB/s\n", roofs[0] * 1e-9,
           roofs[1] * 1e-9, roofs[2] * 1e-9);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", rows[i].name,
                 type_names[rows[i].type]);
        if (argc <= 3 || strstr(name, argv[3]))
            bench(d, &rows[i], threads, roofs);
    }
    driver_close(d);
    return 0;
}
