/* SPDX-License-Identifier: Apache-2.0 */
/* verify/derive.h - calls made from a call: other batch mates, another order,
 * other places of the pages. */
#ifndef ATTN_VERIFY_DERIVE_H
#define ATTN_VERIFY_DERIVE_H

#include "verify/problem.h"

/* Which requests, in which order, and where their pages (states) go: old
 * block b becomes place[b] (NULL: stays). */
typedef struct attn_derivation {
    const uint32_t *order;
    uint32_t count;
    const uint32_t *place;
} attn_derivation;

/* [any] Expected tensors and padding tokens are left out. The caller frees
 * *call. */
attn_status attn_call_derive(const attn_problem *p, const attn_derivation *d,
                             attn_call **call, attn_error *err);

/* [any] 1 when each request of the derived call's result has the same bits as
 * in the original's: rows of out and lse, and the states it owns. Otherwise
 * *request is the first (an index into order) and *what the tensor. */
int attn_call_same(const attn_problem *p, const attn_derivation *d,
                   const attn_call *original, const attn_call *derived,
                   uint32_t *request, const char **what);

#endif
