/* SPDX-License-Identifier: Apache-2.0 */
/* params.h - what the host side hands to the kernels of flash.cuda.
 *
 * PACKED ROWS. The queries of one request for one KV head form a matrix of q * group rows: row i is
 * token i / group, head kv_head * group + i % group. A tile is kRows such rows; so a decode step
 * reads each key once for its whole group, and prefill needs no special case for GQA. */
#ifndef ATTN_FLASH_CUDA_PARAMS_H
#define ATTN_FLASH_CUDA_PARAMS_H

#include "common/gpu/tensor_map.h"

#include <cstdint>

namespace flash
{

constexpr int kDecodeRows = 16; /* packed rows of a decode tile */
constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

/* The layer, constant for a builder. */
struct Layer {
    int32_t num_heads, num_kv_heads, group;
    int32_t d, dv;
    int32_t block_size, block_shift; /* shift: -1 when not a power of two */
    int32_t causal, window_left, window_right;
    int32_t kv_kind; /* gpu::kKv16, ... */
    float scale, softcap;
};

/* The step: lies in the workspace, written by the plan kernel, so that a captured forward follows
 * whatever the last build said. */
struct Batch {
    const int32_t *query_start, *seq_lens;
    const uint8_t *causal; /* or NULL */
    const int32_t *ranges; /* [R, num_ranges, 2] or NULL */
    const int32_t *table;
    const int64_t *slots; /* or NULL */
    int64_t table_stride;
    int32_t num_reqs, num_tokens, num_ranges, cross;
    int64_t unused; /* whole 16-byte words */
};

/* One tile of rows against one range of keys. Splits of a tile have consecutive slots; a tile that
 * is not split has splits == 1 and writes its output itself. Holds what a kernel needs of the
 * request, so that one read leads to the block table. */
struct Item {
    int32_t req, head, row, key_from, key_to, split, splits, slot;
    int32_t start, q, s, causal; /* of the request; see rows.h */
    int32_t next;                /* decode: the block's next item, or -1 */
    int32_t unused[3];
};

/* One work list. Of the prefill list each block draws the next item; of the decode list block b
 * does item b, unless its req is -1, and those that follow from it (line.h). */
struct List {
    Item *items;
    int32_t *head;     /* prefill: [0] items, [1] next, [2] blocks done */
    int32_t *arrived;  /* [slot of split 0] splits that are done; returns to 0 */
    float *partial;    /* [slot][rows][padded dv] */
    float *partial_ml; /* [slot][rows][2]: maximum (log2 units), sum */
    int32_t rows;      /* of a tile */
    int32_t keys;      /* of a tile: ranges start at multiples of it */
    int32_t grid;      /* blocks that drain it: what a split aims at */
    int32_t max_slots; /* 0: tiles are not split */
};

struct Plan {
    Layer layer;
    Batch batch;
    Batch *batch_out;
    List decode, prefill;
};

/* A [blocks, block_size, heads, dim] cache; strides in elements. */
struct Cache {
    const void *data;
    int64_t block, token, head;
    int32_t vector; /* 1: rows may be read 8 elements at a time */
};

struct Forward {
    Layer layer;
    const Batch *batch;
    List list;
    const void *q;
    void *out;
    float *lse; /* or NULL */
    int64_t q_token, q_head, out_token, out_head, lse_token, lse_head;
    Cache k, v;
    const float *k_scale, *v_scale; /* [Hkv] or NULL */
    const float *sinks, *slopes;    /* [H] or NULL */
    int32_t q_vector;
    int32_t out_vector; /* elements that may be written at a time: 0 or 1: one, 2, 8 */
    int32_t early; /* a kernel that can may start before the one ahead in the stream has ended */
};

/* How bulk copies read a cache, and how its tiles lie in shared memory: bytes from a group of eight
 * rows to the next, and from 64 elements of a row to the next 64. */
struct HopperMap {
    gpu::TensorMap map;
    int32_t head_slabs; /* a copy takes whole pages: slabs of 64 from a head to the next; 0: no */
    int32_t group_bytes, slab_bytes;
};

/* Forward, and where bulk copies read. */
struct HopperForward {
    Forward forward;
    gpu::TensorMap q;
    HopperMap k, v;
};

struct Update {
    Layer layer;
    const Batch *batch;
    const void *k, *v;
    int64_t k_token, k_head, v_token, v_head;
    Cache k_cache, v_cache;
    const float *k_scale, *v_scale;
};

/* Constants of a layer to float. */
struct Constants {
    const void *sinks;
    const float *slopes;
    float *sinks_out, *slopes_out; /* [H] */
    int64_t sinks_stride, slopes_stride;
    int32_t num_heads;
    int32_t sinks_type; /* 0: f32, 1: bf16, 2: f16 */
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_PARAMS_H */
