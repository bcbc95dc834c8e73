/* SPDX-License-Identifier: Apache-2.0 */
/* A backend on a machine with two GPUs, emulated: each runs, on its streams. */
#include <attn/verify.h>

#include <unistd.h>

#include "unit_config.h"

static attn_error err;

static attn_call *
make_case(void)
{
    static const attn_spec_request requests[] = {
        {.query_len = 1, .seq_len = 20}, {.query_len = 5, .seq_len = 9}};
    attn_any_layer l;
    attn_call *call;
    attn_layer_init(attn_family_find("flash"), &l);
    l.flash.num_heads = 2;
    l.flash.head_dim = 64;
    l.flash.block_size = 16;
    l.head.features = ATTN_F_SINKS | ATTN_F_LSE;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    const attn_case_params params = {.struct_size = sizeof params,
                                     .num_reqs = 2,
                                     .layer = &l.head,
                                     .requests = requests,
                                     .seed = 5,
                                     .flags = ATTN_CASE_NEW_TOKENS};
    ck_assert_good(attn_case_make(&params, &call, &err), err);
    return call;
}

static void
run_on(attn_registry *registry, const attn_entry *entry, uint32_t flags)
{
    const attn_run_params params = {.struct_size = sizeof params,
                                    .flags = flags};
    attn_call *call = make_case(), *result;
    attn_reference *reference;
    uint32_t pass;
    ck_assert_good(attn_call_run(registry, entry, call, &params, &result, &err),
                   err);
    ck_assert_good(attn_reference_create(call, 0, 0, &reference, &err), err);
    ck_assert_good(attn_compare(reference, result, NULL, &pass, &err), err);
    ck_assert_uint_eq(pass, 1);
    attn_reference_free(reference);
    attn_call_free(result);
    attn_call_free(call);
}

START_TEST(both_devices_run)
{
    attn_config *config;
    setenv("EMU_DEVICES", "2", 1);
    attn_registry *registry =
        unit_registry_of("attn_flash_cuda_emu.so", &config);
    ck_assert_uint_eq(attn_registry_count(registry), 2);
    for (uint32_t i = 0; i < 2; i++) {
        const attn_entry *e = attn_registry_at(registry, i);
        ck_assert_msg(e->state == ATTN_STATE_READY, "%s", e->reason);
        ck_assert_str_eq(e->name, "flash.cuda-emu");
        ck_assert_int_eq(e->device_id, (int32_t)i);
        ck_assert_ptr_nonnull(strstr(e->device, i ? " #1" : " #0"));
        run_on(registry, e, 0);
        run_on(registry, e, ATTN_RUN_CAPTURE);
    }
    attn_registry_close(registry);
    attn_config_free(config);
}
END_TEST

UNIT_MAIN("two_gpus", 300, both_devices_run)
