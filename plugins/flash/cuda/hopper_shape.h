/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_shape.h - sizes of the prefill kernel of sm_90a: its tiles, its rings of shared memory and
 * their memory barriers, and what is said about an item.
 *
 * A tile of keys lies in shared memory as rows of 128 bytes (64 elements, swizzled), eight rows a
 * group. Where one bulk copy brings a whole page, a group's slabs of 64 elements follow each other
 * and then comes the next group; else each slab has all its rows together. Two strides tell the
 * warpgroup products which. */
#ifndef ATTN_FLASH_CUDA_HOPPER_SHAPE_H
#define ATTN_FLASH_CUDA_HOPPER_SHAPE_H

#include "common/gpu/hopper.h"
#include "flash/cuda/kernels.h"
#include "flash/cuda/score.h"

namespace flash
{

/* Keys of a tile, consumer warpgroups (64 rows each), how many tiles of queries, keys and values
 * shared memory holds, and whether the softmax runs beside its own warpgroup's product of values:
 * with three warpgroups the others' products are enough. */
template <int D, int DV> struct HopperTuning;
template <> struct HopperTuning<64, 64> {
    static constexpr int kKeys = 128, kGroups = 3, kQ = 2, kK = 4, kV = 4;
    static constexpr bool kBeside = false;
};
template <> struct HopperTuning<128, 128> {
    static constexpr int kKeys = 128, kGroups = 2, kQ = 2, kK = 3, kV = 2;
    static constexpr bool kBeside = true;
};
template <> struct HopperTuning<192, 128> {
    static constexpr int kKeys = 128, kGroups = 2, kQ = 1, kK = 2, kV = 2;
    static constexpr bool kBeside = true;
};
template <> struct HopperTuning<256, 256> {
    static constexpr int kKeys = 64, kGroups = 2, kQ = 1, kK = 3, kV = 2;
    static constexpr bool kBeside = true;
};

/* What the warps are told about an item; valid: 0 at the end of the list. */
struct HopperInfo {
    Item item;
    int32_t start, q, s, causal;
    int32_t open_from, open_to, valid, unused;
    GPU_FN Request request() const
    {
        return {item.req, start, q, s, causal != 0};
    }
};

/* A ring position: which stage, and the parity of its use. */
template <int Stages> struct HopperRing {
    int stage = 0, parity = 0;
    GPU_FN void step()
    {
        if (++stage == Stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

template <class Type, int D, int Dv> struct HopperShape {
    using T = Type;
    using Tuning = HopperTuning<D, Dv>;
    static constexpr int DQ = D, DV = Dv, BN = Tuning::kKeys, kGroups = Tuning::kGroups;
    static constexpr int kRows = 64 * kGroups, kConsumers = 128 * kGroups;
    static constexpr int kQStages = Tuning::kQ, kKStages = Tuning::kK, kVStages = Tuning::kV;
    static constexpr bool kBeside = Tuning::kBeside;
    static constexpr int kInfos = 2, kInfoBytes = sizeof(HopperInfo);

    static constexpr int kSlab = 128; /* bytes of a swizzled row */
    static constexpr int kQSlab = kRows * kSlab;
    static constexpr int kQBytes = DQ / 64 * kQSlab;
    static constexpr int kKBytes = DQ / 64 * BN * kSlab, kVBytes = DV / 64 * BN * kSlab;

    /* Full and empty barriers of each ring, then the words, then the tiles. */
    static constexpr uint32_t kInfoFull = 0, kInfoEmpty = kInfoFull + 8 * kInfos;
    static constexpr uint32_t kQFull = kInfoEmpty + 8 * kInfos, kQEmpty = kQFull + 8 * kQStages;
    static constexpr uint32_t kKFull = kQEmpty + 8 * kQStages, kKEmpty = kKFull + 8 * kKStages;
    static constexpr uint32_t kVFull = kKEmpty + 8 * kKStages, kVEmpty = kVFull + 8 * kVStages;
    static constexpr uint32_t kTail = kVEmpty + 8 * kVStages, kWord = kTail + 8;
    static constexpr uint32_t kInfo = 512;
    static constexpr uint32_t kQ = 1024, kK = kQ + kQStages * kQBytes;
    static constexpr uint32_t kV = kK + kKStages * kKBytes;
    static constexpr uint32_t kSharedBytes = kV + kVStages * kVBytes;
    static_assert(kWord + 4 <= kInfo && kInfo + kInfos * kInfoBytes <= kQ, "words before tiles");
    static_assert(kSharedBytes <= 227 * 1024, "shared memory of a block");

    /* Registers of a loading and of a consuming thread: 64 Ki of them in all. */
    static constexpr int kGive = kGroups == 2 ? 24 : 32, kTake = kGroups == 2 ? 240 : 160;

    /* Who loads: one warp each. */
    enum Warp { kLister, kQueries, kKeysWarp, kValues };
    /* Named barriers: whose turn it is, one a warpgroup; all consumers. */
    static constexpr int kTurn = 1, kMeet = kTurn + kGroups;

    static GPU_FN int tiles_of(const Item &item)
    {
        return (item.key_to - item.key_from + BN - 1) / BN;
    }

    static GPU_FN void open_ring(uint32_t full, uint32_t empty, int stages, int readers)
    {
        for (uint32_t i = 0; i < uint32_t(stages); i++) {
            gpu::mbar_init(full + 8 * i, 1);
            gpu::mbar_init(empty + 8 * i, readers);
        }
    }

    /* Rows of the tiles of queries past the last whole token: no copy ever writes them. */
    static GPU_FN void clear_rows(int rows)
    {
        const int words = (kRows - rows) * (kSlab / 16), slabs = kQStages * DQ / 64;
        for (int i = gpu::tid(); i < words * slabs; i += 128 + kConsumers)
            gpu::sts(kQ + uint32_t(i / words * kQSlab + rows * kSlab + i % words * 16),
                     gpu::u32x4{0, 0, 0, 0});
        if (words)
            gpu::proxy_fence();
    }

    static GPU_FN void start(int rows)
    {
        clear_rows(rows);
        if (gpu::tid() == 0) {
            open_ring(kInfoFull, kInfoEmpty, kInfos, 4 * kGroups + 3);
            open_ring(kQFull, kQEmpty, kQStages, 4 * kGroups);
            open_ring(kKFull, kKEmpty, kKStages, 4 * kGroups);
            open_ring(kVFull, kVEmpty, kVStages, 4 * kGroups);
            gpu::mbar_init(kTail, 1);
            gpu::mbar_fence();
        }
        gpu::barrier();
    }

    static GPU_FN HopperInfo read_info(int slot)
    {
        gpu::u32x4 words[kInfoBytes / 16];
        GPU_UNROLL
        for (uint32_t i = 0; i < kInfoBytes / 16; i++)
            words[i] = gpu::lds<gpu::u32x4>(kInfo + uint32_t(slot * kInfoBytes) + 16 * i);
        HopperInfo info;
        __builtin_memcpy(&info, words, sizeof info);
        return info;
    }

    /* One arrival a warp. */
    static GPU_FN void release(uint32_t bar)
    {
        gpu::syncwarp();
        if (gpu::lane() == 0)
            gpu::mbar_arrive(bar);
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_SHAPE_H */
