/* SPDX-License-Identifier: Apache-2.0 */
/* isa.h - instruction-set levels of the CPU kernels and which one to use. */
#ifndef CPU_ISA_H
#define CPU_ISA_H

#ifdef __cplusplus
extern "C" {
#endif

/* Each level includes the ones before it. GENERIC is plain C for whatever the compiler targets. */
typedef enum cpu_isa {
    CPU_ISA_GENERIC,
    CPU_ISA_AVX2,       /* AVX2, FMA, F16C */
    CPU_ISA_AVX512,     /* AVX-512 F, BW, DQ, VL */
    CPU_ISA_AVX512BF16, /* and vdpbf16ps */
    CPU_ISA_AVX512VBMI, /* and vpermi2b */
    CPU_ISA_AMX,        /* and AMX tiles with tdpbf16ps, granted by the kernel */
    CPU_ISA_COUNT
} cpu_isa;

/* For the choices of an option: every name that cpu_isa_parse takes. */
#define CPU_ISA_CHOICES "auto|generic|avx2|avx512|avx512bf16|avx512vbmi|amx"

/* [any] The highest level this process can run. Asks the kernel for AMX state the first time. */
cpu_isa cpu_isa_best(void);

/* [any] 1 on a processor of AMD's. */
int cpu_is_amd(void);

/* [any] "generic", "avx2", ... */
const char *cpu_isa_name(cpu_isa isa);

/* [any] Name to level; "auto" gives the best. 0, or -1 for an unknown name or NULL. A level the CPU
 * lacks is returned all the same: compare with cpu_isa_best. */
int cpu_isa_parse(const char *name, cpu_isa *isa);

#ifdef __cplusplus
}
#endif

#endif
