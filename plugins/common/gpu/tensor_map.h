/* SPDX-License-Identifier: Apache-2.0 */
/* tensor_map.h - what a bulk copy reads: a strided tensor and the box of one copy. Made on the
 * host, handed to a kernel inside its parameters. */
#ifndef ATTN_GPU_TENSOR_MAP_H
#define ATTN_GPU_TENSOR_MAP_H

#include <attn/types.h>
#include <cstdint>

namespace gpu
{

/* Opaque; the layout is the target's. */
struct alignas(64) TensorMap {
    uint64_t words[16];
};

/* A tensor of 2 to 5 dimensions of 16-bit elements, the first contiguous. */
struct TensorShape {
    const void *base; /* aligned to 16 bytes */
    uint32_t dims;
    uint64_t size[5];
    uint64_t stride[5]; /* bytes; [0] is 2, the others multiples of 16 */
    uint32_t box[5];    /* [0] is 64, rows of 128 bytes, swizzled; plain: a multiple of 8, to 256 */
    bool bf16;
    bool plain = false; /* rows follow each other as they are */
};

/* Only on devices with `hopper`. */
attn_status tensor_map(const TensorShape &shape, TensorMap *map, attn_error *err);

} // namespace gpu

#endif /* ATTN_GPU_TENSOR_MAP_H */
