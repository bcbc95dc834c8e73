/* SPDX-License-Identifier: Apache-2.0 */
#include "mamba/cpu/mamba.h"

#include "common/cpu/plugin.h"

cpu_isa mamba_isa;
const attn_host *mamba_host;

static const attn_option *const options[] = {&cpu_option_isa};

static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t num, attn_error *err)
{
    const attn_status status = cpu_read_isa(values, num, &mamba_isa, err);
    if (status == ATTN_OK)
        mamba_host = host;
    return status;
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

CPU_PLUGIN("org.libattn.mamba-cpu", "mamba.cpu mamba1.cpu", backends, options, init)
