/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <attn/verify.h>

#include "unit.h"

/* A file in memory: header text, then `bytes` of zeros. */
static size_t
make_file(uint8_t *to, const char *header, size_t bytes)
{
    const size_t n = strlen(header);
    for (size_t i = 0; i < 8; i++)
        to[i] = (uint8_t)(n >> (8 * i));
    memcpy(to + 8, header, n);
    memset(to + 8 + n, 0, bytes);
    return 8 + n + bytes;
}

/* A smallest whole flash call: one request, one token, one page. */
#define META(layer)                                            \
    "\"__metadata__\":{\"format\":\"attn-call/1\",\"family\":" \
    "\"attn.op.flash/1\",\"layer\":\"" layer "\"}"
#define LAYER                                                         \
    "{\\\"num_heads\\\":1,\\\"num_kv_heads\\\":1,\\\"head_dim\\\":8," \
    "\\\"head_dim_v\\\":8,\\\"block_size\\\":1}"
#define TENSOR(name, type, shape, a, b)                       \
    ",\"" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape \
    "],\"data_offsets\":[" #a "," #b "]}"
#define REST                                       \
    TENSOR("k_cache", "F32", "1,1,1,8", 32, 64)    \
    TENSOR("v_cache", "F32", "1,1,1,8", 64, 96)    \
    TENSOR("query_start_loc", "I32", "1", 96, 100) \
    TENSOR("seq_lens", "I32", "0", 100, 100)       \
    TENSOR("block_table", "I32", "0,1", 100, 100)
#define Q TENSOR("q", "F32", "1,1,8", 0, 32)

static const struct {
    const char *header;
    size_t bytes;
    const char *says; /* NULL: it loads */
} FILES[] = {
    {"{" META(LAYER) Q REST "}", 100, NULL},
    {"{" META(LAYER) Q REST "}", 101, "101 bytes of data"},
    {"{" META(LAYER) Q REST "}", 99, "ends at byte 100"},
    {"{" META(LAYER) REST "}", 100, "leaving a gap after 0"},
    {"{" META(LAYER) Q Q REST "}", 100, "duplicate"},
    {"{" META(LAYER) TENSOR("q", "F32", "1,1,9", 0, 32) REST "}", 100,
     "its shape needs 36"},
    {"{" META(LAYER) TENSOR("q", "F31", "1,1,8", 0, 32) REST "}", 100,
     "dtype 'F31' is not known"},
    {"{" META(LAYER) TENSOR("q", "F32", "1,-1,8", 0, 32) REST "}", 100,
     "bad or too big shape"},
    {"{" META(LAYER) TENSOR("q", "F32", "4611686018427387904,8", 0, 32) REST
     "}",
     100, "bad or too big shape"},
    {"{" META(LAYER) TENSOR("q", "F32", "1,1,8", 32, 0) REST "}", 100,
     "bad data_offsets"},
    {"{" META(LAYER) TENSOR("q", "F32", "1,1,8", 0, 32)
         TENSOR("k_cache", "F32", "1,1,1,8", 24, 56)
             TENSOR("v_cache", "F32", "1,1,1,8", 56, 88) "}",
     88, "inside the one that ends at 32"},
    {"{" META("{\\\"num_haeds\\\":1}") Q REST "}", 100, "num_haeds"},
    {"{" META("[1]") Q REST "}", 100, "layer is no JSON object"},
    {"{\"__metadata__\":{\"format\":\"attn-call/2\"}}", 0,
     "format is 'attn-call/2'"},
    {"{\"__metadata__\":{\"format\":\"attn-call/1\",\"family\":\"attn.op.no/"
     "1\",\"layer\":\"{}\"}}",
     0, "family 'attn.op.no/1' is not known"},
    {"[]", 0, "not an object"},
    {"{", 0, "header byte"},
};

START_TEST(says_what_is_wrong)
{
    uint8_t data[4096];
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    const size_t n = make_file(data, FILES[_i].header, FILES[_i].bytes);
    attn_status s = attn_call_parse("file", data, n, &call, &err);
    if (!FILES[_i].says) {
        ck_assert_msg(s == ATTN_OK, "%s", err.message);
        ck_assert_uint_eq(attn_call_count(call), 6);
        attn_call_free(call);
        return;
    }
    ck_assert_int_eq(s, ATTN_E_FORMAT);
    ck_assert_ptr_null(call);
    ck_assert_msg(strstr(err.message, FILES[_i].says) != NULL,
                  "'%s' lacks '%s'", err.message, FILES[_i].says);
    ck_assert_msg(!strncmp(err.message, "file: ", 6), "%s", err.message);
}
END_TEST

/* No cut of a whole file loads, and none kills. */
START_TEST(every_cut_is_refused)
{
    uint8_t data[4096];
    const size_t n = make_file(data, FILES[0].header, FILES[0].bytes);
    for (size_t cut = 0; cut < n; cut++) {
        attn_error err = ATTN_ERROR_INIT;
        attn_call *call = NULL;
        uint8_t *copy = malloc(cut + 1); /* its end is watched by ASan */
        memcpy(copy, data, cut);
        ck_assert_int_eq(attn_call_parse("cut", copy, cut, &call, &err),
                         ATTN_E_FORMAT);
        ck_assert_uint_gt(strlen(err.message), 10);
        free(copy);
    }
}
END_TEST

START_TEST(a_missing_file_is_an_io_error)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    ck_assert_int_eq(attn_call_load("/nonexistent/x", &call, &err), ATTN_E_IO);
    ck_assert_int_eq(err.native, 2);
    ck_assert_int_eq(attn_call_load("/", &call, &err), ATTN_E_IO);
}
END_TEST

/* A link is followed: what it names is replaced, or refused as itself. */
START_TEST(links_are_followed)
{
    attn_error err = ATTN_ERROR_INIT;
    uint8_t file[2048];
    char dir[] = "/tmp/attn-call.XXXXXX", link[64], target[64];
    struct stat st;
    attn_call *call = NULL;
    const size_t n = make_file(file, FILES[0].header, FILES[0].bytes);
    ck_assert_good(attn_call_parse("x", file, n, &call, &err), err);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(target, sizeof target, "%s/target", dir);
    ck_assert_int_eq(symlink("target", link), 0);
    fclose(fopen(target, "w"));
    ck_assert_good(attn_call_store(call, link, &err), err);
    ck_assert(!lstat(link, &st) && S_ISLNK(st.st_mode));
    ck_assert(!stat(target, &st) && st.st_size > 0);
    unlink(target);
    unlink(link);
    ck_assert_int_eq(symlink("nowhere", link), 0);
    ck_assert_int_eq(attn_call_store(call, link, &err), ATTN_E_IO);
    ck_assert(!lstat(link, &st) && S_ISLNK(st.st_mode));
    unlink(link);
    ck_assert_int_eq(symlink("/dev/null", link), 0);
    ck_assert_int_eq(attn_call_store(call, link, &err), ATTN_E_IO);
    ck_assert(!lstat(link, &st) && S_ISLNK(st.st_mode));
    unlink(link);
    ck_assert_int_eq(rmdir(dir), 0);
    attn_call_free(call);
}
END_TEST

/* Index tensors are checked before anybody follows them. */
START_TEST(bad_indices_are_refused)
{
    attn_any_layer layer;
    attn_error err = ATTN_ERROR_INIT;
    attn_layer_init(attn_family_find("flash"), &layer);
    ck_assert(!attn_layer_set(&layer, "num_heads", "1", &err));
    ck_assert(!attn_layer_set(&layer, "num_kv_heads", "1", &err));
    ck_assert(!attn_layer_set(&layer, "head_dim", "8", &err));
    ck_assert(!attn_layer_set(&layer, "q_dtype", "f32", &err));
    ck_assert(!attn_layer_finish(&layer, &err));
    const attn_spec_request request = {1, 20};
    const attn_case_params params = {.struct_size = sizeof params,
                                     .num_reqs = 1,
                                     .layer = &layer.head,
                                     .requests = &request};
    static const struct {
        const char *tensor;
        uint32_t index;
        int32_t value;
    } BAD[] = {{"block_table", 0, -1},     {"block_table", 1, 0x7FFFFFFF},
               {"query_start_loc", 0, 1},  {"query_start_loc", 1, -1},
               {"query_start_loc", 1, 99}, {"seq_lens", 0, -1},
               {"seq_lens", 0, 0}};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        attn_call *call = NULL;
        attn_reference *ref = NULL;
        ck_assert(!attn_case_make(&params, &call, &err));
        int32_t *p = attn_call_find(call, BAD[i].tensor)->data;
        p[BAD[i].index] = BAD[i].value;
        ck_assert_int_eq(attn_reference_create(call, 0, 0, &ref, &err),
                         ATTN_E_FORMAT);
        ck_assert_str_eq(err.where, BAD[i].tensor);
        attn_call_free(call);
    }
}
END_TEST

int
main(void)
{
    TCase *t = tcase_create("read");
    tcase_add_loop_test(t, says_what_is_wrong, 0,
                        (int)(sizeof FILES / sizeof *FILES));
    tcase_add_test(t, every_cut_is_refused);
    tcase_add_test(t, a_missing_file_is_an_io_error);
    tcase_add_test(t, links_are_followed);
    tcase_add_test(t, bad_indices_are_refused);
    return unit_run_case("call", t);
}
