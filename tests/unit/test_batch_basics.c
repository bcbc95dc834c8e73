/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "batch/divisor.h"
#include "batch_case.h"

static attn_error err;

START_TEST(division_by_multiplication_is_exact)
{
    uint64_t state = 1;

    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t d, n;

        state = state * 6364136223846793005u + 1442695040888963407u;
        d = (uint32_t)(state >> 33) >> (i % 31);
        n = (uint32_t)((state * 0x9e3779b97f4a7c15u) >> 33);
        d = d ? d : 1;
        ck_assert_uint_eq(divisor_div(divisor_of(d), n), n / d);
        n -= n % d; /* the edges are where a wrong constant shows */
        ck_assert_uint_eq(divisor_div(divisor_of(d), n), n / d);
        if (n) {
            ck_assert_uint_eq(divisor_div(divisor_of(d), n - 1), (n - 1) / d);
            ck_assert_uint_eq(divisor_ceil(divisor_of(d), n - 1),
                              (n - 2 + d) / d);
        }
        ck_assert_uint_eq(divisor_div(divisor_of(d), INT32_MAX), INT32_MAX / d);
    }
}
END_TEST

typedef struct spec_example {
    const char *text;
    uint32_t count;
    attn_spec_request first, last;
} spec_example;

START_TEST(specs_are_parsed)
{
    static const spec_example examples[] = {
        {"q2k", 1, {2048, 2048}, {2048, 2048}},
        {"8q1s1k", 8, {1, 1024}, {1, 1024}},
        {"2q2k_32q1s4k", 34, {2048, 2048}, {1, 4096}},
        {"2q1k_32q1s1k", 34, {1024, 1024}, {1, 1024}},
        {"q1ks2k", 1, {1024, 2048}, {1024, 2048}},
        {"16q4s1000", 16, {4, 1000}, {4, 1000}}};
    attn_spec_request got[64];
    uint32_t n;

    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        const spec_example *e = &examples[i];

        ck_assert_good(attn_batch_spec_parse(e->text, got, 64, &n, &err), err);
        ck_assert_uint_eq(n, e->count);
        ck_assert_int_eq(memcmp(&got[0], &e->first, sizeof *got), 0);
        ck_assert_int_eq(memcmp(&got[n - 1], &e->last, sizeof *got), 0);
    }
}
END_TEST

START_TEST(a_short_list_is_filled_and_counted)
{
    attn_spec_request got[4] = {{0, 0}};
    uint32_t n = 0;

    ck_assert_good(attn_batch_spec_parse("2q3_8q1s9", got, 3, &n, &err), err);
    ck_assert_uint_eq(n, 10);
    ck_assert_uint_eq(got[2].seq_len, 9);
    ck_assert_uint_eq(got[3].seq_len, 0);
    ck_assert_good(attn_batch_spec_parse("2q3", NULL, 0, &n, &err), err);
    ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(bad_specs_point_at_the_segment)
{
    static const char *const bad[][2] = {
        {"", "segment '' at offset 0: expected [count]q"},
        {"8q1s1k_", "segment '' at offset 7"},
        {"8q1_x", "segment 'x' at offset 4"},
        {"0q1", "segment '0q1' at offset 0: the count is 0"},
        {"q0", "the query length is 0"},
        {"q8s4", "the query is longer than the sequence"},
        {"q8s", "a number is missing"},
        {"q8K", "expected '_' or the end"},
        {"q-8", "a number is missing"},
        {"q9999999999", "a number exceeds 2147483647"},
        {"q2097152k", "a length exceeds 2147483647"},
        {"3000000q1k", "the batch exceeds 2147483647 tokens"}};
    uint32_t n = 77;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_error(attn_batch_spec_parse(bad[i][0], NULL, 0, &n, &err),
                        err, ATTN_E_ARG, bad[i][1]);
    ck_assert_error(attn_batch_spec_parse(NULL, NULL, 0, &n, &err), err,
                    ATTN_E_ARG, "spec is NULL");
    ck_assert_uint_eq(n, 77);
}
END_TEST

START_TEST(slots_follow_the_table)
{
    batch_case *c = CASE((1, 5, 0), (9, 6, 0), 4);

    c->batch.num_tokens = 8;
    ck_assert_good(attn_slot_mapping(&c->batch, &c->group, c->slots, &err),
                   err);
    ck_assert_i32_array(c->slots, 8, 12, 405, 406, 407, 408, 409, -1, -1);
    free(c);
}
END_TEST

START_TEST(slots_refuse_what_they_cannot_map)
{
    batch_case *c = CASE((1, 5), (9, 6), 4);

    c->group.block_table_cols = 2;
    ck_assert_error(attn_slot_mapping(&c->batch, &c->group, c->slots, &err),
                    err, ATTN_E_ARG, "request 0: seq_len 9");
    c->group.block_table_cols = CASE_COLS;
    c->batch.seq_lens_state = ATTN_UPPER_BOUND;
    ck_assert_error(attn_slot_mapping(&c->batch, &c->group, c->slots, &err),
                    err, ATTN_E_ARG, "upper bound");
    c->batch.seq_lens_state = ATTN_EXACT;
    c->group.flags = ATTN_KV_STATE;
    ck_assert_error(attn_slot_mapping(&c->batch, &c->group, c->slots, &err),
                    err, ATTN_E_ARG, "state group");
    free(c);
}
END_TEST

START_TEST(a_split_needs_its_flags)
{
    batch_case *c = CASE((1, 1), (1, 5), 4);
    attn_split_params params = {sizeof params, 1, 0, 0};
    attn_split split;

    ck_assert_error(attn_batch_split(&c->batch, &params, &split, &err), err,
                    ATTN_E_ARG, "is_prefilling is absent");
    c->batch.is_prefilling = c->prefilling;
    c->prefilling[0] = 0;
    ck_assert_good(attn_batch_split(&c->batch, &params, &split, &err), err);
    ck_assert_uint_eq(split.num_decodes, 1);
    ck_assert_uint_eq(split.num_prefill_tokens, 1);
    params.decode_threshold = 0;
    ck_assert_error(attn_batch_split(&c->batch, &params, &split, &err), err,
                    ATTN_E_ARG, "decode_threshold 0");
    params.struct_size = 8;
    ck_assert_error(attn_batch_split(&c->batch, &params, &split, &err), err,
                    ATTN_E_ARG, "struct_size 8: at least 16");
    free(c);
}
END_TEST

START_TEST(a_split_counts_padding_as_upstream_does)
{
    batch_case *c = CASE((2, 2, 2, 0), (5, 5, 5, 0), 4);
    attn_split_params params = {sizeof params, 3, 1, 1};
    attn_split split;

    c->batch.num_tokens = 8;
    ck_assert_good(attn_batch_split(&c->batch, &params, &split, &err), err);
    ck_assert_uint_eq(split.num_decodes, 4);
    ck_assert_uint_eq(split.num_decode_tokens, 8);
    c->batch.num_reqs = 0;
    ck_assert_good(attn_batch_split(&c->batch, &params, &split, &err), err);
    ck_assert_uint_eq(split.num_decodes + split.num_prefills, 0);
    free(c);
}
END_TEST

UNIT_MAIN("batch_basics", 10, division_by_multiplication_is_exact,
          specs_are_parsed, a_short_list_is_filled_and_counted,
          bad_specs_point_at_the_segment, slots_follow_the_table,
          slots_refuse_what_they_cannot_map, a_split_needs_its_flags,
          a_split_counts_padding_as_upstream_does)
