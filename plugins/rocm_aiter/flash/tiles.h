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

/* What is the same for all lanes, to scalar registers. The compiler keeps loaded words, and all
 * that is computed from them, in vector registers unless it is told. */
template <class S>
GPU_FN S
same(const S &from)
{
    int32_t words[sizeof(S) / 4];
    static_assert(sizeof(S) % 4 == 0, "whole words");
    __builtin_memcpy(words, &from, sizeof from);
    GPU_UNROLL
    for (unsigned i = 0; i < sizeof(S) / 4; i++)
        words[i] = gpu::uniform(words[i]);
    S to;
    __builtin_memcpy(&to, words, sizeof to);
    return to;
}

GPU_FN Batch
batch_of(const Forward &p)
{
    constexpr int kWords = sizeof(Batch) / 8;
    static_assert(sizeof(Batch) % 8 == 0, "whole words");
    uint64_t words[kWords];
    GPU_UNROLL
    for (int i = 0; i < kWords; i++)
        words[i] = gpu::gload(reinterpret_cast<const uint64_t *>(p.batch) + i);
    Batch b;
    __builtin_memcpy(&b, words, sizeof b);
    return same(b);
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

/* Bits of a chunk's number that its row changes. Where rows are an odd number of half lines of the
 * 32 banks, the parity of a row changes the half, and the bits above it the chunk. */
template <int D> constexpr uint32_t kExchange = D % 64 == 0 ? 7 : 3;

template <int D>
GPU_FN uint32_t
exchange_of_row(int row)
{
    return uint32_t(D % 64 == 0 ? row : row >> 1) & kExchange<D>;
}

/* Byte of the 16-byte chunk c of key row `row`. */
template <int D>
GPU_FN uint32_t
key_chunk(int row, int c)
{
    return uint32_t(row * D * 2) + (uint32_t(c) ^ exchange_of_row<D>(row)) * 16;
}

/* What a column does to a unit's number: neighbours differ, for those who multiply, and so do every
 * eighth, for those who bring the tile. A column of 32 keys is half a line of the banks. Width 192
 * has no registers for more than one address a unit: there only low bits count. */
template <int D, int Keys>
GPU_FN uint32_t
exchange_of_column(int col)
{
    static_assert(Keys == 64 || Keys == 32, "a line of the banks, or half of one");
    const int mixed = D == 192 ? col : (Keys == 64 ? col : col >> 1) ^ col >> 3;
    return uint32_t(mixed) & (Keys / 4 - 1);
}

/* Byte of the unit u (keys 4u..4u+3) of value column `col`. */
template <int D, int Keys>
GPU_FN uint32_t
value_unit(int col, int u)
{
    return uint32_t(col * Keys * 2) + (uint32_t(u) ^ exchange_of_column<D, Keys>(col)) * 8;
}

/* A cache as a tile's loads see it: block_size by multiplication. */
struct Source : Keys {
    uint32_t reciprocal; /* 2^31 / block_size, rounded up */
};

GPU_FN Source
source_of(const Layer &l, const Batch &b, const Request &r, const Cache &c, int head, int width)
{
    return {keys_of(l, b, r, c, head, width),
            (0x7FFFFFFFu + uint32_t(l.block_size)) / uint32_t(l.block_size)};
}

/* Where a key lies: the page's number is on its way from the table. */
struct Spot {
    int32_t page, offset;
};

/* (2k + 1) / 2 block_size, one too many at most. A key past the sequence stands for its last. */
GPU_FN Spot
spot_of(const Source &k, int key)
{
    key = min_(key, k.count - 1);
    const int entry = int(uint64_t{uint32_t(2 * key + 1)} * k.reciprocal >> 32);
    const int offset = key - entry * k.block_size, excess = offset >> 31;
    return {gpu::gload(k.table + uint32_t(entry + excess)), offset + (k.block_size & excess)};
}

GPU_FN const uint8_t *
address_of(const Source &k, Spot s)
{
    return k.base + uint64_t{uint32_t(s.page)} * uint64_t(k.block) +
           uint64_t{uint32_t(s.offset)} * uint64_t(k.token);
}

/* Eight elements from column col; those of an 8-bit cache stay narrow. Past the width: the row's
 * first. */
template <bool Narrow>
GPU_FN void
read8(gpu::u32x4 &to, const Source &k, const uint8_t *row, int col)
{
    const int at = col < k.width ? col : 0;
    if constexpr (Narrow) {
        const gpu::u32x2 v = gpu::gload(reinterpret_cast<const gpu::u32x2 *>(row + at));
        to = {v.x, v.y, 0, 0};
    } else {
        to = gpu::gload(reinterpret_cast<const gpu::u32x4 *>(row + at * 2));
    }
}

/* All ones where the key is of the sequence and the column of the row. Not a comparison: masks that
 * stay the same would be kept in scalar registers through the loop. */
GPU_FN uint32_t
keep_of(const Source &k, int key, int col)
{
    return uint32_t(int(uint32_t(key) - uint32_t(k.count)) >> 31) &
           uint32_t(int(uint32_t(col) - uint32_t(k.width)) >> 31);
}

/* Word i of what read8 brought: two T. `Part`: some of the tile is past the sequence or width. */
template <class T, bool Narrow, bool Part>
GPU_FN uint32_t
word_of(const Source &k, gpu::u32x4 v, int i, int key, int col)
{
    uint32_t word = i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
    if constexpr (Narrow) {
        word = gpu::fp8x2_to<T>((i < 2 ? v.x : v.y) >> (16 * (i % 2)), k.kind == gpu::kKvE5M2);
        gpu::in_order(); /* few registers rather than all at a time */
    }
    return Part ? word & keep_of(k, key, col) : word;
}

template <bool B> struct Known {
    static constexpr bool value = B;
};

/* Calls f(narrow), Known. */
template <class F>
GPU_FN void
by_kind(const Source &k, F f)
{
    k.kind == gpu::kKv16 ? f(Known<false>{}) : f(Known<true>{});
}

/* Calls f(narrow, part), both Known. */
template <int D, int Count, class F>
GPU_FN void
by_part(const Source &k, int first, F f)
{
    if (first + Count > k.count || k.width < D)
        by_kind(k, [&](auto narrow) { f(narrow, Known<true>{}); });
    else
        by_kind(k, [&](auto narrow) { f(narrow, Known<false>{}); });
}

/* Rows that may not be read eight elements at a time: one by one, straight to their place. */
template <class T, int D, int Count, int Threads, class Place>
GPU_FN void
copy_slowly(const Source &k, int first, int t, Place place)
{
    GPU_ROLLED
    for (int i = t; i < Count * D; i += Threads) {
        const int key = i / D, col = i % D;
        uint32_t x = 0;
        if (first + key < k.count && col < k.width) {
            const uint8_t *row = address_of(k, spot_of(k, first + key));
            x = k.kind == gpu::kKv16
                    ? uint32_t{gpu::gload(reinterpret_cast<const uint16_t *>(row) + col)}
                    : gpu::fp8x2_to<T>(gpu::gload(row + col), k.kind == gpu::kKvE5M2);
        }
        gpu::sts(place(key, col), uint16_t(x));
    }
}

/* A thread's share of a tile on its way through its registers. */
template <int Pieces, int Spots> struct Cargo {
    gpu::u32x4 piece[Pieces];
    Spot spot[Spots];
};

/* Nothing is on its way to the cargo's spots. Where only one side of a branch waited, the wait
 * would be made good later, and with it one for all that is under way by then. */
template <class Cargo>
GPU_FN void
await(const Cargo &c)
{
    GPU_UNROLL
    for (const Spot &s : c.spot)
        gpu::await(s.page);
}

/* The keys of a tile by Threads threads: across a row first, then down. */
template <class T, int D, int Count, int Threads> struct KeyMover {
    static constexpr int kChunks = D / 8;
    static constexpr int kAcross = kChunks & -kChunks, kDown = Threads / kAcross;
    static constexpr int kSweeps = kChunks / kAcross, kTimes = Count / kDown;
    static constexpr int kPieces = kSweeps * kTimes, kSpots = kTimes;
    static_assert(Count % kDown == 0, "whole passes");

    static GPU_FN int row(int pass, int t)
    {
        return pass * kDown + t / kAcross;
    }
    static GPU_FN int chunk(int sweep, int t)
    {
        return sweep * kAcross + t % kAcross;
    }
    template <class Cargo> static GPU_FN void look(Cargo &c, const Source &k, int first, int t)
    {
        GPU_UNROLL
        for (int i = 0; i < kTimes; i++)
            c.spot[i] = spot_of(k, first + row(i, t));
    }
    template <bool Narrow, class Cargo> static GPU_FN void fetch(Cargo &c, const Source &k, int t)
    {
        GPU_UNROLL
        for (int i = 0; i < kTimes; i++) {
            const uint8_t *from = address_of(k, c.spot[i]);
            GPU_UNROLL
            for (int s = 0; s < kSweeps; s++)
                read8<Narrow>(c.piece[i * kSweeps + s], k, from, chunk(s, t) * 8);
        }
    }
    template <class Cargo>
    static GPU_FN void put(const Cargo &c, const Source &k, uint32_t base, int first, int t)
    {
        if (!k.vector) {
            copy_slowly<T, D, Count, Threads>(k, first, t, [=](int key, int col) {
                return base + key_chunk<D>(key, col / 8) + uint32_t(col % 8 * 2);
            });
            return;
        }
        by_part<D, Count>(k, first, [&](auto narrow, auto part) {
            GPU_UNROLL
            for (int i = 0; i < kPieces; i++) {
                const int key = row(i / kSweeps, t), at = chunk(i % kSweeps, t);
                uint32_t w[4];
                GPU_UNROLL
                for (int e = 0; e < 4; e++)
                    w[e] = word_of<T, decltype(narrow)::value, decltype(part)::value>(
                        k, c.piece[i], e, first + key, at * 8);
                gpu::sts(base + key_chunk<D>(key, at), gpu::u32x4{w[0], w[1], w[2], w[3]});
                gpu::in_order();
            }
        });
    }
};

/* The values of a tile: a thread turns a cell of four keys by eight columns. */
template <class T, int D, int Count, int Threads> struct ValueMover {
    static constexpr int kAcross = D / 8, kCells = Count / 4 * kAcross;
    static constexpr int kPieces = 4, kSpots = 4;
    static_assert(kCells <= Threads, "a cell a thread");

    static GPU_FN int unit(int t)
    {
        return t / kAcross;
    }
    /* Threads without a cell fetch the last one too: no branch. */
    static GPU_FN int cell(int t)
    {
        return kCells < Threads ? min_(t, kCells - 1) : t;
    }
    static GPU_FN bool idle(int t)
    {
        return kCells < Threads && t >= kCells;
    }
    template <class Cargo> static GPU_FN void look(Cargo &c, const Source &k, int first, int t)
    {
        GPU_UNROLL
        for (int e = 0; e < 4; e++)
            c.spot[e] = spot_of(k, first + unit(cell(t)) * 4 + e);
    }
    template <bool Narrow, class Cargo> static GPU_FN void fetch(Cargo &c, const Source &k, int t)
    {
        GPU_UNROLL
        for (int e = 0; e < 4; e++)
            read8<Narrow>(c.piece[e], k, address_of(k, c.spot[e]), cell(t) % kAcross * 8);
    }
    template <class Cargo>
    static GPU_FN void put(const Cargo &c, const Source &k, uint32_t base, int first, int t)
    {
        if (!k.vector) {
            copy_slowly<T, D, Count, Threads>(k, first, t, [=](int key, int col) {
                return base + value_unit<D, Count>(col, key / 4) + uint32_t(key % 4 * 2);
            });
            return;
        }
        if (idle(t))
            return;
        by_part<D, Count>(k, first, [&](auto narrow, auto part) {
            const int col = t % kAcross * 8, key = unit(t) * 4;
            GPU_UNROLL
            for (int i = 0; i < 4; i++) {
                uint32_t pair[4];
                GPU_UNROLL
                for (int e = 0; e < 4; e++)
                    pair[e] = word_of<T, decltype(narrow)::value, decltype(part)::value>(
                        k, c.piece[e], i, first + key + e, col);
                turn(base, pair, col + 2 * i, unit(t));
                gpu::in_order();
            }
        });
    }
    /* Four keys by two columns. */
    static GPU_FN void turn(uint32_t base, const uint32_t (&pair)[4], int col, int unit)
    {
        const uint32_t at = base + value_unit<D, Count>(col, unit);
        const gpu::u32x2 even = {(pair[0] & 0xFFFFu) | pair[1] << 16,
                                 (pair[2] & 0xFFFFu) | pair[3] << 16};
        const gpu::u32x2 odd = {pair[0] >> 16 | (pair[1] & 0xFFFF0000u),
                                pair[2] >> 16 | (pair[3] & 0xFFFF0000u)};
        gpu::sts(at, even);
        gpu::sts((at ^ exchange_of_column<D, Count>(1) * 8) + uint32_t(Count * 2), odd);
    }
};

} // namespace flash

#endif /* ATTN_ROCM_FLASH_TILES_H */
