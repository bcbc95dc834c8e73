/* SPDX-License-Identifier: Apache-2.0 */
/* runtime/block.h - the argument blocks of each family, as data: which
 * tensors they hold, where, and how large these must be for a layer. */
#ifndef ATTN_RUNTIME_BLOCK_H
#define ATTN_RUNTIME_BLOCK_H

#include <attn/select.h>

#include "base/error.h"

#define ATTN_MAX_ARGS 10u
#define ATTN_MAX_BLOCK 512u /* bytes of the largest argument block */

#define ATTN_ARG_OPTIONAL 1u
#define ATTN_ARG_TOKENS 2u /* dimension 0 is the step's tokens */
#define ATTN_ARG_SLOTS 4u  /* dimension 0 is at least the group's blocks */
#define ATTN_ARG_OUTPUT 8u
#define ATTN_ARG_ANY_DTYPE 16u

/* One tensor of a block, sizes resolved for a layer. */
typedef struct attn_arg {
    const char *name; /* as in recorded calls: "q", "k_cache" */
    uint32_t offset;  /* of the pointer in the block */
    uint32_t flags;   /* ATTN_ARG_* */
    uint64_t feature; /* may only be given when the layer has it; 0: always */
    attn_dtype dtype;
    uint32_t ndim;
    int64_t shape[4]; /* [0] is 0 where tokens or slots count */
} attn_arg;

typedef struct attn_block {
    uint32_t size;         /* of the struct; 0: the family has none */
    uint32_t layer_offset; /* of its `layer` member, 0: none */
    uint32_t num_args;
    uint32_t least; /* bytes it had in 1.0 */
    attn_arg args[ATTN_MAX_ARGS];
} attn_block;

typedef struct attn_blocks {
    attn_block forward, update, constants;
} attn_blocks;

/* [any] For a finished layer. A family this library does not know has blocks
 * of size 0: its arguments pass unchecked, and its forward block has `layer`
 * where the known ones have it. */
void attn_blocks_resolve(const attn_layer *layer, attn_blocks *blocks);

/* What a step allows. */
typedef struct attn_extent {
    int64_t num_tokens;
    int64_t num_slots;
    attn_device device;
    uint64_t features; /* of the layer */
} attn_extent;

/* [any][hot] Every tensor present, of the right type, shape and device, with
 * unit inner stride. ATTN_E_ARG names tensor and value. */
attn_status attn_block_check(const attn_block *block, const attn_head *args,
                             const attn_extent *extent, attn_error *err);

/* [any] The tensor of an argument in a block; NULL when the block's maker did
 * not know the argument. */
static inline const attn_tensor *
attn_block_tensor(const attn_head *args, const attn_arg *arg)
{
    if (args->struct_size < arg->offset + sizeof(attn_tensor *))
        return NULL;
    return *(const attn_tensor *const *)((const char *)args + arg->offset);
}

#endif /* ATTN_RUNTIME_BLOCK_H */
