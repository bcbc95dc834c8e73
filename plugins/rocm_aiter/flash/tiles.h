/* SPDX-License-Identifier: Apache-2.0 */
/* tiles.h - keys and values of one tile in LDS, laid out for the matrix words of gfx942.
 *
 * M is 32 (32x32x8) or 16 (16x16x16); a wave is G = 64 / M groups of lanes. Both products are taken
 * transposed, S^T = K Q^T and O^T = V^T P^T: register r of lane l of S^T is key
 * 4 G (r / 4) + 4 (l / M) + r % 4 of row l % M, which is where the second product wants it.
 *
 * K lies row by row in 16-byte chunks; a lane takes eight elements at once and spends them in two
 * instructions, so element e of the instruction pair s is d = 8 G s + 8 (l / M) + e for K and Q
 * alike. V lies transposed, one row of keys for each column, in 8-byte units of four keys. Chunks
 * and units are exchanged by an exclusive or with the row, so that lanes meet different banks. */
#ifndef ATTN_ROCM_FLASH_TILES_H
#define ATTN_ROCM_FLASH_TILES_H

#include "common/gpu/mfma.h"
#include "common/gpu/tile.h"
#include "flash/cuda/load.h"

namespace flash
{

/* The same arguments, read again from constant memory: kept in scalar registers through the main
 * loop they would not fit. */
GPU_FN const Forward &
again(const Forward &p)
{
#if defined(__HIP_DEVICE_COMPILE__)
    typedef const __attribute__((address_space(4))) Forward Constant;
    uint64_t address = reinterpret_cast<uint64_t>(&p);
    asm volatile("" : "+s"(address));
    return *(const Forward *)(Constant *)address;
#else
    return p;
#endif
}

template <int M> struct Matrix;
template <> struct Matrix<32> {
    static constexpr int kRegisters = 16;
    template <class T>
    static GPU_FN void multiply(float (&d)[16], const uint32_t (&a)[2], const uint32_t (&b)[2])
    {
        gpu::mfma32x32x8<T>(d, a, b);
    }
};
template <> struct Matrix<16> {
    static constexpr int kRegisters = 4;
    template <class T>
    static GPU_FN void multiply(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[2])
    {
        gpu::mfma16x16x16<T>(d, a, b);
    }
};

/* Byte of the 16-byte chunk c of key row `row`. */
template <int D>
GPU_FN uint32_t
key_chunk(int row, int c)
{
    constexpr int kMask = D % 64 == 0 ? 7 : 3;
    return uint32_t(row * D * 2 + (c ^ (row & kMask)) * 16);
}

/* Byte of the unit u (keys 4u..4u+3) of value column `col`. */
template <int Keys>
GPU_FN uint32_t
value_unit(int col, int u)
{
    constexpr int kUnits = Keys / 4;
    return uint32_t(col * Keys * 2 + (u ^ (col & (kUnits - 1))) * 8);
}

/* How rows of a cache are read; the same for all of them. */
enum class Reading { wide16, wide8, slow };

GPU_FN Reading
reading_of(const Keys &k)
{
    if (!k.vector)
        return Reading::slow;
    return k.kind == gpu::kKv16 ? Reading::wide16 : Reading::wide8;
}

/* Eight elements of a key or value row; zeros past the sequence and the width. Wide readings have
 * no branch: what is not there is read from key 0 of the sequence and dropped. */
template <class T, Reading Way>
GPU_FN gpu::u32x4
fetch8(const Keys &k, int key, int col)
{
    const bool there = (key < k.count) & (col < k.width);
    if constexpr (Way == Reading::slow)
        return there ? load_slowly<T>(k.row(key), k.kind, col, k.width) : gpu::u32x4{0, 0, 0, 0};
    const uint8_t *row = k.row(there ? key : 0);
    const int at = there ? col : 0;
    gpu::u32x4 v;
    if constexpr (Way == Reading::wide16)
        v = gpu::gload(reinterpret_cast<const gpu::u32x4 *>(row + at * 2));
    else
        v = widen8<T>(gpu::gload(reinterpret_cast<const gpu::u32x2 *>(row + at)),
                      k.kind == gpu::kKvE5M2);
    const uint32_t keep = there ? ~0u : 0u;
    return {v.x & keep, v.y & keep, v.z & keep, v.w & keep};
}

/* A tile on its way through the registers of Threads threads: fetched while the tile before it is
 * multiplied, put down when that is done. */
template <class T, int D, int DV, int Count, int Threads> struct Passage {
    static constexpr int kChunks = Count * D / 8, kCells = Count / 4 * DV / 8;
    static constexpr int kKeyPasses = (kChunks + Threads - 1) / Threads;
    static constexpr int kCellPasses = (kCells + Threads - 1) / Threads;
    gpu::u32x4 k[kKeyPasses], v[kCellPasses][4];

    GPU_FN void fetch(const Keys &keys, const Keys &values, int first, int t)
    {
        switch (reading_of(keys)) {
        case Reading::wide16:
            fetch_keys<Reading::wide16>(keys, first, t);
            break;
        case Reading::wide8:
            fetch_keys<Reading::wide8>(keys, first, t);
            break;
        case Reading::slow:
            fetch_keys<Reading::slow>(keys, first, t);
            break;
        }
        switch (reading_of(values)) {
        case Reading::wide16:
            fetch_values<Reading::wide16>(values, first, t);
            break;
        case Reading::wide8:
            fetch_values<Reading::wide8>(values, first, t);
            break;
        case Reading::slow:
            fetch_values<Reading::slow>(values, first, t);
            break;
        }
    }

    template <Reading Way> GPU_FN void fetch_keys(const Keys &keys, int first, int t)
    {
        GPU_UNROLL
        for (int p = 0; p < kKeyPasses; p++) {
            const int i = p * Threads + t;
            if (kChunks % Threads == 0 || i < kChunks)
                k[p] = fetch8<T, Way>(keys, first + i / (D / 8), i % (D / 8) * 8);
        }
    }

    template <Reading Way> GPU_FN void fetch_values(const Keys &values, int first, int t)
    {
        GPU_UNROLL
        for (int p = 0; p < kCellPasses; p++) {
            const int i = p * Threads + t;
            if (kCells % Threads != 0 && i >= kCells)
                continue;
            GPU_UNROLL
            for (int e = 0; e < 4; e++)
                v[p][e] = fetch8<T, Way>(values, first + i / (DV / 8) * 4 + e, i % (DV / 8) * 8);
        }
    }

    GPU_FN void put(uint32_t key_base, uint32_t value_base, int t) const
    {
        GPU_UNROLL
        for (int p = 0; p < kKeyPasses; p++) {
            const int i = p * Threads + t;
            if (i < kChunks)
                gpu::sts(key_base + key_chunk<D>(i / (D / 8), i % (D / 8)), k[p]);
        }
        GPU_UNROLL
        for (int p = 0; p < kCellPasses; p++) {
            const int i = p * Threads + t;
            if (i < kCells)
                put_cell(value_base, v[p], i % (DV / 8) * 8, i / (DV / 8));
        }
    }

    /* Four keys by eight columns, turned. */
    static GPU_FN void put_cell(uint32_t base, const gpu::u32x4 (&rows)[4], int col, int unit)
    {
        uint32_t w[4][4];
        GPU_UNROLL
        for (int e = 0; e < 4; e++) {
            w[e][0] = rows[e].x;
            w[e][1] = rows[e].y;
            w[e][2] = rows[e].z;
            w[e][3] = rows[e].w;
        }
        GPU_UNROLL
        for (int c = 0; c < 8; c++) {
            const int at = c / 2, shift = c % 2 * 16;
            const gpu::u32x2 four = {
                (w[0][at] >> shift & 0xFFFFu) | (w[1][at] >> shift) << 16,
                (w[2][at] >> shift & 0xFFFFu) | (w[3][at] >> shift) << 16,
            };
            gpu::sts(base + value_unit<Count>(col + c, unit), four);
        }
    }
};

} // namespace flash

#endif /* ATTN_ROCM_FLASH_TILES_H */
