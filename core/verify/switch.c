/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/error.h"
#include "verify/ladder.h"

static void
run_here(uint32_t tasks, uint32_t workers, attn_task task, void *arg,
         uint32_t step)
{
    uint32_t worker = 0;
    for (uint32_t i = 0; i < tasks; i++) {
        task(arg, i, worker);
        worker = (worker + step) % (workers ? workers : 1);
    }
}

static void
loop(void *arg, uint32_t tasks, uint32_t workers, attn_task task,
     void *task_arg)
{
    attn_switch *x = arg;
    if (x->mode == ATTN_LOOP_POOL)
        x->pool->parallel_for(x->pool->arg, tasks, workers, task, task_arg);
    else
        run_here(tasks, workers, task, task_arg,
                 x->mode == ATTN_LOOP_SHUFFLE ? 1 : 0);
}

attn_status
attn_switch_create(uint32_t num_threads, attn_switch **x, attn_error *err)
{
    attn_switch *made = calloc(1, sizeof *made);
    if (!made)
        return attn_error_nomem(err, "executor", sizeof *made);
    attn_status s = attn_executor_create(num_threads, &made->pool, err);
    if (s) {
        free(made);
        return s;
    }
    made->self =
        (attn_executor){sizeof made->self, made->pool->num_threads, made, loop};
    *x = made;
    return ATTN_OK;
}

void
attn_switch_destroy(attn_switch *x)
{
    if (!x)
        return;
    attn_executor_destroy(x->pool);
    free(x);
}
