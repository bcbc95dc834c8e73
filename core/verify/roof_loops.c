/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/roof.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REPEAT16(x)                                                           \
    x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) \
        x(14) x(15)
#define REPEAT12(x) \
    x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11)

#define CLOBBER(n) "xmm" #n
#define FMA512(n) "vfmadd231ps %%zmm16, %%zmm17, %%zmm" #n "\n\t"
#define FMA512D(n) "vfmadd231pd %%zmm16, %%zmm17, %%zmm" #n "\n\t"
#define DOT512(n) "vdpbf16ps %%zmm16, %%zmm17, %%zmm" #n "\n\t"
#define ZERO512(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define FMA256(n) "vfmadd231ps %%ymm12, %%ymm13, %%ymm" #n "\n\t"
#define FMA256D(n) "vfmadd231pd %%ymm12, %%ymm13, %%ymm" #n "\n\t"
#define ZERO256(n) "vxorps %%ymm" #n ", %%ymm" #n ", %%ymm" #n "\n\t"

/* Sixteen (twelve) sums, enough to hide the latency of one operation. */
#define LOOP512(name, OP)                                                   \
    __attribute__((target("avx512f"))) static void name(uint64_t rounds)    \
    {                                                                       \
        __asm__ volatile(REPEAT16(ZERO512) ZERO512(16)                      \
                             ZERO512(17) "1:\n\t" REPEAT16(OP) "dec %0\n\t" \
                                                               "jnz 1b\n\t" \
                         : "+r"(rounds)                                     \
                         :                                                  \
                         : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",    \
                           "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                           "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",     \
                           "xmm16", "xmm17");                               \
    }
#define LOOP256(name, OP)                                                   \
    __attribute__((target("avx2,fma"))) static void name(uint64_t rounds)   \
    {                                                                       \
        __asm__ volatile(REPEAT12(ZERO256) ZERO256(12)                      \
                             ZERO256(13) "1:\n\t" REPEAT12(OP) "dec %0\n\t" \
                                                               "jnz 1b\n\t" \
                         : "+r"(rounds)                                     \
                         :                                                  \
                         : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",    \
                           "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                           "xmm11", "xmm12", "xmm13");                      \
    }

LOOP512(fma512, FMA512)
LOOP512(fma512d, FMA512D)
LOOP512(dot512, DOT512)
LOOP256(fma256, FMA256)
LOOP256(fma256d, FMA256D)

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static int
amx_allowed(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & (1u << 22)) ||
        !(d & (1u << 24)))
        return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) ==
           0;
}

/* Four accumulators of 16 x 16, operands of 16 x 32 bf16. */
static void
amx(uint64_t rounds)
{
    uint8_t config[64] = {1};
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    __asm__ volatile("ldtilecfg %1\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\t"
                     "tilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\t"
                     "tilezero %%tmm6\n\ttilezero %%tmm7\n\t"
                     "1:\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
                     "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
                     "dec %0\n\tjnz 1b\n\t"
                     "tilerelease\n\t"
                     : "+r"(rounds)
                     : "m"(config)
                     : "cc", "memory");
}

__attribute__((target("avx512f"))) static uint64_t
read512(const void *data, size_t bytes)
{
    const uint8_t *p = data, *end = p + bytes;
    uint64_t sum;
    __asm__ volatile(
        ZERO512(0) ZERO512(1) ZERO512(2)
            ZERO512(3) "1:\n\t"
                       "prefetcht0 1024(%1)\n\tprefetcht0 1088(%1)\n\t"
                       "prefetcht0 1152(%1)\n\tprefetcht0 1216(%1)\n\t"
                       "vpaddq (%1), %%zmm0, %%zmm0\n\t"
                       "vpaddq 64(%1), %%zmm1, %%zmm1\n\t"
                       "vpaddq 128(%1), %%zmm2, %%zmm2\n\t"
                       "vpaddq 192(%1), %%zmm3, %%zmm3\n\t"
                       "add $256, %1\n\tcmp %2, %1\n\tjb 1b\n\t"
                       "vpaddq %%zmm1, %%zmm0, %%zmm0\n\tvpaddq %%zmm2, "
                       "%%zmm0, %%zmm0\n\t"
                       "vpaddq %%zmm3, %%zmm0, %%zmm0\n\tvmovq %%xmm0, %0\n\t"
        : "=r"(sum), "+r"(p)
        : "r"(end)
        : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3");
    return sum;
}
#endif

typedef float lane4 __attribute__((vector_size(16)));

static void
generic(uint64_t rounds)
{
    lane4 acc[8];
    volatile float seed = 0;
    const lane4 x = {seed, seed, seed, seed};
    memset(acc, 0, sizeof acc);
    for (; rounds; rounds--)
        for (int i = 0; i < 8; i++)
            acc[i] = acc[i] * x + x;
    for (int i = 0; i < 8; i++)
        seed = acc[i][0];
}

typedef double lane2 __attribute__((vector_size(16)));

static void
generic64(uint64_t rounds)
{
    lane2 acc[8];
    volatile double seed = 0;
    const lane2 x = {seed, seed};
    memset(acc, 0, sizeof acc);
    for (; rounds; rounds--)
        for (int i = 0; i < 8; i++)
            acc[i] = acc[i] * x + x;
    for (int i = 0; i < 8; i++)
        seed = acc[i][0];
}

attn_roof_loop
attn_roof_f32(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return (attn_roof_loop){"avx512", fma512, 16 * 16 * 2};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (attn_roof_loop){"avx2", fma256, 12 * 8 * 2};
#endif
    return (attn_roof_loop){"generic", generic, 8 * 4 * 2};
}

attn_roof_loop
attn_roof_f64(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return (attn_roof_loop){"avx512", fma512d, 16 * 8 * 2};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (attn_roof_loop){"avx2", fma256d, 12 * 4 * 2};
#endif
    return (attn_roof_loop){"generic", generic64, 8 * 2 * 2};
}

attn_roof_loop
attn_roof_bf16(void)
{
#if defined(__x86_64__)
    if (amx_allowed())
        return (attn_roof_loop){"amx", amx, 4 * 16 * 16 * 32 * 2};
    if (__builtin_cpu_supports("avx512bf16"))
        return (attn_roof_loop){"avx512bf16", dot512, 16 * 32 * 2};
#endif
    return (attn_roof_loop){0};
}

uint64_t
attn_roof_read(const void *data, size_t bytes)
{
    const uint64_t *p = data;
    uint64_t a = 0, b = 0, c = 0, d = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return read512(data, bytes);
#endif
    for (size_t i = 0; i < bytes / 8; i += 4) {
        a += p[i];
        b += p[i + 1];
        c += p[i + 2];
        d += p[i + 3];
    }
    return a + b + c + d;
}
