/* SPDX-License-Identifier: Apache-2.0 */
/* verify/case.h - inside the generator. */
#ifndef ATTN_VERIFY_CASE_H
#define ATTN_VERIFY_CASE_H

#include <attn/verify.h>

#include "verify/support.h"

#define ATTN_POISON_BLOCK 0x7FFFFFFF
#define ATTN_CASE_PAD_TOKENS 3u
/* Inside the room: more spare blocks and columns than any other call of as
 * many tokens, so that another fits into its memory. */
#define ATTN_CASE_ROOMY (1u << 31)

/* A call that is being made. The first error stays in `status`. */
typedef struct attn_case {
    const attn_case_params *in;
    attn_call *call;
    attn_random rng;
    attn_status status;
    attn_error *err;
    uint32_t num_reqs, num_tokens; /* padding included */
    uint32_t real_tokens;
    int32_t *query_start_loc, *seq_lens; /* in the call */
} attn_case;

/* [any] Adds a tensor and returns its zeroed data, NULL after an error. */
void *attn_case_add(attn_case *c, const char *name, attn_dtype dtype,
                    uint32_t ndim, const int64_t *shape);
#define ATTN_CASE_ADD(c, name, dtype, ...)                            \
    attn_case_add(c, name, dtype,                                     \
                  sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), \
                  (const int64_t[]){__VA_ARGS__})

/* [any] n elements from `first` on: mean + deviation * normal, or NaN. */
void attn_case_fill(attn_case *c, const char *name, size_t first, size_t n,
                    double mean, double deviation);
void attn_case_poison(attn_case *c, const char *name, size_t first, size_t n);

/* [any] A random order of 0..n-1, which the caller frees; NULL after an
 * error. */
uint32_t *attn_case_shuffle(attn_case *c, uint32_t n, int in_order);

/* [any] ATTN_E_UNSUPPORTED with both sizes when a call and a backend's copy of
 * it take more than `memory` bytes. */
attn_status attn_case_check_room(const attn_case_params *in, double memory,
                                 attn_error *err);

/* [any] query_start_loc and seq_lens. */
void attn_case_lengths(attn_case *c);

/* [any] Block table, masks, caches of the softmax families. */
void attn_case_attention(attn_case *c);
/* [any] Both Mamba families. */
void attn_case_recurrent(attn_case *c);

#endif
