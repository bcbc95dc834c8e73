/* SPDX-License-Identifier: Apache-2.0 */
/* flash_problem.h - a flash layer and a step on the device of gpu_plugin.h,
 * with the definition of its output.
 *
 * Poison: cache slots no sequence owns are NaN, table entries past a sequence
 * are 0x7FFFFFFF. */
#ifndef FLASH_PROBLEM_H
#define FLASH_PROBLEM_H

#include <attn/plugin.h>

#include "device_array.h"
#include "gpu_plugin.h"

#define PROBLEM_MAX_SEQ 1024
#define PROBLEM_MAX_DIM 256

typedef struct spec {
    const char *name;
    int reqs, q[4], s[4];
    int heads, kv_heads, d, dv, block;
    int bf16, kv; /* q is bf16, or f16; kv: 0 as q, 1 e4m3, 2 e5m2 */
    int causal, left, right;
    float softcap;
    int sinks, slopes, ranges, per_request, cross, odd;
} spec;

typedef struct problem {
    const spec *c;
    int tokens, cols, blocks, start[5];
    attn_flash_layer layer;
    array q, k, v, new_k, new_v, out, lse, qsl, lens, table, slots, causal,
        ranges, sinks, slopes, k_scale, v_scale;
} problem;

void problem_make(problem *p, const spec *c);
void problem_drop(problem *p);
/* out and lse on the device become NaN. */
void problem_poison_outputs(problem *p);

/* A layer for every problem; the caller drops it. */
void problem_layer_make(gpu_layer *n, const problem *p);
/* The calls on gpu.stream, as they return. */
attn_status problem_build(const problem *p, const gpu_layer *n);
attn_status problem_forward(problem *p, const gpu_layer *n);

/* One row in f64, from what the host's arrays hold: out[dv]; returns lse. */
double problem_reference(const problem *p, int r, int t, int h, double *out);

#endif
