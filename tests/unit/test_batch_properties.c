/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold for any batch, on thousands of random ones. A read past an
 * array, or past a sequence in the last row of the table, hits a guard page;
 * any other forbidden entry is poison that must not come out. */
#include "config.h"

#include <attn/plan.h>
#include <attn/recurrent.h>
#include <attn/spec_decode.h>

#include "batch_random.h"

#define BATCHES 2000

static attn_error err;

START_TEST(slots_are_where_the_table_says)
{
    random_batch x;

    random_open(&x, 1);
    for (int i = 0; i < BATCHES; i++) {
        const attn_batch *b = &x.batch;

        random_next(&x, 0);
        for (uint32_t r = 0; r < b->num_reqs; r++)
            for (uint32_t t = 0; t < random_query(b, r); t++)
                ck_assert_int_eq(
                    x.group.slot_mapping[b->query_start_loc[r] + (int32_t)t],
                    random_slot(&x.group, r, random_context(b, r) + t));
        for (uint32_t t = (uint32_t)b->query_start_loc[b->num_reqs];
             t < b->num_tokens; t++)
            ck_assert_int_eq(x.group.slot_mapping[t], -1);
    }
    random_close(&x);
}
END_TEST

/* Each token has exactly one owner, whose slots are dense. */
static void
check_ranks(random_batch *x, uint32_t world, uint32_t interleave)
{
    int64_t slots[1024];
    uint32_t owners[1024] = {0};
    attn_ext_context_parallel cp = {
        .head = {sizeof cp, 0, ATTN_EXT_CONTEXT_PARALLEL, NULL},
        .world = world,
        .interleave = interleave};
    attn_batch b = x->batch;

    b.ext = &cp.head;
    for (cp.rank = 0; cp.rank < world; cp.rank++) {
        ck_assert_good(attn_slot_mapping(&b, &x->group, slots, &err), err);
        for (uint32_t r = 0; r < b.num_reqs; r++)
            for (uint32_t i = 0; i < random_query(&b, r); i++) {
                uint32_t t = (uint32_t)b.query_start_loc[r] + i;
                uint32_t p = random_context(&b, r) + i, local = 0;

                if (slots[t] < 0)
                    continue;
                owners[t]++;
                for (uint32_t k = 0; k < p; k++)
                    local += k / interleave % world == cp.rank;
                ck_assert_int_eq(slots[t], random_slot(&x->group, r, local));
            }
    }
    for (int32_t t = 0; t < b.query_start_loc[b.num_reqs]; t++)
        ck_assert_uint_eq(owners[t], 1);
}

START_TEST(ranks_share_tokens_out)
{
    random_batch x;

    random_open(&x, 2);
    for (int i = 0; i < BATCHES / 10; i++) {
        uint32_t world = 1 + random_below(&x, 4), interleave = 1;

        random_next(&x, 0);
        if (x.group.block_size % 4 == 0)
            interleave = 1u << random_below(&x, 3);
        check_ranks(&x, world, interleave);
    }
    random_close(&x);
}
END_TEST

START_TEST(local_lengths_count_owned_positions)
{
    random_batch x;
    attn_batch out;

    random_open(&x, 3);
    for (int i = 0; i < BATCHES; i++) {
        uint32_t world = 1 + random_below(&x, 5);
        uint32_t rank = random_below(&x, world);
        uint32_t interleave = 1 + random_below(&x, 9);

        random_next(&x, 0);
        random_room_same(&x);
        ck_assert_good(attn_context_parallel(&x.batch, world, rank, interleave,
                                             &x.room, &out, &err),
                       err);
        for (uint32_t r = 0; r < out.num_reqs; r++) {
            int32_t owned = 0;

            for (uint32_t p = 0; p < (uint32_t)out.seq_lens[r]; p++)
                owned += p / interleave % world == rank;
            ck_assert_int_eq(x.room.local_seq_lens[r], owned);
        }
        ck_assert_good(attn_batch_validate(&out, &err), err);
    }
    random_close(&x);
}
END_TEST

/* ------------------------------------------------------------ microbatches */

/* Token t of the slice is token `from + t` of the batch: same request, same
 * position, same slot. */
static void
check_slice(const random_batch *x, const attn_batch_slice *s,
            const attn_batch *out, const attn_kv_group *group)
{
    const attn_batch *b = &x->batch;

    ck_assert_uint_eq(out->num_tokens, s->last_token - s->first_token);
    for (uint32_t r = 0; r < out->num_reqs; r++) {
        uint32_t from = s->first_req + r;

        for (uint32_t i = 0; i < random_query(out, r); i++) {
            uint32_t t = (uint32_t)out->query_start_loc[r] + i;
            uint32_t old = s->first_token + t;

            ck_assert_uint_ge(old, (uint32_t)b->query_start_loc[from]);
            ck_assert_uint_lt(old, (uint32_t)b->query_start_loc[from + 1]);
            ck_assert_uint_eq(random_context(out, r) + i,
                              random_context(b, from) + old -
                                  (uint32_t)b->query_start_loc[from]);
            ck_assert_int_eq(group->slot_mapping[t],
                             x->group.slot_mapping[old]);
        }
        ck_assert_int_eq(out->num_prompt_tokens[r], b->num_prompt_tokens[from]);
        for (uint32_t p = 0; p < (uint32_t)out->seq_lens[r]; p++)
            ck_assert_int_eq(random_slot(group, r, p),
                             random_slot(&x->group, from, p));
    }
}

START_TEST(slices_join_to_the_batch)
{
    random_batch x;
    uint32_t cut = 0;

    random_open(&x, 4);
    for (int i = 0; i < BATCHES; i++) {
        attn_batch_slice s[5];
        attn_batch out;
        attn_kv_group group;
        uint32_t n = 2 + random_below(&x, 4), count, token = 0;

        random_next(&x, 0);
        random_room_same(&x);
        ck_assert_good(attn_microbatch_plan(&x.batch, n, 0, s, &count, &err),
                       err);
        ck_assert(count == n || count == 1);
        cut += count == n;
        if (x.batch.query_start_loc[x.batch.num_reqs] == 0)
            continue;
        for (uint32_t k = 0; k < count; k++) {
            ck_assert_uint_eq(s[k].first_token, token);
            token = s[k].last_token;
            if (count == 1)
                continue; /* padding requests may stand first in it */
            ck_assert_good(attn_microbatch(&x.batch, &x.group, &s[k], &x.room,
                                           &out, &group, &err),
                           err);
            check_slice(&x, &s[k], &out, &group);
            random_check(&out, &group);
        }
        ck_assert_uint_eq(token, x.batch.num_tokens);
    }
    ck_assert_uint_gt(cut, BATCHES / 2);
    random_close(&x);
}
END_TEST

/* --------------------------------------------------------- local attention */

/* The keys a token sees: those of its chunk up to itself, at their slots. */
static void
check_virtual(const random_batch *x, uint32_t chunk, const attn_batch *out,
              const attn_kv_group *group)
{
    const attn_batch *b = &x->batch;
    uint32_t v = 0;

    for (uint32_t r = 0; r < b->num_reqs; r++)
        for (uint32_t i = 0; i < random_query(b, r); i++) {
            uint32_t t = (uint32_t)b->query_start_loc[r] + i;
            uint32_t p = random_context(b, r) + i, own;

            while (t >= (uint32_t)out->query_start_loc[v + 1])
                v++;
            ck_assert_uint_eq(x->room.source[v], r);
            own =
                random_context(out, v) + t - (uint32_t)out->query_start_loc[v];
            ck_assert_uint_eq(own, p % chunk);
            for (uint32_t k = 0; k <= own; k++)
                ck_assert_int_eq(random_slot(group, v, k),
                                 random_slot(&x->group, r, p - own + k));
        }
}

START_TEST(virtual_requests_see_their_chunk)
{
    random_batch x;

    random_open(&x, 5);
    for (int i = 0; i < BATCHES; i++) {
        attn_batch_size size;
        attn_batch out;
        attn_kv_group group;
        uint32_t chunk;

        random_next(&x, 0);
        chunk = x.group.block_size * (1 + random_below(&x, 6));
        ck_assert_good(
            attn_local_attention_size(&x.batch, &x.group, chunk, &size, &err),
            err);
        random_room(&x, &size);
        ck_assert_good(attn_local_attention(&x.batch, &x.group, chunk, &x.room,
                                            &out, &group, &err),
                       err);
        ck_assert_uint_eq(out.num_reqs, size.num_reqs);
        ck_assert_uint_le(out.num_reqs,
                          attn_local_attention_bound(
                              x.batch.num_reqs, x.batch.num_tokens, chunk));
        random_check_copied(&out, &group);
        check_virtual(&x, chunk, &out, &group);
    }
    random_close(&x);
}
END_TEST

/* Every request of up to 40 tokens at every offset in chunks of up to 9: what
 * holds for each holds for their sum. For T = 2 R and longer queries the
 * bound is reached. */
START_TEST(the_bound_on_virtual_requests_holds)
{
    uint32_t reached = 0;

    for (int32_t chunk = 1; chunk < 10; chunk++)
        for (int32_t query = 1; query < 40; query++)
            for (int32_t context = 0; context < 2 * chunk; context++) {
                int32_t start[2] = {0, query}, lens[1] = {context + query};
                attn_batch b = {.struct_size = sizeof b,
                                .num_reqs = 1,
                                .num_tokens = (uint32_t)query,
                                .query_start_loc_state = ATTN_EXACT,
                                .seq_lens_state = ATTN_EXACT,
                                .query_start_loc = start,
                                .seq_lens = lens};
                attn_batch_size size;
                uint32_t bound = attn_local_attention_bound(1, (uint32_t)query,
                                                            (uint32_t)chunk);

                ck_assert_good(attn_local_attention_size(
                                   &b, NULL, (uint32_t)chunk, &size, &err),
                               err);
                ck_assert_uint_le(size.num_reqs, bound);
                if (query > 1 && chunk > 1)
                    ck_assert_uint_le(size.num_reqs, 2 + (uint32_t)(query - 2) /
                                                             (uint32_t)chunk);
                reached += size.num_reqs == bound;
            }
    ck_assert_uint_gt(reached, 200);
    ck_assert_uint_eq(attn_local_attention_bound(UINT32_MAX, UINT32_MAX, 1),
                      UINT32_MAX);
}
END_TEST

/* -------------------------------------------------------------- reordering */

static uint32_t
region_of(int32_t scheduled, int32_t computed, int32_t prompt,
          int32_t threshold)
{
    if (computed == 0)
        return 3;
    if (scheduled > threshold)
        return 2;
    return computed < prompt;
}

START_TEST(orders_are_sorted_permutations_with_fewest_moves)
{
    random_batch x;

    random_open(&x, 6);
    for (int i = 0; i < BATCHES; i++) {
        int32_t scheduled[16], computed[16], prompt[16];
        uint32_t region[16], order[16], scratch[16], modified, moved = 0;
        uint32_t n = random_below(&x, 17), seen = 0, ends[5] = {0}, wrong = 0;
        int32_t threshold = 1 + (int32_t)random_below(&x, 3);

        for (uint32_t r = 0; r < n; r++) {
            scheduled[r] = 1 + (int32_t)random_below(&x, 5);
            computed[r] = (int32_t)(random_below(&x, 3) * random_below(&x, 9));
            prompt[r] = (int32_t)random_below(&x, 12);
            region[r] =
                region_of(scheduled[r], computed[r], prompt[r], threshold);
            ends[region[r] + 1]++;
        }
        ck_assert_good(attn_reorder_plan(scheduled, computed, prompt, n,
                                         (uint32_t)threshold, order, scratch,
                                         &modified, &err),
                       err);
        for (uint32_t k = 1; k < 5; k++)
            ends[k] += ends[k - 1];
        for (uint32_t k = 0; k < n; k++) {
            seen |= 1u << order[k];
            moved += order[k] != k;
            wrong += k < ends[region[k]] || k >= ends[region[k] + 1];
            if (k)
                ck_assert_uint_le(region[order[k - 1]], region[order[k]]);
        }
        ck_assert_uint_eq(seen, n == 32 ? UINT32_MAX : (1u << n) - 1);
        ck_assert_uint_eq(moved, wrong);
        ck_assert_uint_eq(modified, moved != 0);
    }
    random_close(&x);
}
END_TEST

static void
check_reordered(const random_batch *x, const uint32_t *order,
                const uint32_t *tokens, const attn_batch *out,
                const attn_kv_group *group)
{
    const attn_batch *b = &x->batch;

    for (uint32_t r = 0; r < b->num_reqs; r++) {
        uint32_t old = order[r];

        ck_assert_int_eq(out->seq_lens[r], b->seq_lens[old]);
        ck_assert_uint_eq(random_query(out, r), random_query(b, old));
        ck_assert_uint_eq(out->is_prefilling[r], b->is_prefilling[old]);
        for (uint32_t p = 0; p < (uint32_t)b->seq_lens[old]; p++)
            ck_assert_int_eq(random_slot(group, r, p),
                             random_slot(&x->group, old, p));
    }
    for (uint32_t t = 0; t < b->num_tokens; t++)
        ck_assert_int_eq(group->slot_mapping[t],
                         x->group.slot_mapping[tokens[t]]);
}

START_TEST(an_order_and_its_inverse_cancel)
{
    random_batch x;
    char *second = aligned_alloc(64, 1u << 20);

    random_open(&x, 7);
    for (int i = 0; i < BATCHES; i++) {
        uint32_t order[RANDOM_REQS], inverse[RANDOM_REQS], tokens[1024];
        uint32_t n, real = 0;
        attn_batch out, back;
        attn_kv_group group, back_group;
        attn_batch_room room;

        random_next(&x, 0);
        random_room_same(&x);
        n = x.batch.num_reqs;
        for (uint32_t r = 0; r < n; r++) {
            uint32_t j;

            order[r] = r; /* padding requests keep their place */
            if (!x.batch.seq_lens[r])
                continue;
            j = random_below(&x, ++real);
            order[r] = order[j];
            order[j] = r;
        }
        for (uint32_t r = 0; r < n; r++)
            inverse[order[r]] = r;
        ck_assert_good(
            attn_batch_room_bind(&x.room.size, second, 1u << 20, &room, &err),
            err);
        ck_assert_good(attn_batch_reorder(&x.batch, &x.group, order, tokens,
                                          &x.room, &out, &group, &err),
                       err);
        random_check_copied(&out, &group);
        check_reordered(&x, order, tokens, &out, &group);
        ck_assert_good(attn_batch_reorder(&out, &group, inverse, NULL, &room,
                                          &back, &back_group, &err),
                       err);
        ck_assert_mem_eq(back.query_start_loc, x.batch.query_start_loc,
                         (n + 1) * sizeof(int32_t));
        ck_assert_mem_eq(back.seq_lens, x.batch.seq_lens, n * sizeof(int32_t));
        ck_assert_mem_eq(back.is_prefilling, x.batch.is_prefilling, n);
        ck_assert_mem_eq(back_group.slot_mapping, x.group.slot_mapping,
                         x.batch.num_tokens * sizeof(int64_t));
        order[0] = n;
        ck_assert_error(attn_batch_reorder(&x.batch, &x.group, order, NULL,
                                           &x.room, &out, &group, &err),
                        err, ATTN_E_ARG, "order[0]");
    }
    free(second);
    random_close(&x);
}
END_TEST

START_TEST(padding_comes_off_again)
{
    random_batch x;

    random_open(&x, 8);
    for (int i = 0; i < BATCHES; i++) {
        attn_batch_size size;
        attn_batch out, back;
        attn_kv_group group, back_group;
        uint32_t reqs, tokens;

        random_next(&x, 0);
        reqs = x.batch.num_reqs + random_below(&x, 4);
        tokens = x.batch.num_tokens + random_below(&x, 4);
        ck_assert_good(attn_batch_size_of(&x.batch, &x.group, &size, &err),
                       err);
        size.num_reqs = reqs;
        size.num_tokens = tokens;
        random_room(&x, &size);
        ck_assert_good(attn_batch_pad(&x.batch, &x.group, reqs, tokens, &x.room,
                                      &out, &group, &err),
                       err);
        random_check_copied(&out, &group);
        ck_assert_good(attn_batch_unpad(&out, &group, x.batch.num_reqs,
                                        x.batch.num_tokens, &back, &back_group,
                                        &err),
                       err);
        ck_assert_uint_eq(back.num_tokens, x.batch.num_tokens);
        ck_assert_mem_eq(back.query_start_loc, x.batch.query_start_loc,
                         (back.num_reqs + 1) * sizeof(int32_t));
        ck_assert_mem_eq(back_group.slot_mapping, x.group.slot_mapping,
                         back.num_tokens * sizeof(int64_t));
        if (x.batch.query_start_loc[x.batch.num_reqs])
            ck_assert_error(attn_batch_unpad(&out, &group, reqs, 0, &back,
                                             &back_group, &err),
                            err, ATTN_E_ARG, "num_tokens 0");
    }
    random_close(&x);
}
END_TEST

UNIT_MAIN("batch_properties", 60, slots_are_where_the_table_says,
          ranks_share_tokens_out, local_lengths_count_owned_positions,
          slices_join_to_the_batch, virtual_requests_see_their_chunk,
          the_bound_on_virtual_requests_holds,
          orders_are_sorted_permutations_with_fewest_moves,
          an_order_and_its_inverse_cancel, padding_comes_off_again)
