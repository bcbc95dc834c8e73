/* SPDX-License-Identifier: Apache-2.0 */
/* session_world.h - a session on made-up backends with a step to run. */
#ifndef ATTN_TESTS_SESSION_WORLD_H
#define ATTN_TESTS_SESSION_WORLD_H

#include "fake_backend.h"
#include "unit.h"

#define HEADS 2
#define WIDTH 8
#define BLOCK 4
#define BLOCKS 16
#define MAX_TOKENS 16

/* A step of up to 4 requests and its tensors; caches [BLOCKS, BLOCK, 2, 8]. */
struct world {
    attn_session *session;
    attn_group *group;
    attn_group_layer *layer;
    int32_t starts[5], lens[4], table[4][4];
    int64_t slots[MAX_TOKENS];
    attn_batch batch;
    attn_kv_group kv;
    float q[MAX_TOKENS * HEADS * WIDTH], out[MAX_TOKENS * HEADS * WIDTH];
    float k[MAX_TOKENS * HEADS * WIDTH], v[MAX_TOKENS * HEADS * WIDTH];
    float k_cache[BLOCKS * BLOCK * HEADS * WIDTH];
    float v_cache[BLOCKS * BLOCK * HEADS * WIDTH];
    int64_t shape3[3], stride3[3], shape4[4], stride4[4];
    attn_tensor tq, tout, tk, tv, tkc, tvc;
    attn_flash_forward forward;
    attn_flash_update update;
};

extern struct world w;
extern const attn_limits world_limits; /* what a step of the world needs */
extern attn_error err;                 /* of the last call that failed */

attn_any_layer make_layer(uint64_t features);
attn_status make_group(attn_session *session, uint64_t features,
                       const char *backend, attn_group **group, attn_error *e);
attn_tensor tensor(void *data, int64_t *shape, int64_t *strides, int ndim);

/* Requests with these query and sequence lengths, pages from the last. */
void make_step(uint32_t reqs, const int32_t (*lengths)[2]);

/* A session, a group and a layer; ini as for fake_registry. */
void open_world(const char *ini, const char *backend);
void open_world_with(uint64_t features, const char *ini, const char *backend);
void close_world(void);

/* build, update_cache, forward. */
attn_status run_step(void);

#endif /* ATTN_TESTS_SESSION_WORLD_H */
