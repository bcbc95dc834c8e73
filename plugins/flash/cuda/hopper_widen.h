/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_widen.h - the loading warps of the prefill kernel for fp8 caches: one makes the list of
 * items known and loads queries, one copies keys and values as they are, one each widens keys and
 * values to the swizzled tiles of f16 that the products read. */
#ifndef ATTN_FLASH_CUDA_HOPPER_WIDEN_H
#define ATTN_FLASH_CUDA_HOPPER_WIDEN_H

#include "flash/cuda/hopper_load.h"
#include "flash/cuda/load.h"

namespace flash
{

template <class S> struct HopperWiden {
    using Params = HopperForward;
    using Load = HopperLoad<S>;
    using T = typename S::T;
    static constexpr int BN = S::BN;

    static GPU_FN int warp()
    {
        return gpu::shfl(gpu::tid() / 32, 0);
    }

    /* -------------------------------------------------------------- copies */

    static GPU_FN void copy(const typename Load::Cached &c, const HopperMap &from, int width,
                            int head, const typename Load::Pages &page, uint32_t to, uint32_t full)
    {
        const int at[4] = {0, head, page.offset, page.block};
        Load::expect(full, width * BN);
        if (gpu::lane() < c.pages)
            gpu::tma_load(to + uint32_t(gpu::lane() * c.rows * width), &from.map, full, at);
    }

    static GPU_FN void copy_all(const Params &p, const Batch &b)
    {
        const typename Load::Cached c = Load::cached(p, b);
        HopperRing<S::kRawStages> raw;
        Load::each_item([&](const HopperInfo &info) {
            const int head = info.item.head;
            Load::each_tile(c, info, [&](int, const typename Load::Pages &page) {
                const uint32_t at = uint32_t(raw.stage);
                gpu::mbar_wait(S::kRawKEmpty + 8 * at, raw.parity ^ 1);
                copy(c, p.k, S::DQ, head, page, S::kRawK + at * S::kRawKBytes,
                     S::kRawKFull + 8 * at);
                gpu::mbar_wait(S::kRawVEmpty + 8 * at, raw.parity ^ 1);
                copy(c, p.v, S::DV, head, page, S::kRawV + at * S::kRawVBytes,
                     S::kRawVFull + 8 * at);
                raw.step();
            });
        });
    }

    /* ------------------------------------------------------------ widening */

    /* Groups of eight rows read before the first of them is widened. */
    static constexpr int kAhead = S::kGroups == 2 ? 4 : 2;

    /* Rows of a tile that one warp widens, and the first of this one's. */
    static constexpr int kMine = BN / S::kWiden;
    static GPU_FN int first_row()
    {
        return (gpu::tid() / 32 - S::kWidener) % S::kWiden * kMine;
    }

    /* Sixteen codes of a row to two chunks of its tile. */
    template <bool E5M2>
    static GPU_FN void widen16(const gpu::u32x4 &raw, uint32_t to, uint32_t second)
    {
        gpu::sts(to, widen8<T>({raw.x, raw.y}, E5M2));
        gpu::sts(second, widen8<T>({raw.z, raw.w}, E5M2));
    }

    template <int Width, bool E5M2>
    static GPU_FN void widen_groups(uint32_t from, uint32_t to, uint32_t second)
    {
        gpu::u32x4 raw[kAhead];
        GPU_UNROLL
        for (uint32_t i = 0; i < kAhead; i++)
            raw[i] = gpu::lds<gpu::u32x4>(from + i * 8 * Width);
        GPU_UNROLL
        for (uint32_t i = 0; i < kAhead; i++)
            widen16<E5M2>(raw[i], to + i * 8 * S::kSlab, second + i * 8 * S::kSlab);
    }

    /* This warp's rows of a tile, Width bytes each. Eight rows and 64 columns at a time, four lanes
     * a row; odd rows take the other slab of a pair where that is what keeps reads off the same
     * banks. */
    template <int Width, bool E5M2> static GPU_FN void widen_tile(uint32_t from, uint32_t to)
    {
        constexpr int kSlabs = Width / 64;
        const int row = gpu::lane() / 4, quad = gpu::lane() % 4;
        const int other = kSlabs % 2 == 0 ? row % 2 : 0;
        const uint32_t chunk = uint32_t(2 * quad ^ row) * 16;
        from += uint32_t((first_row() + row) * Width + quad * 16);
        to += uint32_t((first_row() + row) * S::kSlab);
        GPU_ROLLED
        for (int s = 0; s < kSlabs; s++) {
            const uint32_t raw = from + uint32_t((s ^ other) * 64);
            const uint32_t wide = to + uint32_t((s ^ other) * BN * S::kSlab);
            GPU_ROLLED
            for (uint32_t i = 0; i < kMine / 8; i += kAhead)
                widen_groups<Width, E5M2>(raw + i * 8 * Width, wide + chunk + i * 8 * S::kSlab,
                                          wide + (chunk ^ 16u) + i * 8 * S::kSlab);
        }
    }

    template <int Width>
    static GPU_FN void widen(const Params &p, uint32_t from, uint32_t raw_empty, uint32_t to)
    {
        if (p.forward.layer.kv_kind == gpu::kKvE5M2)
            widen_tile<Width, true>(from, to);
        else
            widen_tile<Width, false>(from, to);
        S::release(raw_empty);
    }

    /* Calls f(key, raw stage) for each tile once its bytes are there. */
    template <class F> static GPU_FN void each_raw(uint32_t full, F f)
    {
        HopperRing<S::kRawStages> raw;
        Load::each_item([&](const HopperInfo &info) {
            int key = info.item.key_from + (S::tiles_of(info.item) - 1) * BN;
            for (; key >= info.item.key_from; key -= BN) {
                gpu::mbar_wait(full + uint32_t(8 * raw.stage), raw.parity);
                f(info, key, uint32_t(raw.stage));
                raw.step();
            }
        });
    }

    static GPU_FN void widen_keys(const Params &p)
    {
        HopperRing<S::kKStages> k;
        each_raw(S::kRawKFull, [&](const HopperInfo &, int, uint32_t raw) {
            const uint32_t at = uint32_t(k.stage);
            gpu::mbar_wait(S::kKEmpty + 8 * at, k.parity ^ 1);
            widen<S::DQ>(p, S::kRawK + raw * S::kRawKBytes, S::kRawKEmpty + 8 * raw,
                         S::kK + at * S::kKBytes);
            gpu::proxy_fence();
            S::release(S::kKFull + 8 * at);
            k.step();
        });
    }

    static GPU_FN void widen_values(const Params &p)
    {
        HopperRing<S::kVStages> v;
        each_raw(S::kRawVFull, [&](const HopperInfo &info, int key, uint32_t raw) {
            const uint32_t at = uint32_t(v.stage), to = S::kV + at * S::kVBytes;
            gpu::mbar_wait(S::kVEmpty + 8 * at, v.parity ^ 1);
            widen<S::DV>(p, S::kRawV + raw * S::kRawVBytes, S::kRawVEmpty + 8 * raw, to);
            if (key + BN > info.s)
                Load::clear_tail(p, to, max_(first_row(), info.s - key), first_row() + kMine);
            gpu::proxy_fence();
            S::release(S::kVFull + 8 * at);
            v.step();
        });
    }

    static GPU_FN void run_widen(const Params &p)
    {
        if (warp() < S::kWidener + S::kWiden)
            widen_keys(p);
        else
            widen_values(p);
    }

    static GPU_FN void run(const Params &p, const Batch &b)
    {
        if (warp() == S::kLister) {
            HopperRing<S::kQStages> q;
            Load::list_items(p, b, [&](const HopperInfo &info) { Load::next_q(p, info, q); });
        } else if (warp() == S::kCopier) {
            copy_all(p, b);
        } else if constexpr (S::kWiden == 1) {
            run_widen(p);
        }
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_WIDEN_H */
