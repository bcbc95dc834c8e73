/* SPDX-License-Identifier: Apache-2.0 */
/* Plans and the batches of speculative decoding against their definitions, on
 * random batches with guard pages and poison. */
#include "config.h"

#include <attn/merge.h>
#include <attn/plan.h>
#include <attn/recurrent.h>
#include <attn/spec_decode.h>
#include <math.h>

#include "batch_random.h"

#define BATCHES 2000

static attn_error err;

START_TEST(every_context_row_is_gathered_once)
{
    random_batch x;

    random_open(&x, 11);
    for (int i = 0; i < BATCHES; i++) {
        attn_context_piece pieces[2048];
        attn_context_chunk chunks[2048];
        uint32_t np, nc, next[RANDOM_REQS] = {0}, rows = 0, at = 0;
        uint32_t align, workspace;
        const attn_batch *b = &x.batch;

        random_next(&x, 0);
        align = x.group.block_size;
        workspace = align + random_below(&x, 100);
        ck_assert_good(attn_context_chunks(b, 0, workspace, align, pieces, 2048,
                                           &np, chunks, 2048, &nc, &err),
                       err);
        for (uint32_t c = 0; c < nc; c++) {
            uint32_t sum = 0;

            ck_assert_uint_eq(chunks[c].first, at);
            ck_assert_uint_gt(chunks[c].last, at);
            for (; at < chunks[c].last; at++) {
                const attn_context_piece *p = &pieces[at];

                ck_assert_uint_eq(p->start, next[p->request]);
                ck_assert_uint_gt(p->length, 0);
                ck_assert(at == chunks[c].first || p->start == 0);
                ck_assert(at == chunks[c].first ||
                          p->request == pieces[at - 1].request + 1);
                next[p->request] += p->length;
                ck_assert(next[p->request] % align == 0 ||
                          next[p->request] == random_context(b, p->request));
                sum += p->length;
            }
            ck_assert_uint_eq(chunks[c].rows, sum);
            ck_assert_uint_le(sum, workspace);
            ck_assert_uint_eq(chunks[c].continues,
                              pieces[chunks[c].first].start > 0);
            rows += sum;
        }
        ck_assert_uint_eq(at, np);
        for (uint32_t r = 0; r < b->num_reqs; r++)
            ck_assert_uint_eq(next[r], random_context(b, r));
        ck_assert_uint_le(np, b->num_reqs + rows / (workspace - align + 1));
        if (np > 1)
            ck_assert_error(attn_context_chunks(b, 0, workspace, align, pieces,
                                                np - 1, &np, NULL, 0, &nc,
                                                &err),
                            err, ATTN_E_WORKSPACE, "context pieces");
    }
    random_close(&x);
}
END_TEST

START_TEST(prefills_are_packed_greedily)
{
    random_batch x;

    random_open(&x, 12);
    for (int i = 0; i < BATCHES; i++) {
        int32_t lens[16];
        attn_span spans[16];
        uint32_t n = random_below(&x, 17), count, at = 5;
        uint32_t workspace = 40 + random_below(&x, 50);

        for (uint32_t r = 0; r < n; r++)
            lens[r] = (int32_t)random_below(&x, 41);
        ck_assert_good(
            attn_prefill_chunks(lens, n, workspace, 5, spans, 16, &count, &err),
            err);
        for (uint32_t k = 0; k < count; k++) {
            int32_t sum = 0;

            ck_assert_uint_eq(spans[k].first, at);
            ck_assert_uint_gt(spans[k].last, at);
            for (; at < spans[k].last; at++)
                sum += lens[at - 5];
            ck_assert_int_le(sum, (int32_t)workspace);
            if (at < n + 5)
                ck_assert_int_gt(sum + lens[at - 5], (int32_t)workspace);
        }
        ck_assert_uint_eq(at, n + 5);
    }
    ck_assert_error(attn_prefill_chunks((const int32_t[]){50}, 1, 49, 0, NULL,
                                        0, &(uint32_t){0}, &err),
                    err, ATTN_E_ARG, "request 0: seq_len 50");
    random_close(&x);
}
END_TEST

START_TEST(programs_and_chunks_cover_each_token_once)
{
    random_batch x;

    random_open(&x, 13);
    for (int i = 0; i < BATCHES; i++) {
        int32_t request[1024], offset[1024], starts[1024], last[RANDOM_REQS];
        const attn_batch *b = &x.batch;
        uint32_t count, made = 0, block = 1 + random_below(&x, 9), first;

        random_next(&x, 0);
        first = random_below(&x, b->num_reqs + 1);
        ck_assert_good(attn_conv1d_programs(b, first, block, request, offset,
                                            1024, &count, &err),
                       err);
        for (uint32_t r = first; r < b->num_reqs; r++)
            for (uint32_t k = 0; k * block < random_query(b, r); k++, made++) {
                ck_assert_int_eq(request[made], (int32_t)(r - first));
                ck_assert_int_eq(offset[made], (int32_t)k);
            }
        ck_assert_uint_eq(made, count);
        if (count)
            ck_assert_error(attn_conv1d_programs(b, first, block, request,
                                                 offset, count - 1, &count,
                                                 &err),
                            err, ATTN_E_WORKSPACE, "conv1d programs");
        ck_assert_good(attn_mamba2_chunks(b, first, block, ATTN_CHUNK_LOGICAL,
                                          starts, request, last, 1023, &count,
                                          &err),
                       err);
        made = 0;
        for (uint32_t r = first; r < b->num_reqs; r++) {
            int32_t base = b->query_start_loc[first];
            uint32_t t = 0;

            while (t < random_query(b, r)) {
                uint32_t p = random_context(b, r) + t;
                uint32_t len = (uint32_t)(starts[made + 1] - starts[made]);

                ck_assert_int_eq(starts[made],
                                 b->query_start_loc[r] - base + (int32_t)t);
                ck_assert_int_eq(request[made], (int32_t)(r - first));
                ck_assert_uint_eq(p / block, (p + len - 1) / block);
                t += len;
                ck_assert(t == random_query(b, r) || (p + len) % block == 0);
                made++;
            }
            ck_assert_uint_eq(t, random_query(b, r));
            ck_assert_int_eq(last[r - first],
                             random_query(b, r) ? (int32_t)made - 1 : -1);
        }
        ck_assert_uint_eq(made, count);
        ck_assert_uint_le(count,
                          2 * (b->num_reqs - first) + b->num_tokens / block);
        if (count)
            ck_assert_error(attn_mamba2_chunks(b, first, block, 0, starts,
                                               request, last, count - 1, &count,
                                               &err),
                            err, ATTN_E_WORKSPACE, "mamba2 chunks");
    }
    random_close(&x);
}
END_TEST

static void
random_ranges(random_batch *x, int32_t *ranges, uint32_t n)
{
    for (uint32_t r = 0; r < x->batch.num_reqs; r++) {
        int32_t at = 0;

        for (uint32_t k = 0; k < n; k++) {
            int32_t *range = ranges + 2 * (r * n + k);

            range[0] = at + (int32_t)random_below(x, 20);
            range[1] = range[0] + (int32_t)random_below(x, 12);
            at = range[1] + 1;
            if (random_below(x, 3) == 0)
                range[0] = range[1] = -1;
        }
    }
}

START_TEST(each_token_finds_its_range)
{
    random_batch x;

    random_open(&x, 14);
    for (int i = 0; i < BATCHES; i++) {
        int32_t ranges[RANDOM_REQS * 6], got[2048];
        attn_ext_prefix_ranges ext = {
            {sizeof ext, 0, ATTN_EXT_PREFIX_RANGES, NULL}, 3, 0, ranges, NULL};
        const attn_batch *b = &x.batch;
        uint32_t rows, hits = 0;

        random_next(&x, 0);
        random_ranges(&x, ranges, 3);
        x.batch.ext = &ext.head;
        ck_assert_good(attn_batch_validate(b, &err), err);
        ck_assert_good(attn_prefix_query_ranges(b, got, 1024, &rows, &err),
                       err);
        for (uint32_t r = 0; r < b->num_reqs; r++)
            for (uint32_t t = 0; t < random_query(b, r); t++) {
                int32_t p = (int32_t)(random_context(b, r) + t);
                int32_t want[2] = {-1, -1};

                for (uint32_t k = 0; k < 3; k++) {
                    const int32_t *range = ranges + 2 * (3 * r + k);
                    if (range[0] < range[1] && range[0] <= p && p <= range[1])
                        memcpy(want, range, sizeof want);
                }
                hits += want[0] >= 0;
                if (rows)
                    ck_assert_mem_eq(
                        got + 2 * (b->query_start_loc[r] + (int32_t)t), want,
                        sizeof want);
            }
        ck_assert_uint_eq(rows,
                          hits ? (uint32_t)b->query_start_loc[b->num_reqs] : 0);
    }
    random_close(&x);
}
END_TEST

START_TEST(states_come_from_the_last_block)
{
    random_batch x;

    random_open(&x, 15);
    for (int i = 0; i < BATCHES; i++) {
        int32_t states[RANDOM_REQS * 3], lists[3][RANDOM_REQS];
        const attn_kv_group *g = &x.group;

        random_next(&x, 48);
        ck_assert_good(attn_state_table(&x.batch, g, 2, states, &err), err);
        ck_assert_good(attn_state_blocks(&x.batch, g->block_size, lists[0],
                                         lists[1], lists[2], &err),
                       err);
        for (uint32_t r = 0; r < x.batch.num_reqs; r++) {
            int32_t b = (int32_t)g->block_size, seq = x.batch.seq_lens[r];
            int32_t c = (int32_t)random_context(&x.batch, r);
            int32_t column = seq ? (seq - 1) / b : 0;

            ck_assert_mem_eq(states + 3 * r,
                             g->block_table + r * g->block_table_stride +
                                 column,
                             3 * sizeof *states);
            ck_assert_int_eq(lists[0][r], c ? (c + b - 1) / b - 1 : 0);
            ck_assert_int_eq(lists[1][r], (c + b) / b - 1);
            ck_assert_int_eq(lists[2][r], seq ? (seq + b - 1) / b - 1 : 0);
        }
    }
    random_close(&x);
}
END_TEST

/* ----------------------------------------------------- speculative decoding */

START_TEST(compaction_keeps_the_accepted_tokens)
{
    random_batch x;

    random_open(&x, 16);
    for (int i = 0; i < BATCHES; i++) {
        int32_t rejected[RANDOM_REQS];
        uint32_t indices[1024], made = 0;
        attn_batch out;
        attn_kv_group group;
        const attn_batch *b = &x.batch;

        random_next(&x, 0);
        random_room_same(&x);
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            uint32_t q = random_query(b, r);
            rejected[r] = q ? (int32_t)random_below(&x, q) : 0;
        }
        ck_assert_good(attn_spec_compact(b, &x.group, rejected, indices,
                                         &x.room, &out, &group, &err),
                       err);
        random_check(&out, &group);
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            uint32_t kept = random_query(b, r) - (uint32_t)rejected[r];

            ck_assert_uint_eq(random_context(&out, r), random_context(b, r));
            ck_assert_uint_eq(random_query(&out, r), kept);
            for (uint32_t t = 0; t < kept; t++, made++) {
                ck_assert_uint_eq(indices[made],
                                  (uint32_t)b->query_start_loc[r] + t);
                ck_assert_int_eq(group.slot_mapping[made],
                                 x.group.slot_mapping[indices[made]]);
            }
        }
        ck_assert_uint_eq(made, out.num_tokens);
        rejected[0] = (int32_t)random_query(b, 0) + 1;
        ck_assert_error(attn_spec_compact(b, &x.group, rejected, indices,
                                          &x.room, &out, &group, &err),
                        err, ATTN_E_ARG, "request 0");
    }
    random_close(&x);
}
END_TEST

START_TEST(draft_steps_follow_the_sequence)
{
    random_batch x;

    random_open(&x, 17);
    for (int i = 0; i < BATCHES; i++) {
        int32_t positions[RANDOM_REQS], next[RANDOM_REQS];
        attn_batch out;
        attn_kv_group group;
        attn_batch_size size;
        uint32_t limit, n;
        const attn_batch *b = &x.batch;

        do
            random_next(&x, 1);
        while (b->seq_lens[b->num_reqs - 1] == 0);
        n = b->num_reqs;
        limit = random_below(&x, 2) ? 200 : b->max_seq_len;
        ck_assert_good(attn_batch_size_of(b, &x.group, &size, &err), err);
        size.num_tokens = n;
        random_room(&x, &size);
        for (uint32_t r = 0; r < n; r++)
            positions[r] = b->seq_lens[r] - 1;
        ck_assert_good(attn_spec_draft_step(b, &x.group, positions, limit, next,
                                            &x.room, &out, &group, &err),
                       err);
        random_check(&out, &group);
        for (uint32_t r = 0; r < n; r++) {
            int past = b->seq_lens[r] >= (int32_t)limit;

            ck_assert_int_eq(next[r], past ? 0 : b->seq_lens[r]);
            ck_assert_int_eq(out.seq_lens[r], past ? 1 : b->seq_lens[r] + 1);
            ck_assert_uint_eq(random_query(&out, r), 1);
            ck_assert_int_eq(
                group.slot_mapping[r],
                past ? -1 : random_slot(&x.group, r, (uint32_t)b->seq_lens[r]));
        }
    }
    random_close(&x);
}
END_TEST

START_TEST(extension_adds_tokens_at_the_end)
{
    random_batch x;

    random_open(&x, 18);
    for (int i = 0; i < BATCHES; i++) {
        int32_t counts[RANDOM_REQS], rejected[RANDOM_REQS];
        attn_spec_extend_params p = {.struct_size = sizeof p,
                                     .counts = counts,
                                     .num_rejected = rejected,
                                     .max_model_len = 100};
        attn_batch out;
        attn_kv_group group;
        attn_batch_size size;
        const attn_batch *b = &x.batch;

        random_next(&x, 4);
        p.struct_size = 24;
        ck_assert_error(attn_spec_extend_size(b, &x.group, &p, &size, &err),
                        err, ATTN_E_ARG, "struct_size 24: at least 28");
        p.struct_size = sizeof p;
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            counts[r] = b->seq_lens[r] ? (int32_t)random_below(&x, 5) : 0;
            rejected[r] = (int32_t)random_below(&x, random_query(b, r) + 1);
        }
        ck_assert_good(attn_spec_extend_size(b, &x.group, &p, &size, &err),
                       err);
        random_room(&x, &size);
        ck_assert_good(
            attn_spec_extend(b, &x.group, &p, &x.room, &out, &group, &err),
            err);
        random_check(&out, &group);
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            uint32_t old = random_query(b, r);

            ck_assert_uint_eq(random_context(&out, r), random_context(b, r));
            ck_assert_uint_eq(random_query(&out, r), old + (uint32_t)counts[r]);
            for (uint32_t t = 0; t < random_query(&out, r); t++) {
                uint32_t at = random_context(b, r) + t;
                int none = (t < old && t + (uint32_t)rejected[r] >= old) ||
                           (t >= old && at >= p.max_model_len);

                ck_assert_int_eq(
                    group.slot_mapping[out.query_start_loc[r] + (int32_t)t],
                    none ? -1 : random_slot(&x.group, r, at));
            }
        }
    }
    random_close(&x);
}
END_TEST

/* ------------------------------------------------------- rows and prefixes */

START_TEST(fast_prefill_takes_tails)
{
    random_batch x;

    random_open(&x, 19);
    for (int i = 0; i < BATCHES; i++) {
        uint32_t logits[1100], n = 0;
        attn_batch out;
        const attn_batch *b = &x.batch;

        random_next(&x, 0);
        random_room_same(&x);
        if (b->max_query_len <= 1)
            continue;
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            uint32_t k = random_below(&x, random_query(b, r) + 1);

            while (k)
                logits[n++] = (uint32_t)b->query_start_loc[r + 1] - k--;
        }
        ck_assert_good(attn_fast_prefill(b, logits, n, &x.room, &out, &err),
                       err);
        ck_assert_good(attn_batch_validate(&out, &err), err);
        ck_assert_uint_eq(out.num_tokens, n);
        for (uint32_t r = 0; r < b->num_reqs; r++)
            for (uint32_t t = 0; t < random_query(&out, r); t++) {
                uint32_t row = logits[out.query_start_loc[r] + (int32_t)t];

                ck_assert_uint_eq(random_context(&out, r) + t,
                                  random_context(b, r) + row -
                                      (uint32_t)b->query_start_loc[r]);
            }
    }
    random_close(&x);
}
END_TEST

START_TEST(fast_prefill_knows_padding_and_gaps)
{
    int32_t start[] = {0, 4, 6}, lens[] = {9, 8};
    attn_batch b = {.struct_size = sizeof b,
                    .num_reqs = 2,
                    .num_tokens = 6,
                    .max_query_len = 4,
                    .max_seq_len = 9,
                    .query_start_loc_state = ATTN_EXACT,
                    .seq_lens_state = ATTN_EXACT,
                    .query_start_loc = start,
                    .seq_lens = lens};
    random_batch x;
    attn_batch out;

    random_open(&x, 20);
    x.batch = b;
    random_room(&x, &(attn_batch_size){.num_reqs = 2});
    ck_assert_good(attn_fast_prefill(&b, (const uint32_t[]){3, 5, 5, 5}, 4,
                                     &x.room, &out, &err),
                   err);
    ck_assert_uint_eq(out.num_tokens, 4);
    ck_assert_int_eq(out.query_start_loc[2], 2);
    ck_assert_error(
        attn_fast_prefill(&b, (const uint32_t[]){2, 5}, 2, &x.room, &out, &err),
        err, ATTN_E_ARG, "request 0: logits index 2");
    ck_assert_error(
        attn_fast_prefill(&b, (const uint32_t[]){3, 6}, 2, &x.room, &out, &err),
        err, ATTN_E_ARG, "logits index 6");
    random_close(&x);
}
END_TEST

START_TEST(the_passes_of_cascade_see_every_key_once)
{
    random_batch x;
    uint32_t used = 0;

    random_open(&x, 21);
    for (int i = 0; i < BATCHES; i++) {
        attn_cascade_params p = {.struct_size = sizeof p,
                                 .num_common_blocks = 3,
                                 .num_heads = 8,
                                 .num_kv_heads = 8,
                                 .num_units = 4,
                                 .min_prefix = 1,
                                 .min_reqs = 1};
        attn_batch first, second;
        attn_kv_group first_group, second_group;
        uint32_t prefix, least = UINT32_MAX;
        const attn_batch *b = &x.batch;

        random_next(&x, 0);
        random_room_same(&x);
        ck_assert_good(attn_cascade_plan(b, &x.group, &p, &prefix, &err), err);
        for (uint32_t r = 0; r < b->num_reqs; r++) {
            uint32_t own = random_context(b, r);

            if (random_query(b, r) == 0 && own > 0)
                own--; /* idle: a key is left, or it would be padding */
            least = own < least ? own : least;
        }
        least = least < 3 * x.group.block_size ? least : 3 * x.group.block_size;
        ck_assert_uint_eq(prefix, least - least % x.group.block_size);
        if (!prefix)
            continue;
        used++;
        ck_assert_good(attn_cascade_prefix(b, &x.group, prefix, &x.room, &first,
                                           &first_group, &err),
                       err);
        random_check(&first, &first_group);
        ck_assert_int_eq(first.seq_lens[0], (int32_t)prefix);
        ck_assert_good(attn_cascade_suffix(b, &x.group, prefix, &x.room,
                                           &second, &second_group, &err),
                       err);
        random_check(&second, &second_group);
        for (uint32_t r = 0; r < b->num_reqs; r++)
            for (uint32_t k = prefix; k < (uint32_t)b->seq_lens[r]; k++)
                ck_assert_int_eq(random_slot(&second_group, r, k - prefix),
                                 random_slot(&x.group, r, k));
    }
    ck_assert_uint_gt(used, BATCHES / 20);
    random_close(&x);
}
END_TEST

/* The heuristic's own figures: 64 decodes of 8 heads a KV head share. */
START_TEST(cascade_weighs_rounds)
{
    random_batch x;
    int32_t start[65], lens[64];
    attn_batch b = {.struct_size = sizeof b,
                    .num_reqs = 64,
                    .num_tokens = 64,
                    .max_query_len = 1,
                    .max_seq_len = 4096,
                    .query_start_loc_state = ATTN_EXACT,
                    .seq_lens_state = ATTN_EXACT,
                    .query_start_loc = start,
                    .seq_lens = lens};
    attn_kv_group g = {.struct_size = sizeof g, .block_size = 16};
    attn_cascade_params p = {.struct_size = sizeof p,
                             .num_common_blocks = 128,
                             .num_heads = 64,
                             .num_kv_heads = 8,
                             .num_units = 132};
    uint32_t prefix;

    random_open(&x, 22);
    for (int32_t r = 0; r < 65; r++)
        start[r] = r;
    for (int32_t r = 0; r < 64; r++)
        lens[r] = 4096;
    /* 16 tiles: shared 1 * 16 rounds, apart ceil(64 * 8 * 16 / 132) = 63 */
    ck_assert_good(attn_cascade_plan(&b, &g, &p, &prefix, &err), err);
    ck_assert_uint_eq(prefix, 2048);
    p.num_units = 1024; /* 16 against 8 */
    ck_assert_good(attn_cascade_plan(&b, &g, &p, &prefix, &err), err);
    ck_assert_uint_eq(prefix, 0);
    p.num_units = 132;
    p.struct_size = 28;
    ck_assert_error(attn_cascade_plan(&b, &g, &p, &prefix, &err), err,
                    ATTN_E_ARG, "struct_size 28: at least 32");
    p.struct_size = sizeof p;
    p.excluded = 1;
    ck_assert_good(attn_cascade_plan(&b, &g, &p, &prefix, &err), err);
    ck_assert_uint_eq(prefix, 0);
    p.excluded = 0;
    p.num_common_blocks = 15; /* 240 positions: too few */
    ck_assert_good(attn_cascade_plan(&b, &g, &p, &prefix, &err), err);
    ck_assert_uint_eq(prefix, 0);
    random_close(&x);
}
END_TEST

/* ------------------------------------------------------------------- merging
 */

typedef struct merge_case {
    int64_t shape[3], strides[3], lse_shape[2], lse_strides[2];
    attn_tensor out[3], lse[3];
    attn_partial parts[2];
    uint16_t half[3][8];
    float single[3][8], lses[3][2];
} merge_case;

static void
merge_init(merge_case *m, attn_dtype dtype)
{
    *m = (merge_case){.shape = {1, 2, 4},
                      .strides = {8, 4, 1},
                      .lse_shape = {1, 2},
                      .lse_strides = {2, 1}};
    for (int i = 0; i < 3; i++) {
        m->out[i] = (attn_tensor){dtype.bits == 32 ? (void *)m->single[i]
                                                   : (void *)m->half[i],
                                  {ATTN_DEVICE_CPU, 0},
                                  3,
                                  dtype,
                                  m->shape,
                                  m->strides,
                                  0};
        m->lse[i] =
            (attn_tensor){m->lses[i],   {ATTN_DEVICE_CPU, 0}, 2, ATTN_F32,
                          m->lse_shape, m->lse_strides,       0};
    }
    m->parts[0] = (attn_partial){&m->out[0], &m->lse[0]};
    m->parts[1] = (attn_partial){&m->out[1], &m->lse[1]};
}

START_TEST(merging_weighs_by_lse)
{
    merge_case m;
    double a = exp(1.0), b = exp(2.5);

    merge_init(&m, (attn_dtype)ATTN_F32);
    for (int i = 0; i < 8; i++) {
        m.single[0][i] = (float)i;
        m.single[1][i] = i < 4 ? (float)(10 - i) : NAN;
    }
    m.lses[0][0] = 1.0f;
    m.lses[1][0] = 2.5f;
    m.lses[0][1] = 3.0f;
    m.lses[1][1] = -INFINITY; /* its out, NaN, is not read */
    ck_assert_good(attn_lse_merge(m.parts, 2, &m.out[2], &m.lse[2], &err), err);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol((double)m.single[2][i],
                                (a * i + b * (10 - i)) / (a + b), 1e-6);
    for (int i = 4; i < 8; i++)
        ck_assert_float_eq(m.single[2][i], (float)i);
    ck_assert_double_eq_tol((double)m.lses[2][0], log(a + b), 1e-6);
    ck_assert_float_eq(m.lses[2][1], 3.0f);
    m.lses[0][0] = -INFINITY;
    m.lses[1][0] = NAN;
    ck_assert_good(attn_lse_merge(m.parts, 2, &m.out[0], &m.lse[0], &err), err);
    ck_assert_float_eq(m.single[0][0], 0.0f);
    ck_assert(m.lses[0][0] == -INFINITY);
    m.shape[2] = 3;
    m.out[2].shape = (int64_t[]){1, 2, 4};
    ck_assert_error(attn_lse_merge(m.parts, 2, &m.out[2], NULL, &err), err,
                    ATTN_E_ARG, "differs");
    ck_assert_error(attn_lse_merge(m.parts, 65, &m.out[2], NULL, &err), err,
                    ATTN_E_ARG, "65 parts");
}
END_TEST

/* One part alone goes through the conversions and must come out unchanged:
 * every half-precision pattern. */
static void
check_every_half(attn_dtype dtype, uint32_t exponents)
{
    merge_case m;

    for (uint32_t base = 0; base < 65536; base += 4) {
        merge_init(&m, dtype);
        for (uint32_t i = 0; i < 4; i++)
            m.half[0][i] = (uint16_t)(base + i);
        ck_assert_good(attn_lse_merge(m.parts, 1, &m.out[2], NULL, &err), err);
        for (uint32_t i = 0; i < 4; i++) {
            int nan = (m.half[0][i] & exponents) == exponents &&
                      (m.half[0][i] & ~exponents & 0x7fffu);
            int zero = (m.half[0][i] & 0x7fffu) == 0; /* 0 + -0 is 0 */

            ck_assert(nan    ? (m.half[2][i] & exponents) == exponents
                      : zero ? (m.half[2][i] & 0x7fffu) == 0
                             : m.half[2][i] == m.half[0][i]);
        }
    }
}

START_TEST(half_precision_is_exact)
{
    check_every_half((attn_dtype)ATTN_F16, 0x7c00);
    check_every_half((attn_dtype)ATTN_BF16, 0x7f80);
}
END_TEST

/* The mean of neighbours rounds to the even one. */
START_TEST(half_precision_rounds_to_even)
{
    static const attn_dtype types[2] = {ATTN_F16, ATTN_BF16};

    for (int k = 0; k < 2; k++)
        for (uint16_t bits = 1; bits < 0x7b00; bits++) {
            merge_case m;

            merge_init(&m, types[k]);
            m.half[0][0] = bits;
            m.half[1][0] = (uint16_t)(bits + 1);
            ck_assert_good(attn_lse_merge(m.parts, 2, &m.out[2], NULL, &err),
                           err);
            ck_assert_uint_eq(m.half[2][0], bits & 1 ? bits + 1u : bits);
        }
}
END_TEST

UNIT_MAIN("batch_plans", 60, every_context_row_is_gathered_once,
          prefills_are_packed_greedily,
          programs_and_chunks_cover_each_token_once, each_token_finds_its_range,
          states_come_from_the_last_block, compaction_keeps_the_accepted_tokens,
          draft_steps_follow_the_sequence, extension_adds_tokens_at_the_end,
          fast_prefill_takes_tails, fast_prefill_knows_padding_and_gaps,
          the_passes_of_cascade_see_every_key_once, cascade_weighs_rounds,
          merging_weighs_by_lse, half_precision_is_exact,
          half_precision_rounds_to_even)
