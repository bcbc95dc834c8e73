/* SPDX-License-Identifier: Apache-2.0 */
/* bench_steps.h - the transforms as things to time. */
#ifndef BENCH_STEPS_H
#define BENCH_STEPS_H

#include "batch_make.h"

/* A batch, and room for the result of every transform of it. */
typedef struct bench_steps {
    batch_made made;
    attn_batch_room room;
    void *memory;
    uint32_t list_capacity;
    int32_t *lists[3];  /* [list_capacity] */
    uint32_t *order;    /* [tokens] */
    int32_t *positions; /* [reqs] */
    int32_t *zeros;     /* [reqs] */
    attn_context_piece *pieces;
    attn_context_chunk *chunks;
} bench_steps;

typedef struct bench_step {
    const char *name;
    attn_status (*run)(bench_steps *s, attn_error *err);
} bench_step;

extern const bench_step bench_step_list[];
extern const size_t bench_num_steps;

/* CLI_OK, or an exit code after the message. Freed in either case. */
int bench_steps_make(const char *spec, uint32_t block_size, bench_steps *s);
void bench_steps_free(bench_steps *s);

#endif /* BENCH_STEPS_H */
