/* SPDX-License-Identifier: Apache-2.0 */
/* state_harness.h - runs calls of the MLA and Mamba families on a plugin,
 * through the contract of plugin.h alone. */
#ifndef TEST_STATE_HARNESS_H
#define TEST_STATE_HARNESS_H

#include <attn/executor.h>
#include <attn/verify.h>

typedef struct harness {
    const attn_plugin *plugin;
    const attn_backend *backend;
    attn_executor *executor;
    attn_host host;
    attn_ctx *ctx;
    uint32_t threads;
    double build_us, forward_us; /* of the last run */
    uint32_t repeats;            /* forwards timed; 0: one */
    uint32_t block_pad;          /* elements between blocks of the MLA cache */
} harness;

/* Loads build/.libs/FILE, initialises it with isa (and key = value when key
 * is not NULL). 0 when this machine lacks the level. */
int harness_open(harness *h, const char *file, const char *backend,
                 uint32_t threads, const char *isa, const char *key,
                 const char *value);
void harness_close(harness *h);

/* Runs the call; fails the test on any refusal. Caches and states are copied
 * from the call. The caller frees the result. */
attn_call *harness_run(harness *h, const attn_call *call);

/* The first byte where two results differ, or NULL. */
const char *harness_differ(const attn_call *a, const attn_call *b);

#endif
