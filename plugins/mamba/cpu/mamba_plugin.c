/* SPDX-License-Identifier: Apache-2.0 */
#include "mamba/cpu/mamba.h"

#ifndef ATTN_PACKAGE_VERSION
#define ATTN_PACKAGE_VERSION "0.1.0"
#endif

ATTN_PLUGIN_NOTE("org.libattn.mamba-cpu", ATTN_PACKAGE_VERSION, "cpu", "mamba.cpu mamba1.cpu")

gemm_isa mamba_isa;
const attn_host *mamba_host;

struct attn_ctx {
    attn_device device;
};

static attn_ctx the_ctx;

static const attn_option opt_isa = {
    .struct_size = sizeof(attn_option),
    .type = ATTN_OPTION_CHOICE,
    .name = "isa",
    .value = "auto",
    .choices = GEMM_ISA_CHOICES,
    .help = "highest instruction set to use; auto: what the CPU has",
};

static const attn_option *const options[] = {&opt_isa};

static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t num, attn_error *err)
{
    gemm_isa isa = gemm_isa_detect();
    for (uint32_t i = 0; i < num; i++) {
        if (strcmp(values[i].key, "isa") != 0)
            continue;
        const attn_status status = gemm_isa_choose(values[i].value, &isa, err);
        if (status != ATTN_OK)
            return status;
    }
    mamba_isa = isa;
    mamba_host = host;
    return ATTN_OK;
}

static void
shutdown_plugin(void)
{
}

static attn_status
open_device(attn_device device, attn_ctx **ctx, attn_error *err)
{
    if (device.type != ATTN_DEVICE_CPU)
        return attn_fail(err, ATTN_E_NO_DEVICE, "device", "not a CPU");
    the_ctx.device = device;
    *ctx = &the_ctx;
    return ATTN_OK;
}

static void
close_device(attn_ctx *ctx)
{
    (void)ctx;
}

static const void *
get_extension(const char *id)
{
    (void)id;
    return NULL;
}

static const attn_op op = {
    .struct_size = sizeof(attn_op),
    .check = mamba_check,
    .builder_create = mamba_builder_create,
    .workspace = mamba_workspace,
    .bind = mamba_bind,
    .layer_bytes = mamba_layer_bytes,
    .layer_prepare = mamba_layer_prepare,
    .build = mamba_build,
    .forward = mamba_forward,
    .builder_destroy = mamba_builder_destroy,
};

static const attn_caps *const caps2[] = {&mamba2_caps}, *const caps1[] = {&mamba1_caps};

static const attn_backend mamba2 = {
    .struct_size = sizeof(attn_backend),
    .device_type = ATTN_DEVICE_CPU,
    .name = "mamba.cpu",
    .summary = "Mamba-2: chunked scan for prefill, streaming state update for decode",
    .family = ATTN_FAMILY_MAMBA2,
    .op = &op,
    .caps = caps2,
    .num_caps = 1,
};

static const attn_backend mamba1 = {
    .struct_size = sizeof(attn_backend),
    .device_type = ATTN_DEVICE_CPU,
    .name = "mamba1.cpu",
    .summary = "Mamba-1: selective scan, lanes across channels",
    .family = ATTN_FAMILY_MAMBA1,
    .op = &op,
    .caps = caps1,
    .num_caps = 1,
};

static const attn_backend *const backends[] = {&mamba2, &mamba1};

static const attn_plugin plugin = {
    .struct_size = sizeof(attn_plugin),
    .id = "org.libattn.mamba-cpu",
    .version = ATTN_PACKAGE_VERSION,
    .vendor = "libattn",
    .url = "",
    .license = "Apache-2.0",
    .backends = backends,
    .options = options,
    .num_backends = 2,
    .num_options = sizeof options / sizeof *options,
    .get_extension = get_extension,
    .init = init,
    .shutdown = shutdown_plugin,
    .open = open_device,
    .close = close_device,
};

ATTN_PLUGIN_ENTRY(plugin)
