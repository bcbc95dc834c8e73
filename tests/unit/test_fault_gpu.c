/* SPDX-License-Identifier: Apache-2.0 */
/* A fault of the device: told by the call that meets it, and by each one after
 * it; nothing ends, nothing hangs. Its own program, since the device's context
 * is lost. Takes the emulated plugin, or the one FLASH_TEST_PLUGIN names. */
#include <stdio.h>
#include <stdlib.h>

#include "flash_problem.h"
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
    attn_status status = problem_build(p, n);
    if (!status)
        status = problem_forward(p, n);
    if (!status)
        status = gpu.service->stream_synchronize(&gpu.stream, &gpu.err);
    return status;
}

START_TEST(a_fault_sticks)
{
    problem good, bad;
    gpu_layer n;
    problem_make(&good, &one_token);
    problem_make(&bad, &one_token);
    ((int32_t *)bad.table.host)[1] = 0x7FFFFFF0; /* no such page */
    array_upload(&bad.table);
    problem_layer_make(&n, &good);
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
