/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"

#include "common/cpu/plugin.h"

mla_options mla_opts;

static const attn_option opt_expand = {
    .struct_size = sizeof(attn_option),
    .type = ATTN_OPTION_INT,
    .name = "expand_from",
    .value = "0",
    .lo = 0,
    .hi = 1 << 30,
    .help = "query length from which keys are multiplied out; 0: by count of multiplications, "
            "short requests in f64 where rounding counts",
};

static const attn_option *const options[] = {&cpu_option_isa, &opt_expand};

static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t num, attn_error *err)
{
    cpu_isa isa;
    const attn_status status = cpu_read_isa(values, num, &isa, err);
    if (status == ATTN_OK)
        mla_opts = (mla_options){
            .isa = isa, .expand_from = cpu_read_u32(values, num, "expand_from", 0), .host = host};
    return status;
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

CPU_PLUGIN("org.libattn.mla-cpu", "mla.cpu", backends, options, init)
