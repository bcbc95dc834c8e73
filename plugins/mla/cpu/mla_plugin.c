/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"
#include <stdlib.h>

#ifndef ATTN_PACKAGE_VERSION
#define ATTN_PACKAGE_VERSION "0.1.0"
#endif

ATTN_PLUGIN_NOTE("org.libattn.mla-cpu", ATTN_PACKAGE_VERSION, "cpu", "mla.cpu")

mla_options mla_opts;

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

static const attn_option opt_expand = {
    .struct_size = sizeof(attn_option),
    .type = ATTN_OPTION_INT,
    .name = "expand_from",
    .value = "0",
    .lo = 0,
    .hi = 1 << 30,
    .help = "query length from which keys are multiplied out; 0: by count of multiplications, "
            "short f32 requests in f64",
};

static const attn_option *const options[] = {&opt_isa, &opt_expand};

static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t num, attn_error *err)
{
    mla_options o = {.isa = gemm_isa_detect(), .host = host};
    for (uint32_t i = 0; i < num; i++) {
        attn_status status = ATTN_OK;
        if (strcmp(values[i].key, "isa") == 0)
            status = gemm_isa_choose(values[i].value, &o.isa, err);
        else if (strcmp(values[i].key, "expand_from") == 0)
            o.expand_from = (uint32_t)strtoul(values[i].value, NULL, 10);
        if (status != ATTN_OK)
            return status;
    }
    mla_opts = o;
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
    .check = mla_check,
    .kv_spec = mla_kv_spec,
    .builder_create = mla_builder_create,
    .workspace = mla_workspace,
    .bind = mla_bind,
    .layer_bytes = mla_layer_bytes,
    .layer_prepare = mla_layer_prepare,
    .build = mla_build,
    .update_cache = mla_update_cache,
    .forward = mla_forward,
    .builder_destroy = mla_builder_destroy,
};

static const attn_caps *const caps[] = {&mla_caps};

static const attn_backend backend = {
    .struct_size = sizeof(attn_backend),
    .device_type = ATTN_DEVICE_CPU,
    .name = "mla.cpu",
    .summary = "multi-head latent attention: absorbed decode, expanded prefill",
    .family = ATTN_FAMILY_MLA,
    .op = &op,
    .caps = caps,
    .num_caps = 1,
};

static const attn_backend *const backends[] = {&backend};

static const attn_plugin plugin = {
    .struct_size = sizeof(attn_plugin),
    .id = "org.libattn.mla-cpu",
    .version = ATTN_PACKAGE_VERSION,
    .vendor = "libattn",
    .url = "",
    .license = "Apache-2.0",
    .backends = backends,
    .options = options,
    .num_backends = 1,
    .num_options = sizeof options / sizeof *options,
    .get_extension = get_extension,
    .init = init,
    .shutdown = shutdown_plugin,
    .open = open_device,
    .close = close_device,
};

ATTN_PLUGIN_ENTRY(plugin)
