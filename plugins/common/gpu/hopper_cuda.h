/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_cuda.h - the words of hopper.h as instructions of sm_90a. Declared for every architecture;
 * a kernel may call them only where GPU_HOPPER is defined. */
#ifndef ATTN_GPU_HOPPER_CUDA_H
#define ATTN_GPU_HOPPER_CUDA_H

#include "common/gpu/tensor_map.h"
#include "common/gpu/tile_cuda.h"
#include "common/gpu/wgmma_cuda.h"

namespace gpu
{

GPU_FN void
mbar_init(uint32_t a, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(window(a)), "r"(count) : "memory");
}
GPU_FN void
mbar_fence()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
GPU_FN void
mbar_expect(uint32_t a, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(window(a)),
                 "r"(bytes)
                 : "memory");
}
GPU_FN void
mbar_arrive(uint32_t a)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(window(a)) : "memory");
}
GPU_FN void
mbar_wait(uint32_t a, int parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra over;\n"
                 "bra again;\n"
                 "over:\n"
                 "}" ::"r"(window(a)),
                 "r"(parity)
                 : "memory");
}

template <int D>
GPU_FN void
tma_load(uint32_t to, const TensorMap *map, uint32_t bar, const int (&c)[D])
{
    static_assert(D >= 3 && D <= 5, "boxes of three to five dimensions");
    if constexpr (D == 3)
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::"
                     "bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(window(to)),
                     "l"(map), "r"(window(bar)), "r"(c[0]), "r"(c[1]), "r"(c[2])
                     : "memory");
    else if constexpr (D == 4)
        asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::"
                     "bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(window(to)),
                     "l"(map), "r"(window(bar)), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3])
                     : "memory");
    else
        asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::"
                     "bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(window(to)),
                     "l"(map), "r"(window(bar)), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]),
                     "r"(c[4])
                     : "memory");
}
GPU_FN void
tma_prefetch(const TensorMap *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
GPU_FN void
proxy_fence()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

template <int N>
GPU_FN void
regs_give()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
GPU_FN void
regs_take()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

GPU_FN uint32_t
desc_low(uint32_t a, uint32_t slab)
{
    uint32_t low = slab >> 4 << 16 | (window(a) >> 4 & 0x3FFFu);
    asm volatile("" : "+r"(low));
    return low;
}

GPU_FN void
wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
GPU_FN void
wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* acc: the sums that this wait makes readable; tied, so that no read moves before it. */
template <int Pending, int M>
GPU_FN void
wgmma_wait(float (&acc)[M])
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
    GPU_UNROLL
    for (int i = 0; i < M; i++)
        asm volatile("" : "+f"(acc[i])::"memory");
}

} // namespace gpu

#endif /* ATTN_GPU_HOPPER_CUDA_H */
