/* SPDX-License-Identifier: Apache-2.0 */
/* A fault of the device: told by the call that meets it, and by each one after
 * it; nothing ends, nothing hangs. Its own program, since the device's context
 * is lost. Takes the emulated plugin, or the one FLASH_TEST_PLUGIN names. */
#include <stdio.h>
#include <stdlib.h>

#include "flash_problem.h"
#include "gpu_plugin.h"
#include "suite.h"

static const spec one_token = {.name = "fault",
                               .reqs = 1,
                               .q = {1},
                               .s = {40},
                               .heads = 2,
                               .kv_heads = 2,
                               .d = 64,
                               .dv = 64,
                               .block = 16,
                               .bf16 = 1,
                               .causal = 1,
                               .left = -1,
                               .right = -1};

/* build, forward and the wait for both; the first that does not go well. */
static attn_status
step(const gpu_layer *n, problem *p)
{
    const attn_batch batch = {.struct_size = sizeof batch,
                              .num_reqs = 1,
                              .num_tokens = 1,
                              .max_query_len = 1,
                              .max_seq_len = 40,
                              .query_start_loc_device = &p->qsl.t,
                              .seq_lens_device = &p->lens.t};
    const attn_kv_group group = {.struct_size = sizeof group,
                                 .block_size = 16,
                                 .num_blocks = (uint32_t)p->blocks,
                                 .block_table_cols = (uint32_t)p->cols,
                                 .block_table_stride = p->cols,
                                 .block_table_device = &p->table.t};
    const attn_flash_forward args = {.head = {sizeof args, 0},
                                     .stream = gpu.stream,
                                     .layer = n->prepared,
                                     .q = &p->q.t,
                                     .k_cache = &p->k.t,
                                     .v_cache = &p->v.t,
                                     .out = &p->out.t};
    attn_status status =
        gpu.op->build(n->builder, &batch, &group, &gpu.stream, &gpu.err);
    if (!status)
        status = gpu.op->forward(n->builder, &args.head, &gpu.err);
    if (!status)
        status = gpu.service->stream_synchronize(&gpu.stream, &gpu.err);
    return status;
}

START_TEST(a_fault_sticks)
{
    const attn_limits limits = {.struct_size = sizeof limits,
                                .max_reqs = 1,
                                .max_tokens = 1,
                                .max_query_len = 1,
                                .max_seq_len = 64,
                                .max_blocks_per_req = 4,
                                .num_threads = 1,
                                .steps_in_flight = 2};
    problem good, bad;
    gpu_layer n;
    problem_make(&good, &one_token);
    problem_make(&bad, &one_token);
    ((int32_t *)bad.table.host)[1] = 0x7FFFFFF0; /* no such page */
    array_upload(&bad.table);
    gpu_layer_make(&n, &good.layer.head, &limits, NULL);
    ck_assert_int_eq(step(&n, &good), ATTN_OK);
    ck_assert_int_eq(step(&n, &bad), ATTN_E_DEVICE);
    ck_assert_msg(*gpu.err.message, "the fault has no text");
    printf("%s: %s\n", gpu.err.where, gpu.err.message);
    for (int i = 0; i < 2; i++) { /* nothing wrong with the step now */
        gpu.err = (attn_error){.struct_size = sizeof gpu.err};
        ck_assert_int_eq(step(&n, &good), ATTN_E_DEVICE);
        ck_assert_msg(*gpu.err.message, "the fault is forgotten");
        printf("%s: %s\n", gpu.err.where, gpu.err.message);
    }
    gpu_layer_drop(&n);
    problem_drop(&bad);
    problem_drop(&good);
}
END_TEST

int
main(void)
{
    const char *named = getenv("FLASH_TEST_PLUGIN");
    const int opened = gpu_open(named ? named : "attn_flash_cuda_emu.so");
    if (opened != EXIT_SUCCESS)
        return opened;
    TCase *c = tcase_create("fault");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_fault_sticks);
    const int status = unit_run_as(CK_NOFORK, "a fault of the device", c);
    gpu_close();
    return status;
}
