/* SPDX-License-Identifier: Apache-2.0 */
/* bench_cell.h - one problem of `bench` and `tune`: its layer and its time. */
#ifndef BENCH_CELL_H
#define BENCH_CELL_H

#include "bench.h"
#include "layer.h"

typedef struct bench_how {
    double seconds; /* of measuring */
    uint64_t seed;
    int with_reads; /* 1: the rate of reads is wanted too, on a host */
} bench_how;

/* The layer of one cell of the grid; fields that have no axis come from args.
 * Where args name no field but the type, the layer of a known model of the
 * family. CLI_OK or CLI_USAGE after the message. */
int bench_cell_layer(const cli_args *args, const grid *g, size_t index,
                     const char *family, attn_any_layer *layer);

/* Pages as the backend prefers them, as an engine that asks it would make them:
 * of its size, unless the grid has one, and *is_turned 1 where it wants pages
 * of this size head by head. CLI_OK or a code after the message. */
int bench_cell_pages(const grid *g, const attn_entry *entry,
                     attn_any_layer *layer, uint32_t *is_turned);

/* Checks and times c on its backend. A wrong result is an error. */
attn_status bench_cell_time(attn_registry *registry, const bench_cell *c,
                            const bench_how *how, attn_bench_result *r,
                            attn_error *err);

#endif /* BENCH_CELL_H */
