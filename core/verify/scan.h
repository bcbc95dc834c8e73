/* SPDX-License-Identifier: Apache-2.0 */
/* verify/scan.h - the recurrence of one unit: a head of Mamba-2 (rows P) or a
 * channel of Mamba-1 (rows 1). */
#ifndef ATTN_VERIFY_SCAN_H
#define ATTN_VERIFY_SCAN_H

#include "verify/number.h"

/* Inputs after the convolution, one request. The f-named ones are what the
 * plain implementation sees. */
typedef struct attn_unit {
    size_t rows, states, tokens; /* P, N, q */
    double *x, *b, *c;           /* [q, P], [q, N], [q, N] */
    float *xf, *bf, *cf;
    double *dt; /* [q] after bias and softplus */
    float *dtf;
    double *a; /* [N] */
    double d;
    double *z; /* [q, P] or NULL */
    double *h; /* [P, N] the running state */
    float *hf;
    double *y, *yf;    /* [q, P] results, before rounding to the output */
    float *chunk;      /* scratch: [2, chunk_size] */
    double *in, *taps; /* scratch of the convolution: [q + width], [width] */
    uint32_t loaded_request, loaded_group; /* of b and c; request + 1 */
    attn_operand kind;
    size_t chunk_size; /* 0: plain is sequential too */
} attn_unit;

/* [any] Tokens from..to-1, exactly. */
void attn_scan_exact(attn_unit *u, size_t from, size_t to);

/* [any] The same by the plain implementation: sequential, or in chunks with
 * rounded matrices. */
void attn_scan_plain(attn_unit *u, size_t from, size_t to, int chunked);

#endif
