/* SPDX-License-Identifier: Apache-2.0 */
/* bench.h - the pieces of `attnctl bench`. */
#ifndef BENCH_H
#define BENCH_H

#include "host.h"
#include "output.h"
#include <attn/verify.h>

/* One cell of the grid: a problem on a backend. */
typedef struct bench_cell {
    const attn_entry *entry;
    attn_any_layer layer;
    const char *batch, *dtype; /* as given */
    attn_spec_request *requests;
    uint32_t num_reqs, threads, cache;
    const char *arithmetic; /* whose roof binds; NULL: the inputs' */
    uint32_t is_turned;     /* 1: the cache's blocks lie head by head */
    uint32_t use_graph;     /* 1: a launch of a graph is timed */
} bench_cell;

/* Roofs: measured here once per thread count, or given for a device. */
typedef struct bench_roofs {
    attn_roof *measured;
    size_t count;
    double flops; /* of a device, from --roof-flops; 0: unknown */
    double bytes; /* per second, from --roof-bytes, else measured */
    int asked;    /* 1: a device was measured */
} bench_roofs;

/* The roof that binds a problem of this cost. */
typedef struct bench_bound {
    const char *name; /* "compute", "bandwidth"; NULL: unknown */
    double value;     /* per second: operations or bytes */
    double seconds;   /* the least time */
} bench_bound;

/* Rates for a backend with so many threads; measures them the first time. */
int bench_roof(bench_roofs *roofs, const attn_entry *entry, uint32_t threads,
               attn_roof *roof);
/* The rate of copies on the entry's device, bytes read and written counted;
 * 0 when it cannot be measured. */
double bench_device_bytes(const attn_entry *entry);
/* type: of the arithmetic. warm: the caches fit a cache, so that only
 * arithmetic binds. */
bench_bound bench_bind(const attn_roof *roof, const attn_cost *cost,
                       const char *type, int warm);
json_t *bench_machine(const bench_roofs *roofs);
#define BENCH_LINE_BYTES 197 /* of a line of the configuration */
/* The model name of this machine's processor, or "unknown"; cut to what a
 * line of the configuration holds where size is BENCH_MACHINE_BYTES. */
#define BENCH_MACHINE_BYTES 100
void bench_processor(char *name, size_t size);
/* The roofs as lines for people. */
json_t *bench_measured(const bench_roofs *roofs);
void bench_roofs_free(bench_roofs *roofs);

/* The rows of an older --json output. CLI_CONFIG after the message when the
 * file is none. The caller releases *rows. */
int bench_load(const char *path, json_t **rows);
/* The row of the same backend, batch, dtype, threads, cache, layer,
 * layout and graph; NULL when there is none. Borrowed. */
json_t *bench_match(json_t *rows, json_t *row);

/* "32/8 d128": what tells this layer from its neighbours in a table. */
json_t *bench_shape(const attn_any_layer *layer);

/* A row of the output. */
json_t *bench_row(const bench_cell *c, const attn_bench_result *r,
                  const attn_roof *roof);

#endif /* BENCH_H */
