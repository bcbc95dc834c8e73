/* SPDX-License-Identifier: Apache-2.0 */
/* batch_random.h - random batches whose arrays end at a guard page and whose
 * block table is poison wherever no sequence reaches. */
#ifndef ATTN_TESTS_BATCH_RANDOM_H
#define ATTN_TESTS_BATCH_RANDOM_H

#include <attn/transform.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

#define RANDOM_REQS 12
#define RANDOM_POISON 0x7fffffff
#define RANDOM_ARENA (1u << 18)
#define RANDOM_ARRAYS 7

typedef struct random_batch {
    attn_batch batch;
    attn_kv_group group;
    char *arena[RANDOM_ARRAYS]; /* each ends at a guard page */
    uint64_t state;
    attn_batch_room room;
    void *memory;
    uint64_t memory_bytes;
} random_batch;

static inline uint32_t
random_below(random_batch *x, uint32_t n)
{
    x->state ^= x->state << 13;
    x->state ^= x->state >> 7;
    x->state ^= x->state << 17;
    return (uint32_t)((x->state >> 32) * n >> 32);
}

/* Memory of exactly this size before a page that cannot be touched. */
static inline void *
random_array(random_batch *x, uint32_t which, size_t bytes)
{
    ck_assert_uint_le(bytes, RANDOM_ARENA);
    return x->arena[which] + RANDOM_ARENA - bytes;
}

static inline void
random_open(random_batch *x, uint64_t seed)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    memset(x, 0, sizeof *x);
    x->state = seed * 0x9e3779b97f4a7c15u + 1;
    for (uint32_t i = 0; i < RANDOM_ARRAYS; i++) {
        x->arena[i] = mmap(NULL, RANDOM_ARENA + page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(x->arena[i], MAP_FAILED);
        ck_assert_int_eq(mprotect(x->arena[i] + RANDOM_ARENA, page, PROT_NONE),
                         0);
    }
    x->memory_bytes = 1u << 20;
    x->memory = aligned_alloc(64, x->memory_bytes);
}

static inline void
random_close(random_batch *x)
{
    for (uint32_t i = 0; i < RANDOM_ARRAYS; i++)
        munmap(x->arena[i], RANDOM_ARENA + (size_t)sysconf(_SC_PAGESIZE));
    free(x->memory);
}

static inline void
random_lengths(random_batch *x, uint32_t n, uint32_t padding)
{
    attn_batch *b = &x->batch;
    int32_t *start = random_array(x, 0, (n + 1) * sizeof *start);
    int32_t *lens = random_array(x, 1, n * sizeof *lens);
    int32_t *prompt = random_array(x, 2, n * sizeof *prompt);
    uint8_t *flags = random_array(x, 3, n);

    *b = (attn_batch){.struct_size = sizeof *b,
                      .num_reqs = n,
                      .query_start_loc_state = ATTN_EXACT,
                      .seq_lens_state = ATTN_EXACT,
                      .query_start_loc = start,
                      .seq_lens = lens,
                      .is_prefilling = flags,
                      .num_prompt_tokens = prompt};
    start[0] = 0;
    for (uint32_t r = 0; r < n; r++) {
        static const uint32_t most[] = {1, 4, 40};
        uint32_t q = random_below(x, 8) ? 1 + random_below(x, most[r % 3]) : 0;
        uint32_t c = random_below(x, 3) ? random_below(x, 90) : 0;

        if (q + c == 0)
            c = 1; /* idle, no padding */
        if (r + padding >= n)
            q = c = 0;
        start[r + 1] = start[r] + (int32_t)q;
        lens[r] = (int32_t)(q + c);
        flags[r] = q > 0 && random_below(x, 2);
        prompt[r] = (int32_t)(flags[r] ? q + c : random_below(x, c + 1));
        b->max_query_len = q > b->max_query_len ? q : b->max_query_len;
        b->max_seq_len = q + c > b->max_seq_len ? q + c : b->max_seq_len;
    }
    b->num_tokens = (uint32_t)start[n] + random_below(x, 3) * (padding > 0);
}

/* The last row ends where its sequence does: past it is the guard page. */
static inline void
random_table(random_batch *x, uint32_t spare)
{
    static const uint32_t sizes[] = {1, 2, 3, 4, 8, 16};
    attn_kv_group *g = &x->group;
    const attn_batch *b = &x->batch;
    uint32_t bs = sizes[random_below(x, 6)], n = b->num_reqs, id = 0;
    uint32_t cols = (b->max_seq_len + spare + bs - 1) / bs + 1;
    uint32_t tail = ((uint32_t)b->seq_lens[n - 1] + spare + bs - 1) / bs;
    int32_t *table =
        random_array(x, 4, ((size_t)(n - 1) * cols + tail) * sizeof *table);
    int64_t *slots = random_array(x, 5, b->num_tokens * sizeof *slots);
    attn_error err = ATTN_ERROR_INIT;

    for (uint32_t r = 0; r < n; r++)
        for (uint32_t c = 0; c < (r + 1 < n ? cols : tail); c++)
            table[r * cols + c] = c * bs < (uint32_t)b->seq_lens[r] + spare
                                      ? (int32_t)id++
                                      : RANDOM_POISON;
    *g = (attn_kv_group){.struct_size = sizeof *g,
                         .block_size = bs,
                         .num_blocks = id + 1,
                         .block_table_cols = cols,
                         .block_table_stride = cols,
                         .block_table = table,
                         .slot_mapping = slots};
    ck_assert_good(attn_slot_mapping(b, g, slots, &err), err);
}

/* A fresh batch; `spare` positions behind each sequence have blocks too. */
static inline void
random_next(random_batch *x, uint32_t spare)
{
    uint32_t n = 1 + random_below(x, RANDOM_REQS);
    uint32_t padding = random_below(x, 4) ? 0 : random_below(x, n);
    attn_error err = ATTN_ERROR_INIT;

    random_lengths(x, n, padding);
    random_table(x, spare);
    ck_assert_good(attn_batch_validate(&x->batch, &err), err);
    ck_assert_good(
        attn_kv_group_validate(&x->group, &x->batch, ATTN_CHECK_TABLE, &err),
        err);
}

static inline void
random_room(random_batch *x, const attn_batch_size *size)
{
    attn_error err = ATTN_ERROR_INIT;

    memset(x->memory, 0x5a, 1u << 16);
    ck_assert_good(
        attn_batch_room_bind(size, x->memory, x->memory_bytes, &x->room, &err),
        err);
}

/* Room for a result no larger than the batch. */
static inline void
random_room_same(random_batch *x)
{
    attn_batch_size size;
    attn_error err = ATTN_ERROR_INIT;

    ck_assert_good(attn_batch_size_of(&x->batch, &x->group, &size, &err), err);
    random_room(x, &size);
}

static inline uint32_t
random_query(const attn_batch *b, uint32_t r)
{
    return (uint32_t)(b->query_start_loc[r + 1] - b->query_start_loc[r]);
}

static inline uint32_t
random_context(const attn_batch *b, uint32_t r)
{
    return (uint32_t)b->seq_lens[r] - random_query(b, r);
}

/* Where position p of request r is kept. */
static inline int64_t
random_slot(const attn_kv_group *g, uint32_t r, uint32_t p)
{
    return (int64_t)g->block_table[r * g->block_table_stride +
                                   p / g->block_size] *
               g->block_size +
           p % g->block_size;
}

/* out is right in itself, and holds no poison where it has copied. */
static inline void
random_check(const attn_batch *out, const attn_kv_group *group)
{
    attn_error err = ATTN_ERROR_INIT;

    ck_assert_good(attn_batch_validate(out, &err), err);
    ck_assert_good(attn_kv_group_validate(group, out, ATTN_CHECK_TABLE, &err),
                   err);
}

/* The same where the table was copied: 0 stands where no token is. */
static inline void
random_check_copied(const attn_batch *out, const attn_kv_group *group)
{
    random_check(out, group);
    for (uint32_t r = 0; r < out->num_reqs; r++)
        for (uint32_t c = 0; c < group->block_table_cols; c++)
            if ((int64_t)c * group->block_size >= out->seq_lens[r])
                ck_assert_int_eq(
                    group->block_table[r * group->block_table_stride + c], 0);
}

#endif /* ATTN_TESTS_BATCH_RANDOM_H */
