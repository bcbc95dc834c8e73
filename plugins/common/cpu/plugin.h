/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.h - what every plugin for the CPU has alike: one device without state, an option for the
 * instruction-set level, and the words of a refusal. */
#ifndef CPU_PLUGIN_H
#define CPU_PLUGIN_H

#include "common/cpu/isa.h"
#include <attn/plugin.h>

/* "isa": a name of CPU_ISA_CHOICES; default auto. */
extern const attn_option cpu_option_isa;

/* [main] The level that "isa" among these options names; without it the best of this CPU.
 * ATTN_E_ARG: no such level; ATTN_E_UNSUPPORTED: more than this CPU runs. */
attn_status cpu_read_isa(const attn_key_value *values, uint32_t num, cpu_isa *isa, attn_error *err);

/* [any] The number that `key` among these options has, which the host has held to its range;
 * without it `otherwise`. */
uint32_t cpu_read_u32(const attn_key_value *values, uint32_t num, const char *key,
                      uint32_t otherwise);

/* [any] The same for a text, which lives as long as the options. */
const char *cpu_read_text(const attn_key_value *values, uint32_t num, const char *key,
                          const char *otherwise);

/* Members of the plugin's table. Nothing is allocated. */
attn_status cpu_open(attn_device device, attn_ctx **ctx, attn_error *err);
void cpu_close(attn_ctx *ctx);
void cpu_shutdown(void);
const void *cpu_get_extension(const char *id);

/* [any] One reason for each of num values that its claim does not hold for. */
void cpu_check_dims(const attn_dim_claim *claims, size_t num, const uint32_t *value,
                    attn_reasons *reasons);

/* [any] A reason unless t is f32, f16, bf16 or, with fp8, e4m3fn or e5m2. */
void cpu_check_type(const char *name, attn_dtype t, int fp8, attn_reasons *reasons);

/* The table of a plugin and its entry: backends and options are arrays. */
#define CPU_PLUGIN(ID, NAMES, BACKENDS, OPTIONS, INIT)         \
    ATTN_PLUGIN_NOTE(ID, ATTN_PACKAGE_VERSION, "cpu", NAMES)   \
    static const attn_plugin plugin_table = {                  \
        .struct_size = sizeof(attn_plugin),                    \
        .id = ID,                                              \
        .version = ATTN_PACKAGE_VERSION,                       \
        .vendor = "libattn",                                   \
        .url = "",                                             \
        .license = "Apache-2.0",                               \
        .backends = BACKENDS,                                  \
        .options = OPTIONS,                                    \
        .num_backends = sizeof(BACKENDS) / sizeof *(BACKENDS), \
        .num_options = sizeof(OPTIONS) / sizeof *(OPTIONS),    \
        .get_extension = cpu_get_extension,                    \
        .init = INIT,                                          \
        .shutdown = cpu_shutdown,                              \
        .open = cpu_open,                                      \
        .close = cpu_close,                                    \
    };                                                         \
    ATTN_PLUGIN_ENTRY(plugin_table)

#endif
