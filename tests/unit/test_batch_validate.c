/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "batch_case.h"

#define REFUSED(c, text)                                                     \
    ck_assert_error(attn_batch_validate(&(c)->batch, &err), err, ATTN_E_ARG, \
                    text)
#define REFUSED_GROUP(c, depth, text)                                       \
    ck_assert_error(                                                        \
        attn_kv_group_validate(&(c)->group, &(c)->batch, depth, &err), err, \
        ATTN_E_ARG, text)

static attn_error err;

static batch_case *
usual(void)
{
    return CASE((1, 4, 10, 0), (8, 6, 17, 0), 4);
}

START_TEST(a_right_batch_passes)
{
    batch_case *c = usual();

    c->batch.is_prefilling = c->prefilling;
    c->batch.num_prompt_tokens = c->prompt;
    c->batch.causal = c->causal;
    ck_assert_good(attn_batch_validate(&c->batch, &err), err);
    ck_assert_good(
        attn_kv_group_validate(&c->group, &c->batch, ATTN_CHECK_TABLE, &err),
        err);
    ck_assert_int_eq(attn_batch_validate(&c->batch, NULL), ATTN_OK);
    free(c);
}
END_TEST

START_TEST(an_empty_batch_passes)
{
    attn_batch b = {.struct_size = sizeof b};
    attn_kv_group g = {.struct_size = sizeof g, .block_size = 16};

    ck_assert_good(attn_batch_validate(&b, &err), err);
    ck_assert_good(attn_kv_group_validate(&g, &b, ATTN_CHECK_TABLE, &err), err);
}
END_TEST

START_TEST(each_length_fault_is_named)
{
    batch_case *c = usual();

    c->start[0] = 1;
    REFUSED(c, "query_start_loc[0] is 1");
    c->start[0] = 0;
    c->start[2] = 0;
    REFUSED(c, "request 1: query_start_loc falls from 1 to 0");
    c->start[2] = 5;
    c->batch.num_tokens = 14;
    REFUSED(c, "query_start_loc[4] is 15: more than num_tokens 14");
    c->batch.num_tokens = 15;
    c->batch.max_query_len = 9;
    REFUSED(c, "request 2: query length 10 exceeds max_query_len 9");
    c->batch.max_query_len = 10;
    c->batch.max_seq_len = 16;
    REFUSED(c, "request 2: seq_len 17 exceeds max_seq_len 16");
    c->batch.max_seq_len = 17;
    c->lens[1] = 3;
    REFUSED(c, "request 1: query length 4 exceeds seq_len 3");
    c->batch.flags = ATTN_BATCH_CROSS;
    ck_assert_good(attn_batch_validate(&c->batch, &err), err);
    c->lens[1] = -6;
    REFUSED(c, "request 1: seq_len -6 is negative");
    free(c);
}
END_TEST

START_TEST(padding_requests_stand_last)
{
    batch_case *c = CASE((1, 0, 2), (8, 0, 6), 4);

    REFUSED(c, "request 2: query length 2 and seq_len 6 after padding "
               "request 1");
    c->lens[1] = 3; /* an idle request is no padding */
    ck_assert_good(attn_batch_validate(&c->batch, &err), err);
    free(c);
    c = CASE((1, 0), (8, 0), 4);
    c->batch.is_prefilling = c->prefilling;
    c->prefilling[1] = 1;
    REFUSED(c, "request 1: a padding request is marked as prefilling");
    free(c);
}
END_TEST

START_TEST(struct_faults_are_named)
{
    batch_case *c = usual();

    ck_assert_error(attn_batch_validate(NULL, &err), err, ATTN_E_ARG, "NULL");
    c->batch.struct_size = 8;
    REFUSED(c, "struct_size 8");
    c->batch.struct_size = sizeof c->batch;
    c->batch.flags = 6;
    REFUSED(c, "unknown bits 0x6");
    c->batch.flags = 0;
    c->batch.seq_lens = NULL;
    REFUSED(c, "seq_lens is NULL but its state is exact");
    c->batch.seq_lens_state = ATTN_ABSENT;
    REFUSED(c, "seq_lens is absent on the host and on the device");
    c->batch.seq_lens_state = 3;
    REFUSED(c, "seq_lens_state 3");
    c->batch.seq_lens_state = ATTN_EXACT;
    c->batch.seq_lens = c->lens;
    c->batch.query_start_loc_state = ATTN_UPPER_BOUND;
    REFUSED(c, "query_start_loc_state 2");
    free(c);
}
END_TEST

START_TEST(flags_agree_with_prompts)
{
    batch_case *c = usual();

    c->batch.is_prefilling = c->prefilling;
    c->prefilling[1] = 7;
    REFUSED(c, "request 1: batch.is_prefilling is 7");
    c->prefilling[1] = 1;
    c->batch.num_prompt_tokens = c->prompt;
    c->prompt[2] = 7;
    REFUSED(c, "request 2: is_prefilling is 1 with 7 of 7 prompt tokens");
    c->prompt[2] = -1;
    REFUSED(c, "request 2: num_prompt_tokens -1");
    c->prompt[2] = 8;
    c->batch.causal = c->causal;
    c->causal[0] = 2;
    REFUSED(c, "request 0: batch.causal is 2");
    free(c);
}
END_TEST

START_TEST(mirrors_are_checked)
{
    batch_case *c = usual();
    int64_t shape = 4, stride = 1;
    attn_tensor mirror = {
        c->start, {ATTN_DEVICE_CPU, 0}, 1, ATTN_I32, &shape, &stride, 0};

    c->batch.query_start_loc_device = &mirror;
    REFUSED(c, "has 4 elements at stride 1: 5 needed");
    shape = 5;
    ck_assert_good(attn_batch_validate(&c->batch, &err), err);
    mirror.dtype = (attn_dtype)ATTN_I64;
    REFUSED(c, "code 0, 64 bits");
    free(c);
}
END_TEST

START_TEST(extensions_are_checked)
{
    batch_case *c = CASE((2, 3), (9, 7), 4);
    int32_t ranges[] = {0, 3, -1, -1, 1, 4, 4, 6};
    int32_t local[] = {5, 4};
    attn_ext_context_parallel cp = {
        {sizeof cp, 0, ATTN_EXT_CONTEXT_PARALLEL, NULL},
        2,
        0,
        1,
        0,
        local,
        NULL};
    attn_ext_prefix_ranges pr = {
        {sizeof pr, 0, ATTN_EXT_PREFIX_RANGES, NULL}, 2, 0, ranges, NULL};
    attn_ext loop = {sizeof loop, 0, "vendor.ext/1", &loop};

    c->batch.ext = &cp.head;
    cp.head.next = &pr.head;
    REFUSED(c, "request 1: ranges [1, 4] and [4, 6] overlap");
    ranges[6] = 7;
    REFUSED(c, "request 1: range 1 is [7, 6]");
    ranges[6] = 5;
    ck_assert_good(attn_batch_validate(&c->batch, &err), err);
    local[1] = 3;
    REFUSED(c, "request 1: local_seq_len 3: rank 0 of 2 owns 4 of 7");
    cp.rank = 2;
    REFUSED(c, "rank 2 of 2");
    c->batch.ext = &loop;
    REFUSED(c, "cycle");
    free(c);
}
END_TEST

START_TEST(group_faults_are_named)
{
    batch_case *c = usual();

    c->slots[3] = (int64_t)c->group.num_blocks * 4;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "token 3: slot 25604: -1 to 25603");
    c->slots[3] = -2;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "token 3: slot -2");
    c->slots[3] = -1;
    c->batch.num_tokens = 16;
    c->slots[15] = 5;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "token 15: slot 5");
    c->slots[15] = -1;
    c->table[2 * CASE_COLS] = 6401;
    ck_assert_good(
        attn_kv_group_validate(&c->group, &c->batch, ATTN_CHECK_PAGES, &err),
        err);
    REFUSED_GROUP(c, ATTN_CHECK_TABLE,
                  "request 2: block_table[2][0] is 6401: 0 to num_blocks - 1 "
                  "= 6400");
    c->table[2 * CASE_COLS + 4] = -1;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "block_table[2][4] is -1");
    c->group.block_table_cols = 4;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES,
                  "request 2: seq_len 17 needs 5 blocks of 4 positions");
    c->group.block_table_stride = 3;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "block_table_stride 3");
    c->group.block_size = 0;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "block_size 0");
    REFUSED_GROUP(c, 2, "block_size 0");
    free(c);
}
END_TEST

START_TEST(poisoned_tails_are_never_read)
{
    batch_case *c = CASE((1, 8), (4, 8), 4);

    ck_assert_good(
        attn_kv_group_validate(&c->group, &c->batch, ATTN_CHECK_TABLE, &err),
        err);
    free(c);
}
END_TEST

START_TEST(state_groups_are_checked)
{
    batch_case *c = CASE((1, 8), (4, 8), 4);
    int32_t accepted[] = {1, 3}, slots[] = {2, -1};
    attn_ext_state ext = {.head = {sizeof ext, 0, ATTN_EXT_STATE, NULL},
                          .max_checkpoints = 1,
                          .num_accepted_tokens = accepted,
                          .checkpoint_slots = slots};

    c->group.flags = ATTN_KV_STATE;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "block_size 4: a state group has 0");
    c->group.block_size = 0;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "a state group has no slot_mapping");
    c->group.slot_mapping = NULL;
    c->group.block_table_cols = 2;
    c->group.num_blocks = 200;
    c->table[0] = 1;
    c->table[1] = c->table[CASE_COLS] = c->table[CASE_COLS + 1] = -1;
    ck_assert_good(
        attn_kv_group_validate(&c->group, &c->batch, ATTN_CHECK_PAGES, &err),
        err);
    c->table[CASE_COLS] = 200;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES,
                  "request 1: state index 200 in column 0");
    c->table[CASE_COLS] = 3;
    c->group.ext = &ext.head;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES,
                  "request 1: num_accepted_tokens 3: 1 to the 2");
    accepted[1] = 2;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "checkpoint_interval 0");
    ext.checkpoint_interval = 16;
    slots[1] = 200;
    REFUSED_GROUP(c, ATTN_CHECK_PAGES, "request 1: checkpoint slot 200");
    free(c);
}
END_TEST

UNIT_MAIN("batch_validate", 10, a_right_batch_passes, an_empty_batch_passes,
          each_length_fault_is_named, padding_requests_stand_last,
          struct_faults_are_named, flags_agree_with_prompts,
          mirrors_are_checked, extensions_are_checked, group_faults_are_named,
          poisoned_tails_are_never_read, state_groups_are_checked)
