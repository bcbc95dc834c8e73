/* SPDX-License-Identifier: Apache-2.0 */
/* wgmma_cuda.h - the warpgroup product for each number of columns the kernels use. */
#ifndef ATTN_GPU_WGMMA_CUDA_H
#define ATTN_GPU_WGMMA_CUDA_H

#include "common/gpu/types.h"

namespace gpu
{

/* Operand numbers and constraints, eight registers at a time. */
#define WG_N0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WG_N1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define WG_N2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define WG_N3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define WG_N4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define WG_N5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define WG_N6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define WG_N7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define WG_N8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define WG_N9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define WG_N10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define WG_N11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define WG_N12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define WG_N13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define WG_N14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define WG_N15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define WG_R8(d, i)                                                                             \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define WG_R32(d, i) WG_R8(d, i), WG_R8(d, i + 8), WG_R8(d, i + 16), WG_R8(d, i + 24)
#define WG_N32 WG_N0 ", " WG_N1 ", " WG_N2 ", " WG_N3
#define WG_N64 WG_N32 ", " WG_N4 ", " WG_N5 ", " WG_N6 ", " WG_N7
#define WG_N96 WG_N64 ", " WG_N8 ", " WG_N9 ", " WG_N10 ", " WG_N11
#define WG_N128 WG_N96 ", " WG_N12 ", " WG_N13 ", " WG_N14 ", " WG_N15
#define WG_R64(d, i) WG_R32(d, i), WG_R32(d, i + 32)
#define WG_R96(d, i) WG_R64(d, i), WG_R32(d, i + 64)
#define WG_R128(d, i) WG_R64(d, i), WG_R64(d, i + 64)

template <class T, int N, bool TransB> struct Wgmma;

/* p0: number of the first operand after the M accumulators; p1.. follow it. */
#define WG_SS(type, n, m, p0, p1, p2, p3)                                                     \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #p2 ", 0;\n"                              \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" WG_N##m \
                 "}, %" #p0 ", %" #p1 ", p, 1, 1, 0, %" #p3 "; }"                             \
                 : WG_R##m(acc, 0)                                                            \
                 : "l"(a), "l"(b), "r"(int(add)), "n"(int(TransB)))
#define WG_RS(type, n, m, p0, p1, p2, p3, p4, p5, p6)                                          \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #p5 ", 0;\n"                               \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" WG_N##m  \
                 "}, {%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4 ", p, 1, 1, %" #p6 "; }" \
                 : WG_R##m(acc, 0)                                                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)),          \
                   "n"(int(TransB)))

#define WG_DEFINE(n, m, p0, p1, p2, p3, p4, p5, p6)                                          \
    template <class T, bool TransB> struct Wgmma<T, n, TransB> {                             \
        static GPU_FN void ss(float (&acc)[m], uint64_t a, uint64_t b, bool add)             \
        {                                                                                    \
            if constexpr (Element<T>::is_bf16)                                               \
                WG_SS("bf16", n, m, p0, p1, p2, p3);                                         \
            else                                                                             \
                WG_SS("f16", n, m, p0, p1, p2, p3);                                          \
        }                                                                                    \
        static GPU_FN void rs(float (&acc)[m], const uint32_t (&a)[4], uint64_t b, bool add) \
        {                                                                                    \
            if constexpr (Element<T>::is_bf16)                                               \
                WG_RS("bf16", n, m, p0, p1, p2, p3, p4, p5, p6);                             \
            else                                                                             \
                WG_RS("f16", n, m, p0, p1, p2, p3, p4, p5, p6);                              \
        }                                                                                    \
    };

WG_DEFINE(64, 32, 32, 33, 34, 35, 36, 37, 38)
WG_DEFINE(128, 64, 64, 65, 66, 67, 68, 69, 70)
WG_DEFINE(192, 96, 96, 97, 98, 99, 100, 101, 102)
WG_DEFINE(256, 128, 128, 129, 130, 131, 132, 133, 134)

} // namespace gpu

#endif /* ATTN_GPU_WGMMA_CUDA_H */
