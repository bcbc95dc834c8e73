/* SPDX-License-Identifier: Apache-2.0 */
/* hopper.h - the prefill kernel of sm_90a: bulk copies, memory barriers, warpgroup products.
 *
 * One warpgroup of 128 threads loads (two where an fp8 cache says so), the others have 64 of the
 * tile's packed rows each. Queries, keys and values each have a ring of tiles that the loading
 * warps fill as far ahead as it goes, the next item's among them. Tiles of keys go from the last to
 * the first, so that the masked ones come first.
 *
 * Takes bf16 and f16, widths a multiple of 8 (bulk copies fill up with zeros), pages of a multiple
 * of 8 keys that divide a tile or are a multiple of it. A tile has as many whole tokens as its rows
 * hold; a group that does not divide them leaves the last rows empty.
 *
 * An fp8 cache (rows 16 bytes apart, or a multiple) comes as it is and is widened to f16, exactly,
 * by some of the loading warps; bf16 queries become f16 in place, scaled by a power of two. */
#ifndef ATTN_FLASH_CUDA_HOPPER_H
#define ATTN_FLASH_CUDA_HOPPER_H

#include "flash/cuda/hopper_attend.h"
#include "flash/cuda/hopper_load.h"
#include "flash/cuda/hopper_widen.h"

namespace flash
{

template <class T, int DQ, int DV, bool Bytes> struct Hopper {
    using Params = HopperForward;
    using Shape = HopperShape<T, DQ, DV, Bytes>;
    using Load = std::conditional_t<Bytes, HopperWiden<Shape>, HopperLoad<Shape>>;
    static constexpr const char *kName = "flash_hopper";
    static constexpr int kThreads = Shape::kThreads, kMinBlocks = 1;
    static constexpr int kRows = Shape::kRows, kKeys = Shape::BN;
    static constexpr uint32_t kSharedBytes = Shape::kSharedBytes;

    static GPU_FN void run(const Params &p)
    {
#if defined(GPU_HOPPER)
        const Batch b = *p.forward.batch;
        Shape::start(p.forward.list.rows);
        if (gpu::tid() < Shape::kLoaders) {
            gpu::regs_give<Shape::kGive>();
            Load::run(p, b);
        } else if (gpu::tid() < Shape::kFirst) {
            gpu::regs_give<Shape::kGiveWiden>();
            if constexpr (Shape::kWiden == 2)
                Load::run_widen(p);
        } else {
            gpu::regs_take<Shape::kTake>();
            HopperAttend<Shape>::run(p, b);
        }
#endif
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_H */
