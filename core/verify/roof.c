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
best(worker *w, uint32_t n, const attn_roof_loop *loop, double seconds)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++) {
        w[i].loop = loop;
        w[i].seconds = seconds / REPEATS;
    }
    for (int i = 0; i < REPEATS; i++) {
        const double rate = together(w, n);
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

static size_t
enough_bytes(void)
{
    const size_t n = 4 * attn_roof_cache();
    return n > LEAST_BYTES ? n : LEAST_BYTES;
}

attn_status
attn_roof_measure(uint32_t num_threads, double seconds, attn_roof *roof,
                  attn_error *err)
{
    const uint32_t n = num_threads ? num_threads : 1;
    const size_t part = enough_bytes() / n / STRIDE * STRIDE + STRIDE;
    const attn_roof_loop f32 = attn_roof_f32(), f64 = attn_roof_f64(),
                         bf16 = attn_roof_bf16();
    if (roof->struct_size < offsetof(attn_roof, f64_flops))
        return attn_error_set(err, ATTN_E_ARG, "roof.struct_size",
                              "struct_size %u: at least %zu", roof->struct_size,
                              offsetof(attn_roof, f64_flops));
    worker *w = calloc(n, sizeof *w);
    uint8_t *data = w ? mmap(NULL, part * n, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                      : MAP_FAILED;
    if (data == MAP_FAILED) {
        free(w);
        return attn_error_nomem(err, "roof", part * n);
    }
    madvise(data, part * n, MADV_HUGEPAGE);
    memset(data, 1, part * n);
    for (uint32_t i = 0; i < n; i++) {
        w[i].data = data + i * part;
        w[i].bytes = part;
    }
    seconds = seconds > 0 ? seconds : DEFAULT_SECONDS;
    attn_roof r = {.struct_size = sizeof r,
                   .num_threads = n,
                   .f32_kind = f32.kind,
                   .bf16_kind = bf16.kind ? bf16.kind : "f32"};
    r.read_bytes = best(w, n, NULL, seconds);
    r.f32_flops = best(w, n, &f32, seconds);
    r.f64_flops = best(w, n, &f64, seconds);
    r.bf16_flops = bf16.kind ? best(w, n, &bf16, seconds) : r.f32_flops;
    munmap(data, part * n);
    free(w);
    if (r.read_bytes <= 0)
        return attn_error_set(err, ATTN_E_NOMEM, "roof",
                              "could not start %u threads", n);
    if (roof->struct_size < sizeof r)
        r.struct_size = roof->struct_size;
    memcpy(roof, &r, r.struct_size);
    return ATTN_OK;
}
