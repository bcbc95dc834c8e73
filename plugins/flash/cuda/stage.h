/* SPDX-License-Identifier: Apache-2.0 */
/* stage.h - what one warp of the decode kernel reads: a few keys of one item at a time, raw, into
 * stages of its own, with every copy under way while earlier keys are worked on.
 *
 * A row of a stage has no padding; its 16-byte chunks are swapped so that eight consecutive rows
 * meet no bank twice. Keys past the sequence are zeros: a page's tail may hold anything. */
#ifndef ATTN_FLASH_CUDA_STAGE_H
#define ATTN_FLASH_CUDA_STAGE_H

#include "flash/cuda/load.h"

namespace flash
{

/* What the number of a chunk is swapped by in row `row`: of each bit of the row apart. */
template <int Bytes>
GPU_FN int
swap_of(int row)
{
    constexpr int kLow = Bytes / 16 & -(Bytes / 16), kGroup = kLow < 8 ? kLow : 8;
    return row / (8 / kGroup) & (kGroup - 1);
}

/* Byte of chunk `chunk` of row `row` in a stage whose rows are Bytes long. */
template <int Bytes>
GPU_FN uint32_t
chunk_at(int row, int chunk)
{
    return uint32_t(row * Bytes + (chunk ^ swap_of<Bytes>(row)) * 16);
}

/* Where this warp's reading stands. */
struct Reader {
    const uint8_t *k, *v; /* of the head in block 0 */
    const int32_t *table; /* the request's row */
    int key, to, count;   /* next keys of this warp, end of the item, keys of the sequence */
    bool paged;           /* 16 keys and more to a page, rows in whole chunks */
    int page, later;      /* a lane's page of this batch of look-ups and of the next */
    int step;             /* of this batch */
};

/* Rows are read 16 bytes at a time. */
GPU_FN bool
whole_chunks(const Cache &c, int width, int size)
{
    if (size == 2)
        return c.vector != 0;
    const int64_t all =
        static_cast<int64_t>(reinterpret_cast<uintptr_t>(c.data)) | c.block | c.token | c.head;
    return c.vector && ((all | width) & 15) == 0;
}

/* Up to 16 bytes of a row, element by element. */
template <int Size>
GPU_FN gpu::u32x4
chunk_slowly(const uint8_t *row, int chunk, int width)
{
    uint32_t words[4] = {0, 0, 0, 0};
    GPU_UNROLL
    for (int e = 0; e < 16 / Size; e++) {
        const int col = chunk * (16 / Size) + e;
        if (col >= width)
            continue;
        const uint32_t x = Size == 2
                               ? uint32_t{gpu::gload(reinterpret_cast<const uint16_t *>(row) + col)}
                               : uint32_t{gpu::gload(row + col)};
        words[e * Size / 4] |= x << (8 * (e * Size % 4));
    }
    return {words[0], words[1], words[2], words[3]};
}

/* Rows of D elements of Size bytes, Keys of them at a time. */
template <int D, int Size, int Keys> struct Rows {
    static constexpr int kBytes = D * Size, kChunks = kBytes / 16, kPasses = Keys * kChunks / 32;
    static_assert(Keys * kChunks % 32 == 0, "whole passes");

    /* Whole rows, all of them there: a lane's chunk is the same in each pass. */
    static constexpr bool kSteady = 32 % kChunks == 0;
    static GPU_FN void copy_whole(uint32_t to, const uint8_t *base, const Cache &c,
                                  const int (&page)[Keys / 16], const int (&offset)[Keys / 16])
    {
        constexpr int kEach = 32 / kChunks, kPasses16 = 16 / kEach;
        const int row = gpu::lane() / kChunks, chunk = gpu::lane() % kChunks;
        const int64_t step = c.token * (kEach * Size);
        to += uint32_t(row * kBytes);
        GPU_UNROLL
        for (int g = 0; g < Keys / 16; g++) {
            const uint8_t *from =
                base + (page[g] * c.block + (offset[g] + row) * c.token) * Size + chunk * 16;
            GPU_UNROLL
            for (int pass = 0; pass < kPasses16; pass++) {
                const int above = 16 * g + pass * kEach;
                const int swapped = chunk ^ swap_of<kBytes>(row) ^ swap_of<kBytes>(above);
                gpu::cp_async16(to + uint32_t(above * kBytes + swapped * 16), from, true);
                from += step;
            }
        }
    }

    /* Sixteen keys to a page: page[g], offset[g] of keys 16 g. Asynchronous. */
    static GPU_FN void copy(uint32_t to, const uint8_t *base, const Cache &c, int width, int valid,
                            const int (&page)[Keys / 16], const int (&offset)[Keys / 16])
    {
        const bool whole = valid >= Keys && width == D;
        GPU_UNROLL
        for (int pass = 0; pass < kPasses; pass++) {
            const int i = pass * 32 + gpu::lane(), row = i / kChunks, chunk = i % kChunks;
            int at = page[0], in = offset[0];
            if (Keys == 32 && row >= 16)
                at = page[Keys / 16 - 1], in = offset[Keys / 16 - 1];
            const uint8_t *from =
                base + (at * c.block + (in + row % 16) * c.token) * Size + chunk * 16;
            const bool good = whole || (row < valid && chunk * (16 / Size) < width);
            gpu::cp_async16(to + chunk_at<kBytes>(row, chunk), good ? from : base, good);
        }
    }

    /* Whole rows, any page size: `mine` is the byte of key lane % Keys from base. Asynchronous. */
    static GPU_FN void copy_rows(uint32_t to, const uint8_t *base, int64_t mine, int valid)
    {
        const int sub = gpu::lane() / kChunks, chunk = gpu::lane() % kChunks;
        const uint32_t low = static_cast<uint32_t>(mine);
        const int32_t high = static_cast<int32_t>(mine >> 32);
        GPU_UNROLL
        for (int pass = 0; pass < kPasses; pass++) {
            const int row = pass * (32 / kChunks) + sub;
            const int64_t away = static_cast<int64_t>(
                static_cast<uint64_t>(gpu::shfl(low, row)) |
                static_cast<uint64_t>(static_cast<uint32_t>(gpu::shfl(high, row))) << 32);
            gpu::cp_async16(to + chunk_at<kBytes>(row, chunk),
                            row < valid ? base + away + chunk * 16 : base, row < valid);
        }
    }

    /* Any page size: lane % Keys has the page and offset of its key. Any alignment. */
    static GPU_FN void copy_any(uint32_t to, const uint8_t *base, const Cache &c, int width,
                                int valid, int page, int offset)
    {
        const bool fast = whole_chunks(c, width, Size);
        GPU_ROLLED
        for (int i = gpu::lane(); i < Keys * kChunks; i += 32) {
            const int row = i / kChunks, chunk = i % kChunks;
            const int at = gpu::shfl(page, row), in = gpu::shfl(offset, row);
            const uint8_t *from = base + (at * c.block + in * c.token) * Size;
            const bool good = row < valid && chunk * (16 / Size) < width;
            const uint32_t place = to + chunk_at<kBytes>(row, chunk);
            if (fast)
                gpu::cp_async16(place, good ? from + chunk * 16 : base, good);
            else
                gpu::sts(place,
                         good ? chunk_slowly<Size>(from, chunk, width) : gpu::u32x4{0, 0, 0, 0});
        }
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_STAGE_H */
