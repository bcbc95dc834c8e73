/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_isa.h - the levels kernels are compiled for, and which one runs. */
#ifndef ATTN_CPU_GEMM_ISA_H
#define ATTN_CPU_GEMM_ISA_H

#include <attn/plugin.h>
#include <stdio.h>
#include <string.h>

typedef enum gemm_isa { ISA_GENERIC, ISA_AVX2, ISA_AVX512, ISA_AVX512BF16, ISA_COUNT } gemm_isa;

#define GEMM_ISA_CHOICES "auto|generic|avx2|avx512|avx512bf16"

static const char *const gemm_isa_names[ISA_COUNT] = {"generic", "avx2", "avx512", "avx512bf16"};

/* The highest level this CPU (and system) can run. */
static inline gemm_isa
gemm_isa_detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return ISA_GENERIC;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return ISA_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? ISA_AVX512BF16 : ISA_AVX512;
#else
    return ISA_GENERIC;
#endif
}

/* The level an option names; "auto" is the highest. */
static inline attn_status
gemm_isa_choose(const char *text, gemm_isa *isa, attn_error *err)
{
    const gemm_isa best = gemm_isa_detect();
    char message[128];
    if (strcmp(text, "auto") == 0) {
        *isa = best;
        return ATTN_OK;
    }
    for (int i = 0; i < ISA_COUNT; i++) {
        if (strcmp(text, gemm_isa_names[i]) != 0)
            continue;
        if (i <= (int)best) {
            *isa = (gemm_isa)i;
            return ATTN_OK;
        }
        snprintf(message, sizeof message, "isa %s: this CPU runs up to %s", text,
                 gemm_isa_names[best]);
        return attn_fail(err, ATTN_E_UNSUPPORTED, "option.isa", message);
    }
    snprintf(message, sizeof message, "isa %.40s: one of " GEMM_ISA_CHOICES, text);
    return attn_fail(err, ATTN_E_ARG, "option.isa", message);
}

#endif /* ATTN_CPU_GEMM_ISA_H */
