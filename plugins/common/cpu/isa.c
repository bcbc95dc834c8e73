/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cpu/isa.h"

#include <string.h>

static const char *const names[CPU_ISA_COUNT] = {"generic",    "avx2",       "avx512",
                                                 "avx512bf16", "avx512vbmi", "amx"};

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define XCR0_AVX 0x06u
#define XCR0_AVX512 0xe6u
#define XCR0_AMX 0x60000u
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static unsigned
read_xcr0(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static int
has(unsigned reg, unsigned bits)
{
    return (reg & bits) == bits;
}

static int
amx_granted(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static cpu_isa
detect(void)
{
    unsigned a, b, c, d, b7, c7, d7, a71;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C))
        return CPU_ISA_GENERIC;
    const unsigned xcr0 = read_xcr0();
    if (!has(xcr0, XCR0_AVX) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || !has(b7, bit_AVX2))
        return CPU_ISA_GENERIC;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (!has(xcr0, XCR0_AVX512) || !has(b7, avx512))
        return CPU_ISA_AVX2;
    if (!__get_cpuid_count(7, 1, &a71, &b, &c, &d) || !has(a71, 1u << 5))
        return CPU_ISA_AVX512;
    if (!has(c7, bit_AVX512VBMI))
        return CPU_ISA_AVX512BF16;
    const unsigned amx = (1u << 22) | (1u << 24);
    if (!has(xcr0, XCR0_AMX) || !has(d7, amx) || !amx_granted())
        return CPU_ISA_AVX512VBMI;
    return CPU_ISA_AMX;
}

int
cpu_is_amd(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx;
}
#else
static cpu_isa
detect(void)
{
    return CPU_ISA_GENERIC;
}

int
cpu_is_amd(void)
{
    return 0;
}
#endif

cpu_isa
cpu_isa_best(void)
{
    static int known;
    int level = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!level) {
        level = 1 + (int)detect();
        __atomic_store_n(&known, level, __ATOMIC_RELAXED);
    }
    return (cpu_isa)(level - 1);
}

const char *
cpu_isa_name(cpu_isa isa)
{
    return isa < CPU_ISA_COUNT ? names[isa] : "unknown";
}

int
cpu_isa_parse(const char *name, cpu_isa *isa)
{
    if (!name)
        return -1;
    if (!strcmp(name, "auto")) {
        *isa = cpu_isa_best();
        return 0;
    }
    for (int i = 0; i < CPU_ISA_COUNT; i++)
        if (!strcmp(name, names[i])) {
            *isa = (cpu_isa)i;
            return 0;
        }
    return -1;
}
