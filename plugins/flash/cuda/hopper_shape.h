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

#include <type_traits>

namespace flash
{

/* Keys of a tile, consumer warpgroups (64 rows each), how many tiles of queries, keys and values
 * shared memory holds, and whether the softmax runs beside its own warpgroup's product of values:
 * with three warpgroups the others' products are enough. */
template <int D, int DV, bool Bytes> struct HopperTuning;
template <> struct HopperTuning<64, 64, false> {
    static constexpr int kKeys = 128, kGroups = 3, kQ = 2, kK = 4, kV = 4;
    static constexpr bool kBeside = false;
};
template <> struct HopperTuning<128, 128, false> {
    static constexpr int kKeys = 128, kGroups = 2, kQ = 2, kK = 3, kV = 2;
    static constexpr bool kBeside = true;
};
template <> struct HopperTuning<192, 128, false> {
    static constexpr int kKeys = 128, kGroups = 2, kQ = 1, kK = 2, kV = 2;
    static constexpr bool kBeside = true;
};
template <> struct HopperTuning<256, 256, false> {
    static constexpr int kKeys = 64, kGroups = 2, kQ = 1, kK = 3, kV = 2;
    static constexpr bool kBeside = true;
};

/* Of fp8 caches; kRaw: tiles of keys, and of values, as they come. kWiden: warps that widen keys,
 * and as many values. Two of each are a warpgroup more, which takes each quarter of the
 * multiprocessor for its conversions, and too few registers are left for the widest products. */
template <> struct HopperTuning<64, 64, true> {
    static constexpr int kKeys = 128, kGroups = 3, kQ = 2, kK = 3, kV = 3, kRaw = 3, kWiden = 1;
    static constexpr bool kBeside = false;
};
template <> struct HopperTuning<128, 128, true> {
    static constexpr int kKeys = 128, kGroups = 2, kQ = 1, kK = 2, kV = 2, kRaw = 2, kWiden = 2;
    static constexpr bool kBeside = true;
};
template <> struct HopperTuning<192, 128, true> {
    static constexpr int kKeys = 64, kGroups = 2, kQ = 1, kK = 3, kV = 3, kRaw = 2, kWiden = 2;
    static constexpr bool kBeside = true;
};
template <> struct HopperTuning<256, 256, true> {
    static constexpr int kKeys = 64, kGroups = 2, kQ = 1, kK = 2, kV = 2, kRaw = 1, kWiden = 1;
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

/* Tiles that come raw, before they are widened; none of a 16-bit cache. */
template <class Tuning, bool Bytes> struct HopperRaw {
    static constexpr int kStages = 0, kWiden = 1;
};
template <class Tuning> struct HopperRaw<Tuning, true> {
    static constexpr int kStages = Tuning::kRaw, kWiden = Tuning::kWiden;
};

/* Type: of queries and output. Bytes: an fp8 cache, which is multiplied as f16. */
template <class Type, int D, int Dv, bool Bytes> struct HopperShape {
    using Out = Type;
    using T = std::conditional_t<Bytes, gpu::f16, Type>; /* what is multiplied */
    using Tuning = HopperTuning<D, Dv, Bytes>;
    static constexpr bool kBytes = Bytes, kScaled = !std::is_same_v<T, Type>;
    static constexpr int DQ = D, DV = Dv, BN = Tuning::kKeys, kGroups = Tuning::kGroups;
    static constexpr int kRows = 64 * kGroups, kConsumers = 128 * kGroups;
    static constexpr int kQStages = Tuning::kQ, kKStages = Tuning::kK, kVStages = Tuning::kV;
    static constexpr int kRawStages = HopperRaw<Tuning, Bytes>::kStages;
    static constexpr int kWiden = HopperRaw<Tuning, Bytes>::kWiden;
    /* Threads ahead of the consumers, and of all of them those that load. */
    static constexpr int kLoaders = 128, kFirst = kLoaders + (kWiden == 2 ? 128 : 0);
    static constexpr int kThreads = kFirst + kConsumers;
    static constexpr bool kBeside = Tuning::kBeside;
    static constexpr int kInfos = 2, kInfoBytes = sizeof(HopperInfo);

    static constexpr int kSlab = 128; /* bytes of a swizzled row */
    static constexpr int kQSlab = kRows * kSlab;
    static constexpr int kQBytes = DQ / 64 * kQSlab;
    static constexpr int kKBytes = DQ / 64 * BN * kSlab, kVBytes = DV / 64 * BN * kSlab;
    static constexpr int kRawKBytes = DQ * BN, kRawVBytes = DV * BN;

    /* Full and empty barriers of each ring, then the words, then the tiles. */
    static constexpr uint32_t kInfoFull = 0, kInfoEmpty = kInfoFull + 8 * kInfos;
    static constexpr uint32_t kQFull = kInfoEmpty + 8 * kInfos, kQEmpty = kQFull + 8 * kQStages;
    static constexpr uint32_t kKFull = kQEmpty + 8 * kQStages, kKEmpty = kKFull + 8 * kKStages;
    static constexpr uint32_t kVFull = kKEmpty + 8 * kKStages, kVEmpty = kVFull + 8 * kVStages;
    static constexpr uint32_t kRawKFull = kVEmpty + 8 * kVStages;
    static constexpr uint32_t kRawKEmpty = kRawKFull + 8 * kRawStages;
    static constexpr uint32_t kRawVFull = kRawKEmpty + 8 * kRawStages;
    static constexpr uint32_t kRawVEmpty = kRawVFull + 8 * kRawStages;
    static constexpr uint32_t kTail = kRawVEmpty + 8 * kRawStages, kWord = kTail + 8;
    static constexpr uint32_t kInfo = 512;
    static constexpr uint32_t kQ = 1024, kK = kQ + kQStages * kQBytes;
    static constexpr uint32_t kV = kK + kKStages * kKBytes;
    static constexpr uint32_t kRawK = kV + kVStages * kVBytes;
    static constexpr uint32_t kRawV = kRawK + kRawStages * kRawKBytes;
    static constexpr uint32_t kSharedBytes = kRawV + kRawStages * kRawVBytes;
    static_assert(kWord + 4 <= kInfo && kInfo + kInfos * kInfoBytes <= kQ, "words before tiles");
    static_assert(kSharedBytes <= 227 * 1024, "shared memory of a block");

    /* Registers of a loading and of a consuming thread: 64 Ki of them in all. */
    static constexpr int kGiveWiden = 40;
    static constexpr int kGive = kGroups == 3 ? 32 : kBytes && kWiden == 1 ? 40 : 24;
    static constexpr int kTake = kGroups == 3 ? 160 : !kBytes ? 240 : kWiden == 1 ? 232 : 224;

    /* Who loads: one warp each. Of an fp8 cache kCopier brings keys and values, and who widens are
     * kWiden warps from kKeysWarp, or from the next warpgroup's first, and as many after them. */
    enum Warp { kLister, kQueries, kKeysWarp, kValues, kCopier = kQueries };
    static constexpr int kWidener = kWiden == 2 ? kLoaders / 32 : kKeysWarp;
    /* Named barriers: whose turn it is, one a warpgroup; all consumers; a warpgroup's own. */
    static constexpr int kTurn = 1, kMeet = kTurn + kGroups, kOwn = kMeet + 1;

    static GPU_FN int tiles_of(const Item &item)
    {
        return (item.key_to - item.key_from + BN - 1) / BN;
    }

    static GPU_FN void open_ring(uint32_t full, uint32_t empty, int stages, int writers,
                                 int readers)
    {
        for (uint32_t i = 0; i < uint32_t(stages); i++) {
            gpu::mbar_init(full + 8 * i, writers);
            gpu::mbar_init(empty + 8 * i, readers);
        }
    }

    /* Rows of the tiles of queries past the last whole token: no copy ever writes them. */
    static GPU_FN void clear_rows(int rows)
    {
        const int words = (kRows - rows) * (kSlab / 16), slabs = kQStages * DQ / 64;
        for (int i = gpu::tid(); i < words * slabs; i += kThreads)
            gpu::sts(kQ + uint32_t(i / words * kQSlab + rows * kSlab + i % words * 16),
                     gpu::u32x4{0, 0, 0, 0});
        if (words)
            gpu::proxy_fence();
    }

    static GPU_FN void start(int rows)
    {
        clear_rows(rows);
        if (gpu::tid() == 0) {
            open_ring(kInfoFull, kInfoEmpty, kInfos, 1,
                      4 * kGroups + (kBytes ? 1 + 2 * kWiden : 3));
            open_ring(kQFull, kQEmpty, kQStages, 1, 4 * kGroups);
            open_ring(kKFull, kKEmpty, kKStages, kWiden, 4 * kGroups);
            open_ring(kVFull, kVEmpty, kVStages, kWiden, 4 * kGroups);
            open_ring(kRawKFull, kRawKEmpty, kRawStages, 1, kWiden);
            open_ring(kRawVFull, kRawVEmpty, kRawStages, 1, kWiden);
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
