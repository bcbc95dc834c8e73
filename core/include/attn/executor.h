/* SPDX-License-Identifier: Apache-2.0 */
/* attn/executor.h - who runs a backend's parallel loops.
 *
 * libattn brings a thread pool; an application that has one of its own gives
 * an attn_executor instead and no thread is started. */
#ifndef ATTN_EXECUTOR_H
#define ATTN_EXECUTOR_H

#include <attn/api.h>
#include <attn/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The application's own executor: the contract of attn_host.parallel_for.
 * Borrowed for the life of what it is given to. */
typedef struct attn_executor {
    uint32_t struct_size;
    uint32_t num_threads; /* workers it can offer, >= 1 */
    void *arg;
    void (*parallel_for)(void *arg, uint32_t num_tasks, uint32_t max_workers,
                         attn_task task, void *task_arg);
} attn_executor;

/* [any] A pool of num_threads (0: the CPUs this process may use); the calling
 * thread is one of them. The caller destroys it when nothing uses it. */
ATTN_API attn_status attn_executor_create(uint32_t num_threads,
                                          attn_executor **executor,
                                          attn_error *err);
ATTN_API void attn_executor_destroy(attn_executor *executor);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_EXECUTOR_H */
