/* SPDX-License-Identifier: Apache-2.0 */
/* What ATTN_DUMP_DIR leaves behind, read back by libattn-verify's reader. */
#include <attn/verify.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc_fail.h"
#include "session_world.h"
#include "verify/problem.h"

static char dir[] = "attn-record-XXXXXX";

static void
open_dir(void)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("ATTN_DUMP_DIR", dir, 1);
}

/* The files in dir by number, up to max; all are removed with the dir. */
static int
take_calls(attn_call **calls, int max)
{
    char path[400];
    int count = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; (e = readdir(d));) {
        const char *number = strchr(e->d_name, '-');
        if (!number)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        int i = atoi(number + 1);
        ck_assert_int_lt(i, max);
        ck_assert_good(attn_call_load(path, &calls[i], &err), err);
        unlink(path);
        count++;
    }
    closedir(d);
    ck_assert_int_eq(rmdir(dir), 0);
    return count;
}

static const int32_t mixed[][2] = {{1, 7}, {1, 3}, {4, 4}, {6, 9}};

static const float *
floats(const attn_call *call, const char *name)
{
    return attn_call_find(call, name)->data;
}

/* Page p of the recorded cache holds what the page the step used holds. */
static void
check_pages(const attn_call *call)
{
    const int32_t *table = attn_call_find(call, "block_table")->data;
    const size_t page = BLOCK * HEADS * WIDTH;
    int32_t next = 0;
    for (int r = 0; r < 4; r++)
        for (int j = 0; j < 4; j++) {
            int32_t id = table[4 * r + j];
            if (j >= (w.lens[r] + BLOCK - 1) / BLOCK) {
                ck_assert_int_eq(id, 0x7FFFFFFF);
                continue;
            }
            ck_assert_int_eq(id, next++);
            ck_assert_mem_eq(floats(call, "k_cache") + (size_t)id * page,
                             w.k_cache + (size_t)w.table[r][j] * page,
                             page * sizeof(float));
        }
    ck_assert_int_eq(attn_call_find(call, "k_cache")->shape[0], next);
}

static void
record_and_check(const char *ini)
{
    attn_call *calls[2];
    attn_problem problem;
    open_dir();
    open_world(ini, NULL);
    make_step(4, mixed);
    int64_t n5[] = {5}, n4[] = {4}, n44[] = {4, 4}, one[] = {1}, s4[] = {4, 1};
    attn_tensor starts = tensor(w.starts, n5, one, 1);
    attn_tensor lens = tensor(w.lens, n4, one, 1);
    attn_tensor table = tensor(w.table, n44, s4, 2);
    starts.dtype = lens.dtype = table.dtype = (attn_dtype)ATTN_I32;
    w.batch.query_start_loc_device = &starts;
    w.batch.seq_lens_device = &lens;
    w.kv.block_table_device = &table;
    for (size_t i = 0; i < sizeof w.q / sizeof *w.q; i++)
        w.q[i] = (float)i;
    for (size_t i = 0; i < sizeof w.k_cache / sizeof *w.k_cache; i++)
        w.k_cache[i] = w.v_cache[i] = (float)i / 8;
    const attn_stream s = {.handle = 1, .device = w.tq.device};
    ck_assert_good(attn_group_build(w.group, &w.batch, &w.kv, &s, &err), err);
    w.forward.stream = s;
    for (int i = 0; i < 2; i++)
        ck_assert_good(
            attn_group_forward(w.group, w.layer, &w.forward.head, &err), err);
    ck_assert_int_eq(take_calls(calls, 2), 2);
    for (int i = 0; i < 2; i++) {
        const attn_flash_layer *l =
            (const attn_flash_layer *)attn_call_layer(calls[i]);
        ck_assert_good(attn_problem_read(&problem, calls[i], &err), err);
        attn_problem_clear(&problem);
        ck_assert_uint_eq(l->num_heads, HEADS);
        ck_assert_float_eq(l->scale, make_layer(0).flash.scale);
        ck_assert_uint_eq(l->head.features, ATTN_F_CAUSAL);
        ck_assert_mem_eq(floats(calls[i], "q"), w.q,
                         12 * HEADS * WIDTH * sizeof(float));
        ck_assert_ptr_null(attn_call_find(calls[i], "out"));
        check_pages(calls[i]);
        attn_call_free(calls[i]);
    }
    close_world();
}

START_TEST(forwards_are_recorded)
{
    record_and_check("");
}
END_TEST

START_TEST(forwards_on_a_device_are_recorded)
{
    fake.on_device = 1;
    record_and_check("[select]\nflash.prefill = fake.b\n"
                     "flash.decode = fake.a\n");
}
END_TEST

START_TEST(constants_are_recorded)
{
    attn_call *calls[1];
    open_dir();
    open_world("", NULL);
    attn_group *g;
    attn_group_layer *layer;
    ck_assert_good(make_group(w.session, ATTN_F_SINKS, NULL, &g, &err), err);
    int64_t shape[] = {HEADS}, stride[] = {2};
    float values[] = {3, -1, 4};
    attn_tensor sinks = tensor(values, shape, stride, 1);
    sinks.strides[0] = 1;
    attn_flash_constants c = {.head = {sizeof c, 0}, .sinks = &sinks};
    ck_assert_good(attn_group_add_layer(g, &c.head, &layer, &err), err);
    values[0] = 99; /* the caller's again */
    make_step(4, mixed);
    ck_assert_good(attn_group_build(g, &w.batch, &w.kv, NULL, &err), err);
    ck_assert_good(attn_group_forward(g, layer, &w.forward.head, &err), err);
    ck_assert_int_eq(take_calls(calls, 1), 1);
    ck_assert_float_eq(floats(calls[0], "sinks")[0], 3);
    ck_assert_uint_eq(attn_call_layer(calls[0])->features,
                      ATTN_F_CAUSAL | ATTN_F_SINKS);
    attn_call_free(calls[0]);
    close_world();
}
END_TEST

/* Nor does the second take the names of the first. */
START_TEST(sessions_share_a_directory)
{
    attn_call *calls[2] = {0};
    open_dir();
    for (int i = 0; i < 2; i++) {
        open_world("", NULL);
        make_step(4, mixed);
        ck_assert_good(run_step(), err);
        close_world();
    }
    ck_assert_int_eq(take_calls(calls, 2), 2);
    for (int i = 0; i < 2; i++)
        attn_call_free(calls[i]);
}
END_TEST

START_TEST(the_limit_ends_it)
{
    attn_call *calls[2];
    open_dir();
    setenv("ATTN_DUMP_LIMIT", "6k", 1);
    open_world("", NULL);
    make_step(4, mixed);
    for (int i = 0; i < 5; i++)
        ck_assert_good(run_step(), err);
    ck_assert_int_eq(take_calls(calls, 2), 1);
    attn_call_free(calls[0]);
    close_world();
}
END_TEST

/* Bytes on the disk, of all sessions of the process together. */
START_TEST(the_limit_is_the_process_s)
{
    attn_call *calls[8];
    char path[400], limit[32];
    struct stat st;
    open_dir();
    open_world("", NULL);
    make_step(4, mixed);
    ck_assert_good(run_step(), err);
    close_world();
    snprintf(path, sizeof path, "%s/%ld-000000-fake.a.safetensors", dir,
             (long)getpid());
    ck_assert_int_eq(stat(path, &st), 0);
    snprintf(limit, sizeof limit, "%ld", (long)(3 * st.st_size - 1));
    setenv("ATTN_DUMP_LIMIT", limit, 1);
    for (int i = 0; i < 3; i++) {
        open_world("", NULL);
        make_step(4, mixed);
        ck_assert_good(run_step(), err);
        close_world();
    }
    ck_assert_int_eq(take_calls(calls, 8), 2);
    for (int i = 0; i < 2; i++)
        attn_call_free(calls[i]);
}
END_TEST

/* A forward that cannot be recorded runs; nothing half-written is left. */
START_TEST(memory_shortage_only_loses_the_record)
{
    attn_call *calls[400] = {0};
    open_dir();
    open_world("", NULL);
    make_step(4, mixed);
    ck_assert_good(attn_group_build(w.group, &w.batch, &w.kv, NULL, &err), err);
    alloc_fail_start(ALLOC_FAIL_NEVER);
    attn_status whole =
        attn_group_forward(w.group, w.layer, &w.forward.head, NULL);
    size_t n = alloc_fail_stop();
    ck_assert_int_eq(whole, ATTN_OK);
    ck_assert_uint_gt(n, 20);
    for (size_t i = 0; i < n; i++) {
        alloc_fail_start(i);
        attn_status s =
            attn_group_forward(w.group, w.layer, &w.forward.head, NULL);
        alloc_fail_stop();
        ck_assert_int_eq(s, ATTN_OK);
    }
    ck_assert_int_eq(take_calls(calls, 400), 1);
    attn_call_free(calls[0]);
    close_world();
}
END_TEST

START_TEST(what_cannot_be_recorded_still_runs)
{
    open_dir();
    open_world("", NULL);
    make_step(4, mixed);
    ck_assert_good(attn_group_build(w.group, &w.batch, &w.kv, NULL, &err), err);
    w.forward.stream.capturing = 1;
    ck_assert_good(attn_group_forward(w.group, w.layer, &w.forward.head, &err),
                   err);
    ck_assert_uint_eq(fake.forwards, 1);
    ck_assert_int_eq(take_calls(NULL, 0), 0);
    w.forward.stream.capturing = 0; /* the directory is gone */
    ck_assert_good(attn_group_forward(w.group, w.layer, &w.forward.head, &err),
                   err);
    close_world();
}
END_TEST

START_TEST(bad_requests_are_refused)
{
    attn_session *s;
    setenv("ATTN_DUMP_DIR", "no-such-directory", 1);
    ck_assert_error(attn_session_create(NULL, &s, &err), err, ATTN_E_CONFIG,
                    "ATTN_DUMP_DIR: no-such-directory is no directory");
    setenv("ATTN_DUMP_DIR", ".", 1);
    setenv("ATTN_DUMP_LIMIT", "much", 1);
    ck_assert_int_eq(attn_session_create(NULL, &s, &err), ATTN_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.message, "ATTN_DUMP_LIMIT 'much'"));
}
END_TEST

START_TEST(storing_fails_cleanly)
{
    attn_any_layer l = make_layer(0);
    attn_call *call;
    char left[64];
    const int64_t shape[] = {2, 3};
    const double numbers[] = {1, 2, 3, 4, 5, 6};
    attn_dtype f64 = ATTN_F64;
    ck_assert_good(attn_call_create(&l.head, &call, &err), err);
    ck_assert_good(
        attn_call_add(call, "expected.out", f64, 2, shape, numbers, NULL, &err),
        err);
    ck_assert_error(attn_call_store(call, "no/such/dir/x", &err), err,
                    ATTN_E_IO, "cannot create no/such/dir/x");
    ck_assert_int_eq(err.native, 2);
    /* What another process of this number left is named, not what is asked. */
    snprintf(left, sizeof left, "attn-record.st.%ld.tmp", (long)getpid());
    ck_assert_int_eq(close(open(left, O_CREAT | O_EXCL, 0600)), 0);
    const attn_status s = attn_call_store(call, "attn-record.st", &err);
    unlink(left);
    ck_assert_int_eq(s, ATTN_E_IO);
    ck_assert_msg(strstr(err.message, left) != NULL, "%s", err.message);
    ck_assert_good(attn_call_add(call, "a\"b", f64, 2, shape, NULL, NULL, &err),
                   err);
    ck_assert_error(attn_call_store(call, "attn-record.tmp", &err), err,
                    ATTN_E_ARG, "has quotes");
    ck_assert_int_ne(access("attn-record.tmp", F_OK), 0);
    attn_call_free(call);
}
END_TEST

UNIT_MAIN("record", 20, forwards_are_recorded,
          forwards_on_a_device_are_recorded, constants_are_recorded,
          the_limit_ends_it, the_limit_is_the_process_s,
          memory_shortage_only_loses_the_record, sessions_share_a_directory,
          what_cannot_be_recorded_still_runs, bad_requests_are_refused,
          storing_fails_cleanly)
