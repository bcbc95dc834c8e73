/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "verify/roof.h"

#define REPEATS 3
#define DEFAULT_SECONDS 0.15
#define ROUNDS 20000u /* between two looks at the clock */
#define LEAST_BYTES (256u << 20)
#define DEFAULT_CACHE ((size_t)32 << 20)
#define STRIDE (1u << 20) /* bytes read between two looks at the clock */

/* One thread's share of a measurement. */
typedef struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    const attn_roof_loop *loop; /* NULL: read */
    const uint8_t *data;
    size_t bytes;
    double seconds, rate;
    uint64_t seen;
} worker;

struct attn_roof_reader {
    worker *workers;
    uint32_t num_threads;
    uint8_t *data;
    size_t bytes;
};

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double
one_round(worker *w, size_t *at)
{
    if (w->loop) {
        w->loop->run(ROUNDS);
        return ROUNDS * w->loop->per_round;
    }
    const size_t n = w->bytes < STRIDE ? w->bytes : STRIDE;
    if (*at + n > w->bytes)
        *at = 0;
    w->seen += attn_roof_read(w->data + *at, n);
    *at += n;
    return (double)n;
}

static void *
work(void *arg)
{
    worker *w = arg;
    size_t at = 0;
    double done = 0, t, start;
    one_round(w, &at);
    pthread_barrier_wait(w->start);
    start = now();
    do
        done += one_round(w, &at);
    while ((t = now() - start) < w->seconds);
    w->rate = done / t;
    return NULL;
}

/* The sum of all threads' rates; 0 when no thread could be started. */
static double
together(worker *w, uint32_t n)
{
    pthread_barrier_t start;
    double rate = 0;
    uint32_t started = 0;
    pthread_barrier_init(&start, NULL, n);
    for (uint32_t i = 0; i < n; i++)
        w[i].start = &start;
    while (started + 1 < n &&
           !pthread_create(&w[started + 1].thread, NULL, work, &w[started + 1]))
        started++;
    if (started + 1 == n)
        work(&w[0]);
    for (uint32_t i = 1; i <= started; i++) {
        if (started + 1 < n)
            pthread_cancel(w[i].thread);
        pthread_join(w[i].thread, NULL);
    }
    for (uint32_t i = 0; started + 1 == n && i < n; i++)
        rate += w[i].rate;
    pthread_barrier_destroy(&start);
    return rate;
}

static double
rate_of(attn_roof_reader *r, const attn_roof_loop *loop, double seconds)
{
    for (uint32_t i = 0; i < r->num_threads; i++) {
        r->workers[i].loop = loop;
        r->workers[i].seconds = seconds;
    }
    return together(r->workers, r->num_threads);
}

static double
best(attn_roof_reader *r, const attn_roof_loop *loop, double seconds)
{
    double most = 0;
    for (int i = 0; i < REPEATS; i++) {
        const double rate = rate_of(r, loop, seconds / REPEATS);
        most = rate > most ? rate : most;
    }
    return most;
}

/* sysconf adds up the caches of a whole package, whatever share of its cores
 * this (virtual) machine has; sysfs tells of the one beside a core. */
size_t
attn_roof_cache(void)
{
    static const char path[] = "/sys/devices/system/cpu/cpu0/cache/index3/size";
    unsigned long kib = 0;
    FILE *f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%luK", &kib) != 1)
            kib = 0;
        fclose(f);
    }
    if (kib)
        return (size_t)kib << 10;
    const long n = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return n > 0 ? (size_t)n : DEFAULT_CACHE;
}

size_t
attn_roof_cold(void)
{
    const size_t n = 4 * attn_roof_cache();
    return n > LEAST_BYTES ? n : LEAST_BYTES;
}

attn_status
attn_roof_reader_create(uint32_t n, attn_roof_reader **reader, attn_error *err)
{
    const size_t part = attn_roof_cold() / n / STRIDE * STRIDE + STRIDE;
    attn_roof_reader *r = calloc(1, sizeof *r);
    worker *w = calloc(n, sizeof *w);
    uint8_t *data = r && w ? mmap(NULL, part * n, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                           : MAP_FAILED;
    if (data == MAP_FAILED) {
        free(w);
        free(r);
        return attn_error_nomem(err, "roof", part * n);
    }
    madvise(data, part * n, MADV_HUGEPAGE);
    memset(data, 1, part * n);
    for (uint32_t i = 0; i < n; i++) {
        w[i].data = data + i * part;
        w[i].bytes = part;
    }
    *r = (attn_roof_reader){
        .workers = w, .num_threads = n, .data = data, .bytes = part * n};
    *reader = r;
    return ATTN_OK;
}

void
attn_roof_reader_destroy(attn_roof_reader *reader)
{
    if (!reader)
        return;
    munmap(reader->data, reader->bytes);
    free(reader->workers);
    free(reader);
}

double
attn_roof_reader_rate(attn_roof_reader *reader, double seconds)
{
    return rate_of(reader, NULL, seconds);
}

attn_status
attn_roof_measure(uint32_t num_threads, double seconds, attn_roof *roof,
                  attn_error *err)
{
    const uint32_t n = num_threads ? num_threads : 1;
    const attn_roof_loop f32 = attn_roof_f32(), f64 = attn_roof_f64(),
                         bf16 = attn_roof_bf16();
    attn_roof_reader *reader = NULL;
    if (roof->struct_size < offsetof(attn_roof, f64_flops))
        return attn_error_set(err, ATTN_E_ARG, "roof.struct_size",
                              "struct_size %u: at least %zu", roof->struct_size,
                              offsetof(attn_roof, f64_flops));
    const attn_status s = attn_roof_reader_create(n, &reader, err);
    if (s)
        return s;
    seconds = seconds > 0 ? seconds : DEFAULT_SECONDS;
    attn_roof r = {.num_threads = n,
                   .f32_kind = f32.kind,
                   .bf16_kind = bf16.kind ? bf16.kind : "f32"};
    r.read_bytes = best(reader, NULL, seconds);
    r.f32_flops = best(reader, &f32, seconds);
    r.f64_flops = best(reader, &f64, seconds);
    r.bf16_flops = bf16.kind ? best(reader, &bf16, seconds) : r.f32_flops;
    attn_roof_reader_destroy(reader);
    if (r.read_bytes <= 0)
        return attn_error_set(err, ATTN_E_NOMEM, "roof",
                              "could not start %u threads", n);
    attn_give(roof, roof->struct_size, &r, sizeof r);
    return ATTN_OK;
}
