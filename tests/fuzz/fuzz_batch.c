/* SPDX-License-Identifier: Apache-2.0 */
/* Any numbers as metadata: validation and a second, plain reading of the
 * rules must agree, and what is accepted goes through the transforms without
 * touching anything that is not there. */
#include <attn/plan.h>
#include <attn/recurrent.h>
#include <attn/spec_decode.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8u
#define COLS 6u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int good)
{
    if (!good)
        abort();
}

typedef struct input {
    const uint8_t *data;
    size_t size;
} input;

/* Small numbers mostly; sometimes a huge or negative one. */
static int32_t
take(input *in)
{
    uint8_t byte = in->size ? *in->data : 0;

    in->data += in->size > 0;
    in->size -= in->size > 0;
    if (byte < 250)
        return byte % 50;
    return byte & 1 ? INT32_MAX - (byte & 4) : -(byte & 7);
}

typedef struct fuzz_case {
    attn_batch batch;
    attn_kv_group group;
    int32_t *start, *lens, *prompt, *table;
    uint8_t *flags;
    int64_t *slots;
} fuzz_case;

static void
make(input *in, fuzz_case *c)
{
    attn_batch *b = &c->batch;
    uint32_t n = (uint32_t)take(in) % (MOST + 1);

    *c = (fuzz_case){.start = calloc(n + 1, sizeof(int32_t)),
                     .lens = calloc(n, sizeof(int32_t)),
                     .prompt = calloc(n, sizeof(int32_t)),
                     .flags = calloc(n, 1),
                     .table = calloc((size_t)n * COLS, sizeof(int32_t))};
    for (uint32_t r = 0; r < n; r++) {
        c->start[r + 1] = take(in);
        c->lens[r] = take(in);
        c->prompt[r] = take(in);
        c->flags[r] = (uint8_t)take(in);
        for (uint32_t k = 0; k < COLS; k++)
            c->table[r * COLS + k] = take(in);
    }
    *b = (attn_batch){.struct_size = sizeof *b,
                      .num_reqs = n,
                      .num_tokens = (uint32_t)take(in) % 512,
                      .max_query_len = (uint32_t)take(in),
                      .max_seq_len = (uint32_t)take(in),
                      .query_start_loc_state = ATTN_EXACT,
                      .seq_lens_state = ATTN_EXACT,
                      .query_start_loc = c->start,
                      .seq_lens = c->lens,
                      .is_prefilling = c->flags,
                      .num_prompt_tokens = c->prompt};
    c->slots = calloc(b->num_tokens, sizeof(int64_t));
    c->group = (attn_kv_group){.struct_size = sizeof c->group,
                               .block_size = 1 + (uint32_t)take(in) % 16,
                               .num_blocks = 1 + (uint32_t)take(in) % 64,
                               .block_table_cols = COLS,
                               .block_table_stride = COLS,
                               .block_table = c->table};
}

static void
release(fuzz_case *c)
{
    free(c->start);
    free(c->lens);
    free(c->prompt);
    free(c->flags);
    free(c->table);
    free(c->slots);
}

static int
request_is_right(const attn_batch *b, uint32_t r, int padding_seen)
{
    int64_t q = (int64_t)b->query_start_loc[r + 1] - b->query_start_loc[r];
    int64_t s = b->seq_lens[r];

    if (q < 0 || s < q || q > b->max_query_len || s > b->max_seq_len)
        return 0;
    if (b->is_prefilling[r] > 1 || b->num_prompt_tokens[r] < 0)
        return 0;
    if (q == 0 && s == 0)
        return b->is_prefilling[r] == 0;
    return !padding_seen &&
           b->is_prefilling[r] == (s - q < b->num_prompt_tokens[r]);
}

static int
batch_is_right(const attn_batch *b)
{
    int padding = 0;

    if (b->query_start_loc[0] != 0)
        return 0;
    for (uint32_t r = 0; r < b->num_reqs; r++) {
        if (!request_is_right(b, r, padding))
            return 0;
        padding |= b->seq_lens[r] == 0;
    }
    return (uint32_t)b->query_start_loc[b->num_reqs] <= b->num_tokens;
}

static int
table_is_right(const attn_batch *b, const attn_kv_group *g)
{
    for (uint32_t r = 0; r < b->num_reqs; r++)
        for (int64_t p = 0; p < b->seq_lens[r]; p++) {
            int64_t c = p / g->block_size;

            if (c >= g->block_table_cols || g->block_table[r * COLS + c] < 0 ||
                (uint32_t)g->block_table[r * COLS + c] >= g->num_blocks)
                return 0;
        }
    return 1;
}

static void
check_result(attn_status status, const attn_batch *out,
             const attn_kv_group *group)
{
    require(status == ATTN_OK);
    require(attn_batch_validate(out, NULL) == ATTN_OK);
    require(attn_kv_group_validate(group, out, ATTN_CHECK_TABLE, NULL) ==
            ATTN_OK);
}

static void *
make_room(const attn_batch_size *size, attn_batch_room *room)
{
    uint64_t bytes;
    void *memory;

    require(attn_batch_room_bytes(size, &bytes, NULL) == ATTN_OK);
    memory = aligned_alloc(64, bytes ? bytes : 64);
    require(memory &&
            attn_batch_room_bind(size, memory, bytes, room, NULL) == ATTN_OK);
    return memory;
}

static void
run_local(const fuzz_case *c, uint32_t chunk)
{
    attn_batch_size size;
    attn_batch_room room;
    attn_batch out;
    attn_kv_group group;
    void *memory;

    require(attn_local_attention_size(&c->batch, &c->group, chunk, &size,
                                      NULL) == ATTN_OK);
    memory = make_room(&size, &room);
    check_result(attn_local_attention(&c->batch, &c->group, chunk, &room, &out,
                                      &group, NULL),
                 &out, &group);
    free(memory);
}

static void
run_slices(const fuzz_case *c, attn_batch_room *room)
{
    attn_batch_slice slices[3];
    uint32_t count;
    attn_batch out;
    attn_kv_group group;

    require(attn_microbatch_plan(&c->batch, 3, 0, slices, &count, NULL) ==
            ATTN_OK);
    for (uint32_t i = 0; count == 3 && i < count; i++)
        check_result(attn_microbatch(&c->batch, &c->group, &slices[i], room,
                                     &out, &group, NULL),
                     &out, &group);
}

static void
run_lists(const fuzz_case *c)
{
    static int32_t lists[3][2048];
    uint32_t count;

    require(attn_conv1d_programs(&c->batch, 0, 3, lists[0], lists[1], 2048,
                                 &count, NULL) == ATTN_OK);
    require(attn_mamba2_chunks(&c->batch, 0, 5, ATTN_CHUNK_LOGICAL, lists[0],
                               lists[1], lists[2], 2047, &count,
                               NULL) == ATTN_OK);
    require(attn_token_requests(&c->batch, lists[0], NULL) == ATTN_OK);
}

static void
run_all(fuzz_case *c)
{
    attn_batch_size size;
    attn_batch_room room;
    attn_batch out;
    attn_kv_group group;
    void *memory;

    require(attn_slot_mapping(&c->batch, &c->group, c->slots, NULL) == ATTN_OK);
    c->group.slot_mapping = c->slots;
    require(attn_kv_group_validate(&c->group, &c->batch, ATTN_CHECK_TABLE,
                                   NULL) == ATTN_OK);
    run_local(c, 2 * c->group.block_size);
    require(attn_batch_size_of(&c->batch, &c->group, &size, NULL) == ATTN_OK);
    size.num_reqs += 2;
    size.num_tokens += 2;
    memory = make_room(&size, &room);
    run_slices(c, &room);
    check_result(attn_batch_pad(&c->batch, &c->group, size.num_reqs,
                                size.num_tokens, &room, &out, &group, NULL),
                 &out, &group);
    free(memory);
    run_lists(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    attn_error err = {.struct_size = sizeof err};
    input in = {data, size};
    fuzz_case c;
    int good;

    make(&in, &c);
    good = attn_batch_validate(&c.batch, &err) == ATTN_OK;
    require(good == batch_is_right(&c.batch));
    require(good || err.message[0] != '\0');
    if (good) {
        good = attn_kv_group_validate(&c.group, &c.batch, ATTN_CHECK_TABLE,
                                      &err) == ATTN_OK;
        require(good == table_is_right(&c.batch, &c.group));
        if (good)
            run_all(&c);
    }
    release(&c);
    return 0;
}
