/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.h - pages of one KV group: a free list, reference counts, and full
 * pages found again by the tokens they hold (prefix sharing). */
#ifndef ENGINE_BLOCKS_H
#define ENGINE_BLOCKS_H

#include <stdint.h>

struct blocks {
    uint32_t block_size, num_blocks, num_free;
    int32_t *free_list;
    uint32_t *refs;
    uint64_t *keys; /* hash of all tokens up to the page's end; 0: not full */
};

/* 0, or -1 without memory. Pages are handed out in an order shuffled by
 * seed. */
int blocks_init(struct blocks *blocks, uint32_t block_size, uint32_t num_blocks,
                uint64_t seed);
void blocks_destroy(struct blocks *blocks);
/* A page with one reference, or -1 when none is free. */
int32_t blocks_take(struct blocks *blocks);
void blocks_release(struct blocks *blocks, int32_t block);
/* The page whose content is `key`, with one more reference, or -1. */
int32_t blocks_share(struct blocks *blocks, uint64_t key);
/* Says what a full page holds. */
void blocks_publish(struct blocks *blocks, int32_t block, uint64_t key);
/* Hash of tokens[0, count). Never 0. */
uint64_t blocks_key(const int32_t *tokens, uint32_t count);

#endif
