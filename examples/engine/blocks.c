/* SPDX-License-Identifier: Apache-2.0 */
#include "blocks.h"

#include <stdlib.h>

int
blocks_init(struct blocks *b, uint32_t block_size, uint32_t num_blocks,
            uint64_t seed)
{
    b->block_size = block_size;
    b->num_blocks = b->num_free = num_blocks;
    b->free_list = malloc(num_blocks * sizeof *b->free_list);
    b->refs = calloc(num_blocks, sizeof *b->refs);
    b->keys = calloc(num_blocks, sizeof *b->keys);
    if (!b->free_list || !b->refs || !b->keys) {
        blocks_destroy(b);
        return -1;
    }
    for (uint32_t i = 0; i < num_blocks; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t j = (uint32_t)(seed >> 33) % (i + 1);
        b->free_list[i] = b->free_list[j];
        b->free_list[j] = (int32_t)i;
    }
    return 0;
}

void
blocks_destroy(struct blocks *b)
{
    free(b->free_list);
    free(b->refs);
    free(b->keys);
    *b = (struct blocks){0};
}

int32_t
blocks_take(struct blocks *b)
{
    if (!b->num_free)
        return -1;
    int32_t block = b->free_list[--b->num_free];
    b->refs[block] = 1;
    b->keys[block] = 0;
    return block;
}

void
blocks_release(struct blocks *b, int32_t block)
{
    if (--b->refs[block])
        return;
    b->keys[block] = 0;
    b->free_list[b->num_free++] = block;
}

int32_t
blocks_share(struct blocks *b, uint64_t key)
{
    for (uint32_t i = 0; i < b->num_blocks; i++)
        if (b->refs[i] && b->keys[i] == key) {
            b->refs[i]++;
            return (int32_t)i;
        }
    return -1;
}

void
blocks_publish(struct blocks *b, int32_t block, uint64_t key)
{
    b->keys[block] = key;
}

uint64_t
blocks_key(const int32_t *tokens, uint32_t count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < count; i++)
        hash = (hash ^ (uint32_t)tokens[i]) * 0x100000001b3u;
    return hash ? hash : 1;
}
