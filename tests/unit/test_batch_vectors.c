/* SPDX-License-Identifier: Apache-2.0 */
/* Every recorded case of ../shared/vectors, and proof that the runner can
 * fail. Exits 77 where the vectors are absent. */
#include "config.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>

#include "batch_ops.h"
#include "unit.h"

#define NUM_FILES 14

static glob_t files;

static void
check_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL, why[400];
    size_t room = 0, cases = 0;
    const char *op;
    ssize_t length;

    ck_assert_ptr_nonnull(f);
    while ((length = getline(&line, &room, f)) > 0) {
        cases++;
        ck_assert_msg(batch_check_line(line, (size_t)length, &op, why,
                                       sizeof why) == BATCH_LINE_PASS,
                      "%s:%zu: %s", path, cases, why);
    }
    ck_assert_uint_gt(cases, 30);
    free(line);
    fclose(f);
}

START_TEST(every_recorded_case_passes)
{
    ck_assert_uint_eq(files.gl_pathc, NUM_FILES);
    for (size_t i = 0; i < files.gl_pathc; i++)
        check_file(files.gl_pathv[i]);
}
END_TEST

static int
check(const char *line, const char *text)
{
    char why[400] = "";
    const char *op;
    int result = batch_check_line(line, strlen(line), &op, why, sizeof why);

    ck_assert_msg(strstr(why, text) != NULL, "'%s' does not hold '%s'", why,
                  text);
    return result;
}

START_TEST(the_runner_can_fail)
{
    ck_assert_int_eq(
        check("{\"op\":\"causal_conv1d_programs\",\"input\":{"
              "\"query_start_loc\":[0,8],\"block_m\":8},\"expect\":{"
              "\"num_programs\":2}}",
              "expect.num_programs is 2, got 1"),
        BATCH_LINE_MISMATCH);
    ck_assert_int_eq(
        check("{\"op\":\"causal_conv1d_programs\",\"input\":{"
              "\"query_start_loc\":[0,8],\"block_m\":8},\"expect\":{"
              "\"batch_ptr\":[1]}}",
              "expect.batch_ptr[0] is 1, got 0"),
        BATCH_LINE_MISMATCH);
    ck_assert_int_eq(check("{\"op\":\"no_such\",\"input\":{},\"expect\":{}}",
                           "unknown operation 'no_such'"),
                     BATCH_LINE_BAD);
    ck_assert_int_eq(check("{\"op\":", "unexpected token"), BATCH_LINE_BAD);
    ck_assert_int_eq(check("{\"op\":\"pad\"}", "not an object of op"),
                     BATCH_LINE_BAD);
    ck_assert_int_eq(check("{\"op\":\"mamba2_chunks\",\"input\":{"
                           "\"query_start_loc\":[0,9],\"seq_lens\":[8],"
                           "\"chunk_size\":8},\"expect\":{}}",
                           "request 0: query length 9 exceeds seq_len 8"),
                     BATCH_LINE_BAD);
    ck_assert_int_eq(check("{\"op\":\"mamba2_chunks\",\"input\":{"
                           "\"query_start_loc\":[0,9],\"chunksize\":8},"
                           "\"expect\":{}}",
                           "mamba2_chunks does not take 'chunksize'"),
                     BATCH_LINE_BAD);
}
END_TEST

/* What metadata.md states beyond the recorded cases. */
START_TEST(stated_examples_pass)
{
    static const char *const lines[] = {
        "{\"op\":\"local_attention_virtual_batches\",\"input\":{"
        "\"query_start_loc\":[0,4,14,19],\"seq_lens\":[6,17,9],"
        "\"attn_chunk_size\":4,\"block_size\":2,\"block_table\":["
        "[0,1,2,null,null,null,null,null,null,null],"
        "[10,11,12,13,14,15,16,17,18,null],"
        "[20,21,22,23,24,null,null,null,null,null]]},\"expect\":{"
        "\"query_start_loc\":[0,2,4,5,9,13,14,18,19],\"seq_lens\":"
        "[4,2,4,4,4,1,4,1],\"num_reqs\":8,\"max_query_len\":4,"
        "\"block_table\":[[0,1],[2,null],[12,13],[14,15],[16,17],[18,null],"
        "[22,23],[24,null]]}}",
        "{\"op\":\"split_decodes_prefills_and_extends\",\"input\":{"
        "\"query_start_loc\":[0,5,6,12],\"seq_lens\":[20,1,6]},"
        "\"expect\":{\"num_decodes\":0,\"num_extends\":2,"
        "\"num_prefills\":1,\"num_extend_tokens\":6}}",
        "{\"op\":\"mla_context_chunks\",\"input\":{\"query_start_loc\":"
        "[0,1,2,3],\"num_computed_tokens\":[768,512,512],\"workspace_size\":"
        "1024,\"align\":16},\"expect\":{\"chunks\":[{\"rows\":1024,"
        "\"continuation\":false,\"pieces\":[[0,0,768],[1,0,256]]},{\"rows\":"
        "768,\"continuation\":true,\"pieces\":[[1,256,256],[2,0,512]]}]}}",
        "{\"op\":\"mla_context_chunks\",\"input\":{\"query_start_loc\":"
        "[0,1,2,3],\"num_computed_tokens\":[2048,32,32],\"workspace_size\":"
        "1024,\"align\":16},\"expect\":{\"chunks\":[{\"pieces\":[[0,0,1024]]},"
        "{\"continuation\":true,\"pieces\":[[0,1024,1024]]},{\"pieces\":"
        "[[1,0,32],[2,0,32]]}]}}",
        "{\"op\":\"mla_context_chunks\",\"input\":{\"query_start_loc\":"
        "[0,4,8,12,16],\"num_computed_tokens\":[64,0,64,0],\"workspace_size\":"
        "1024,\"align\":16},\"expect\":{\"chunks\":[{\"pieces\":[[0,0,64]]},"
        "{\"pieces\":[[2,0,64]]}]}}",
        "{\"op\":\"mamba2_chunks\",\"input\":{\"query_start_loc\":[0,4,14,30],"
        "\"num_computed_tokens\":[3,0,8],\"chunk_size\":8},\"expect\":{"
        "\"cu_chunk_seqlens\":[0,4,12,14,22,30],\"seq_idx\":[0,1,1,2,2],"
        "\"last_chunk_indices\":[0,2,4]}}",
        "{\"op\":\"mamba2_chunks\",\"input\":{\"query_start_loc\":[0,5,5,14],"
        "\"chunk_size\":8,\"physical\":true},\"expect\":{"
        "\"cu_chunk_seqlens\":[0,5,8,14],\"seq_idx\":[0,2,2],"
        "\"last_chunk_indices\":[0,-1,2]}}",
        "{\"op\":\"causal_conv1d_programs\",\"input\":{\"query_start_loc\":"
        "[0,16,36,37]},\"expect\":{\"batch_ptr\":[0,0,1,1,1,2],"
        "\"token_chunk_offset_ptr\":[0,1,0,1,2,0]}}",
        "{\"op\":\"kv_sharing_fast_prefill\",\"input\":{\"query_start_loc\":"
        "[0,15,20,28],\"seq_lens\":[15,5,8],\"logits_indices\":"
        "[14,18,19,27]},\"expect\":{\"query_start_loc\":[0,1,3,4],"
        "\"max_query_len\":2}}",
        "{\"op\":\"spec_decode_prepare_inputs\",\"input\":{"
        "\"query_start_loc\":[0,4,11,16],\"seq_lens\":[9,9,9],"
        "\"num_draft_tokens\":[3,6,4],\"num_accepted_tokens\":[2,3,2]},"
        "\"expect\":{\"query_start_loc\":[0,3,7,10],\"token_indices\":"
        "[0,1,2,4,5,6,7,11,12,13]}}",
        "{\"op\":\"reorder_batch\",\"input\":{\"num_scheduled_tokens\":"
        "[1,1],\"num_computed_tokens\":[0,5],\"num_prompt_tokens\":[9,5]},"
        "\"expect\":{\"modified\":true,\"order\":[1,0]}}",
        "{\"op\":\"split_decodes_and_prefills\",\"input\":{"
        "\"query_start_loc\":[0,2,4,6,6],\"seq_lens\":[4,4,4,0],"
        "\"num_tokens\":8,\"decode_threshold\":3,\"require_uniform\":true},"
        "\"expect\":{\"num_decodes\":4,\"num_decode_tokens\":8}}",
        "{\"op\":\"dcp_local_seq_lens\",\"input\":{\"seq_lens\":[17],"
        "\"dcp_size\":4},\"expect\":{\"local_seq_lens\":[[5,4,4,4]]}}",
        "{\"op\":\"dcp_local_seq_lens\",\"input\":{\"seq_lens\":[33],"
        "\"dcp_size\":2,\"interleave_size\":16},\"expect\":{"
        "\"local_seq_lens\":[[17,16]]}}",
        "{\"op\":\"lse_merge\",\"input\":{\"parts\":[[[1,2],0],[[3,4],0]]},"
        "\"expect\":{\"out\":[2.0,3.0],\"lse\":0.6931471824645996}}",
        "{\"op\":\"spec_decode_next_tokens\",\"input\":{\"sampled_token_ids\":"
        "[5,6,-1,-1,-1,-1,7,8,9],\"width\":3,\"backup_tokens\":[1,2,3],"
        "\"discard\":[0,0,1]},\"expect\":{\"next_token_ids\":[6,2,3],"
        "\"valid_sampled_tokens_count\":[2,0,0]}}",
        "{\"op\":\"spec_decode_draft_step\",\"input\":{\"query_start_loc\":"
        "[0,1,2],\"seq_lens\":[5,8],\"positions\":[4,7],\"max_model_len\":8,"
        "\"block_table\":[[3,4],[5,6]],\"block_size\":4,\"slot_mapping\":"
        "[16,27]},\"expect\":{\"positions\":[5,0],\"seq_lens\":[6,1],"
        "\"slot_mapping\":[17,-1],\"query_start_loc\":[0,1,2]}}",
        "{\"op\":\"spec_decode_extend\",\"input\":{\"query_start_loc\":[0,1,3],"
        "\"seq_lens\":[4,6],\"counts\":[2,1],\"block_table\":[[3,4],[5,6]],"
        "\"block_size\":4,\"slot_mapping\":[15,24,25],"
        "\"num_rejected_tokens\":[0,1]},\"expect\":{\"query_start_loc\":"
        "[0,3,6],\"seq_lens\":[6,7],\"slot_mapping\":[15,16,17,24,-1,26],"
        "\"num_actual_tokens\":6,\"max_query_len\":3}}"};

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_int_eq(check(lines[i], ""), BATCH_LINE_PASS);
}
END_TEST

int
main(void)
{
    const char *shared = getenv("shared_dir");
    const TTest *const tests[] = {every_recorded_case_passes,
                                  the_runner_can_fail, stated_examples_pass,
                                  NULL};
    const TTest *const without[] = {the_runner_can_fail, stated_examples_pass,
                                    NULL};
    char pattern[4096];
    int present, code;

    snprintf(pattern, sizeof pattern, "%s/vectors/*.jsonl",
             shared ? shared : "../shared");
    present = glob(pattern, 0, NULL, &files) == 0;
    code = unit_run("batch_vectors", present ? tests : without, 30);
    globfree(&files);
    return code || present ? code : 77;
}
