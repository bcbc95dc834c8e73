/* SPDX-License-Identifier: Apache-2.0 */
#include "mamba/cpu/mamba.h"

#include "common/cpu/plugin.h"

static const char *const archs[] = {"*"};

static const attn_dim_claim dims2[] = {
    {"num_heads", {1, 4096, 1}, 0}, {"num_groups", {1, 4096, 1}, 0},
    {"head_dim", {16, 256, 16}, 0}, {"state_dim", {16, 256, 16}, 0},
    {"conv_width", {2, 8, 1}, 0},   {"chunk_size", {1, 1 << 20, 1}, 0},
};

static const attn_dim_claim dims1[] = {
    {"num_channels", {16, 1 << 20, 16}, 0},
    {"state_dim", {1, 256, 1}, 0},
    {"conv_width", {2, 8, 1}, 0},
};

static const attn_dtype_claim dtypes[] = {
    {"x_dtype", ATTN_F32, 0},          {"x_dtype", ATTN_F16, 0},
    {"x_dtype", ATTN_BF16, 0},         {"conv_state_dtype", ATTN_F32, 0},
    {"conv_state_dtype", ATTN_F16, 0}, {"conv_state_dtype", ATTN_BF16, 0},
    {"ssm_state_dtype", ATTN_F32, 0},  {"ssm_state_dtype", ATTN_F16, 0},
    {"ssm_state_dtype", ATTN_BF16, 0}, {"out_dtype", ATTN_F32, 0},
    {"out_dtype", ATTN_F16, 0},        {"out_dtype", ATTN_BF16, 0},
};

#define CAPS(list)                                                                                 \
    {                                                                                              \
        .struct_size = sizeof(attn_caps), .capture = ATTN_CAPTURE_NEVER,                           \
        .features = ATTN_F_GATE | ATTN_F_DRAFTS | ATTN_F_CHECKPOINTS,                              \
        .properties = ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT, .archs = archs, .dims = list, \
        .dtypes = dtypes, .num_archs = sizeof archs / sizeof *archs,                               \
        .num_dims = sizeof list / sizeof *list, .num_dtypes = sizeof dtypes / sizeof *dtypes,      \
    }

const attn_caps mamba2_caps = CAPS(dims2);
const attn_caps mamba1_caps = CAPS(dims1);

static void
check_activation(uint32_t activation, attn_reasons *reasons)
{
    char text[64];
    if (activation <= ATTN_ACTIVATION_SILU)
        return;
    snprintf(text, sizeof text, "activation %u: supports 0 (none), 1 (silu)", activation);
    attn_reason_add(reasons, text);
}

static void
check_mamba2(const attn_mamba2_layer *l, attn_reasons *reasons)
{
    const uint32_t value[] = {l->num_heads, l->num_groups, l->head_dim,
                              l->state_dim, l->conv_width, l->chunk_size};
    char text[96];
    cpu_check_dims(dims2, sizeof dims2 / sizeof *dims2, value, reasons);
    if (l->num_groups && l->num_heads % l->num_groups) {
        snprintf(text, sizeof text, "num_groups %u: must divide num_heads %u", l->num_groups,
                 l->num_heads);
        attn_reason_add(reasons, text);
    }
    cpu_check_type("x_dtype", l->x_dtype, 0, reasons);
    cpu_check_type("conv_state_dtype", l->conv_state_dtype, 0, reasons);
    cpu_check_type("ssm_state_dtype", l->ssm_state_dtype, 0, reasons);
    cpu_check_type("out_dtype", l->out_dtype, 0, reasons);
    check_activation(l->activation, reasons);
}

static void
check_mamba1(const attn_mamba1_layer *l, attn_reasons *reasons)
{
    const uint32_t value[] = {l->num_channels, l->state_dim, l->conv_width};
    cpu_check_dims(dims1, sizeof dims1 / sizeof *dims1, value, reasons);
    cpu_check_type("x_dtype", l->x_dtype, 0, reasons);
    cpu_check_type("conv_state_dtype", l->conv_state_dtype, 0, reasons);
    cpu_check_type("ssm_state_dtype", l->ssm_state_dtype, 0, reasons);
    cpu_check_type("out_dtype", l->out_dtype, 0, reasons);
    check_activation(l->activation, reasons);
}

attn_status
mamba_check(const attn_backend *self, const char *arch, const attn_layer *layer,
            attn_reasons *reasons)
{
    (void)arch;
    const int one = strcmp(self->family, ATTN_FAMILY_MAMBA1) == 0;
    const size_t size = one ? sizeof(attn_mamba1_layer) : sizeof(attn_mamba2_layer);
    attn_reasons none = {.struct_size = sizeof none};
    char text[96];
    if (!reasons)
        reasons = &none;
    const uint32_t before = reasons->count;
    if (layer->struct_size < size) {
        snprintf(text, sizeof text, "layer.struct_size %u: this family's has %zu",
                 layer->struct_size, size);
        attn_reason_add(reasons, text);
    } else if (one)
        check_mamba1((const attn_mamba1_layer *)layer, reasons);
    else
        check_mamba2((const attn_mamba2_layer *)layer, reasons);
    return reasons->count == before ? ATTN_OK : ATTN_E_UNSUPPORTED;
}
