/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/process.h - what a plugin must leave alone while it is loaded. */
#ifndef ATTN_PLUGIN_PROCESS_H
#define ATTN_PLUGIN_PROCESS_H

#include <signal.h>
#include <sys/resource.h>

#include <attn/types.h>

#define ATTN_PROCESS_SIGNALS 64
#define ATTN_PROCESS_FDS 3

typedef struct attn_process_state {
    unsigned threads;
    unsigned umask;
    unsigned float_mode;
    unsigned stack_executable;
    unsigned open_fds; /* bit per standard descriptor */
    uint64_t environment;
    char directory[1024];
    char locale[256];
    struct rlimit limits[RLIM_NLIMITS];
    struct sigaction handlers[ATTN_PROCESS_SIGNALS + 1];
} attn_process_state;

/* [main] */
void attn_process_look(attn_process_state *state);

/* [main] ATTN_E_REFUSED names the first thing that differs: threads, the
 * floating-point mode, a signal handler, the working directory, umask,
 * locale, environment, a resource limit, a closed standard descriptor, an
 * executable stack. */
attn_status attn_process_compare(const attn_process_state *before,
                                 const attn_process_state *after,
                                 const char *when, attn_error *err);

#endif /* ATTN_PLUGIN_PROCESS_H */
