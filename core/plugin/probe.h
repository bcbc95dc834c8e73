/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/probe.h - loading a plugin in a child process first.
 *
 * The child is attn-probe. It reports with messages of one size on a pipe;
 * silence, a crash, a time-out, or anything else on the pipe is a refusal. */
#ifndef ATTN_PLUGIN_PROBE_H
#define ATTN_PLUGIN_PROBE_H

#include <attn/types.h>

#include "plugin/file.h"

/* How far the child is; what a crash is blamed on. */
#define ATTN_PROBE_LOADING 0u
#define ATTN_PROBE_SHAKING 1u
#define ATTN_PROBE_INIT 2u
#define ATTN_PROBE_DONE 3u

#define ATTN_PROBE_MAGIC 0x50545441u /* "ATTP" */
#define ATTN_PROBE_FD 3

/* One message, at most PIPE_BUF bytes. The last has phase DONE and the
 * verdict in error.status. */
typedef struct attn_probe_message {
    uint32_t magic;
    uint32_t phase;
    uint64_t nonce;   /* of this probe: stray bytes are no report */
    uint64_t harmful; /* 1: the plugin disturbed the process */
    attn_error error;
} attn_probe_message;

typedef struct attn_probe_params {
    uint32_t limit_ms; /* tried once more with five times this */
    uint32_t reserved;
    const char *label; /* before the child's output in the log */
} attn_probe_params;

/* [any] ATTN_OK: loads, shakes hands, tables good, init and shutdown harmless.
 * ATTN_E_NO_DEVICE: its driver is absent. ATTN_E_REFUSED: refused, with
 * *harmful 1 when it crashed, hung, ended or disturbed the child, and 0 for all
 * else, a file or memory that went away included: only harm is worth
 * remembering. The last attempt decides. ATTN_E_IO: attn-probe is not there or
 * cannot run. */
attn_status attn_probe_run(const attn_file *file,
                           const attn_probe_params *params, uint32_t *harmful,
                           attn_error *err);

/* [main] For tests: overrides limit_ms; 0: none. */
void attn_probe_set_limit(uint32_t limit_ms);

#endif /* ATTN_PLUGIN_PROBE_H */
