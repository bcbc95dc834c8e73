/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cpu/plugin.h"

#include "common/cpu/number.h"
#include <stdio.h>
#include <stdlib.h>

struct attn_ctx {
    attn_device device;
};

const attn_option cpu_option_isa = {
    .struct_size = sizeof(attn_option),
    .type = ATTN_OPTION_CHOICE,
    .name = "isa",
    .value = "auto",
    .choices = CPU_ISA_CHOICES,
    .help = "highest instruction set to use; auto: what the CPU has",
};

/* The last value of this name, or NULL. */
static const char *
value_of(const attn_key_value *values, uint32_t num, const char *key)
{
    const char *value = NULL;
    for (uint32_t i = 0; i < num; i++)
        if (!strcmp(values[i].key, key))
            value = values[i].value;
    return value;
}

attn_status
cpu_read_isa(const attn_key_value *values, uint32_t num, cpu_isa *isa, attn_error *err)
{
    const char *value = value_of(values, num, "isa");
    const cpu_isa best = cpu_isa_best();
    cpu_isa named = best;
    char text[128];
    if (value && cpu_isa_parse(value, &named)) {
        snprintf(text, sizeof text, "isa %.40s: one of " CPU_ISA_CHOICES, value);
        return attn_fail(err, ATTN_E_ARG, "option.isa", text);
    }
    if (named > best) {
        snprintf(text, sizeof text, "isa %s: this CPU runs up to %s", value, cpu_isa_name(best));
        return attn_fail(err, ATTN_E_UNSUPPORTED, "option.isa", text);
    }
    *isa = named;
    return ATTN_OK;
}

const char *
cpu_read_text(const attn_key_value *values, uint32_t num, const char *key, const char *otherwise)
{
    const char *value = value_of(values, num, key);
    return value ? value : otherwise;
}

uint32_t
cpu_read_u32(const attn_key_value *values, uint32_t num, const char *key, uint32_t otherwise)
{
    const char *value = value_of(values, num, key);
    return value ? (uint32_t)strtoul(value, NULL, 10) : otherwise;
}

attn_status
cpu_open(attn_device device, attn_ctx **ctx, attn_error *err)
{
    static attn_ctx the_ctx;
    if (device.type != ATTN_DEVICE_CPU)
        return attn_fail(err, ATTN_E_NO_DEVICE, "device", "not a CPU");
    *ctx = &the_ctx;
    return ATTN_OK;
}

void
cpu_close(attn_ctx *ctx)
{
    (void)ctx;
}

void
cpu_shutdown(void)
{
}

const void *
cpu_get_extension(const char *id)
{
    (void)id;
    return NULL;
}

void
cpu_check_dims(const attn_dim_claim *claims, size_t num, const uint32_t *value,
               attn_reasons *reasons)
{
    char text[96];
    for (size_t i = 0; i < num; i++) {
        const attn_range r = claims[i].range;
        if (value[i] >= r.lo && value[i] <= r.hi && (value[i] - r.lo) % r.step == 0)
            continue;
        snprintf(text, sizeof text, "%s %u: supports %u to %u in steps of %u", claims[i].name,
                 value[i], r.lo, r.hi, r.step);
        attn_reason_add(reasons, text);
    }
}

void
cpu_check_type(const char *name, attn_dtype t, int fp8, attn_reasons *reasons)
{
    char text[96];
    const cpu_type type = cpu_type_of(t);
    if (type <= CPU_BF16 || (fp8 && type != CPU_NONE))
        return;
    snprintf(text, sizeof text, "%s code %u of %u bits: supports f32, f16, bf16%s", name, t.code,
             t.bits, fp8 ? ", e4m3, e5m2" : "");
    attn_reason_add(reasons, text);
}
