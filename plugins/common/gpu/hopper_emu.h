/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_emu.h - the words of hopper.h on the emulated machine. Products run at the wait, copies
 * arrive when nothing else can run: as late as the hardware may do either. */
#ifndef ATTN_GPU_HOPPER_EMU_H
#define ATTN_GPU_HOPPER_EMU_H

#include "common/gpu/tensor_map.h"
#include "common/gpu/tile_emu.h"

namespace gpu
{

inline void
mbar_init(uint32_t a, int count, Where w = EMU_HERE)
{
    emu::mbarrier_init(a, uint32_t(count), w);
}
inline void
mbar_fence()
{
}
inline void
mbar_expect(uint32_t a, int bytes, Where w = EMU_HERE)
{
    emu::mbarrier_expect(a, uint32_t(bytes), w);
}
inline void
mbar_arrive(uint32_t a, Where w = EMU_HERE)
{
    emu::mbarrier_arrive(a, w);
}
inline void
mbar_wait(uint32_t a, int parity, Where w = EMU_HERE)
{
    emu::mbarrier_wait(a, uint32_t(parity), w);
}
template <int D>
void
tma_load(uint32_t to, const TensorMap *map, uint32_t bar, const int (&c)[D], Where w = EMU_HERE)
{
    emu::TensorMap m;
    __builtin_memcpy(&m, map, sizeof m);
    emu::bulk_load(to, m, bar, c, w);
}
inline void
tma_prefetch(const TensorMap *)
{
}
inline void
proxy_fence()
{
    emu::proxy_fence();
}

template <int N>
void
regs_give()
{
}
template <int N>
void
regs_take()
{
}

inline uint32_t
desc_low(uint32_t a, uint32_t slab)
{
    return slab >> 4 << 16 | (a >> 4 & 0x3FFFu);
}

template <class T, int N, bool TransB> struct Wgmma {
    static void ss(float (&acc)[N / 2], uint64_t a, uint64_t b, bool add, Where w = EMU_HERE)
    {
        emu::product_issue(
            {acc, nullptr, a, b, uint32_t(N), 0, Element<T>::is_bf16, add, TransB, w});
    }
    static void rs(float (&acc)[N / 2], const uint32_t (&a)[4], uint64_t b, bool add,
                   Where w = EMU_HERE)
    {
        emu::product_issue({acc, a, 0, b, uint32_t(N), 0, Element<T>::is_bf16, add, TransB, w});
    }
};
inline void
wgmma_fence()
{
}
inline void
wgmma_commit()
{
    emu::product_commit();
}
template <int Pending, int M>
void
wgmma_wait(float (&)[M], Where w = EMU_HERE)
{
    emu::product_wait(uint32_t(Pending), w);
}

} // namespace gpu

#endif /* ATTN_GPU_HOPPER_EMU_H */
