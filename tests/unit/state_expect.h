/* SPDX-License-Identifier: Apache-2.0 */
/* state_expect.h - problems of the MLA and Mamba families, held to the rule
 * on every level of a plugin, beside one reference a problem: that costs far
 * more than a run. */
#ifndef TEST_STATE_EXPECT_H
#define TEST_STATE_EXPECT_H

#include "state_harness.h"

#define STATE_LEVELS 4
extern const char *const state_levels[STATE_LEVELS]; /* generic first */

/* Where problems run. */
typedef struct expectation {
    const char *file, *backend;
    const char *key;           /* an option, or NULL */
    const char *const *values; /* each in turn on every level; ends with NULL */
    uint32_t rows;             /* checked of each request; 0: all */
    uint32_t block_pad;        /* as harness.block_pad */
} expectation;

/* A problem of this layer with the requests of a batch specification; the
 * caller frees it. Fails the test when there is none. */
attn_call *state_call(const attn_layer *l, const char *spec, uint64_t seed,
                      uint32_t flags);

/* One of the recorded calls, as it stands; NULL where they are absent. */
attn_call *state_recorded(const char *name);

/* Fails the test unless every run is within the rule; `what` begins the
 * message. expect_right makes the call, and frees it. */
void expect_call(const expectation *e, const attn_call *call, const char *what);
void expect_right(const expectation *e, const attn_layer *l, const char *spec,
                  uint64_t seed, uint32_t flags, const char *what);

/* Fails the test unless 1 to 4 threads of this level give the same bits. */
void expect_invariant(const expectation *e, const char *level,
                      const attn_layer *l, const char *spec, uint64_t seed);

#endif
