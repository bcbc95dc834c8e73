/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_case.h"
#include "batch_make.h"
#include "batch_ops.h"
#include "commands.h"
#include "output.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PRINTED (1u << 22)

static const cli_option options[] = {
    {"op", "NAME", "the transform to apply [none: the batch itself]", 0},
    {"param", "KEY=VALUE", "a parameter of the transform, as JSON", CLI_MULTI},
    {"block-size", "N", "positions of a KV block [16]", 0},
    {"seed", "N", "of the random block table [1]", 0},
    {"check", "FILE", "run the recorded cases of a JSON-lines file", CLI_MULTI},
    {"ops", NULL, "list the transforms and their parameters", 0},
};

/* ---------------------------------------------------------- recorded cases */

static const out_column check_columns[] = {
    {.path = "file"},
    {.path = "op"},
    {.path = "cases", .flags = OUT_RIGHT},
    {.path = "passed", .flags = OUT_RIGHT},
    {.path = "failed", .flags = OUT_RIGHT},
    {.path = "unreadable", .flags = OUT_RIGHT},
};

typedef struct check_count {
    size_t cases, passed, failed, bad;
    const char *op; /* of all lines; "" when they differ */
} check_count;

static int
check_lines(const char *path, FILE *f, check_count *count)
{
    char *line = NULL, why[400];
    size_t room = 0;
    const char *op;
    ssize_t length;

    while ((length = getline(&line, &room, f)) > 0) {
        const int result =
            batch_check_line(line, (size_t)length, &op, why, sizeof why);
        count->cases++;
        count->passed += result == BATCH_LINE_PASS;
        count->failed += result == BATCH_LINE_MISMATCH;
        count->bad += result == BATCH_LINE_BAD;
        if (result != BATCH_LINE_PASS)
            cli_warn("%s:%zu: %s", path, count->cases, why);
        if (op && !count->op)
            count->op = op;
        else if (op && strcmp(count->op, op))
            count->op = "";
    }
    free(line);
    return ferror(f) ? errno : 0;
}

/* A pipe or a device might never end; NONBLOCK: nor be opened. */
static int
open_cases(const char *path, FILE **f)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = fd < 0 || fstat(fd, &st) ? errno : 0;

    *f = !error && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (*f)
        return CLI_OK;
    if (!error && S_ISREG(st.st_mode))
        error = errno;
    if (fd >= 0)
        close(fd);
    return cli_fail(CLI_CONFIG, "%s: %s", path,
                    error ? strerror(error) : "not a regular file");
}

static int
check_file(const char *path, out_writer *out)
{
    check_count n = {0};
    FILE *f;
    int error = open_cases(path, &f);

    if (error)
        return error;
    error = check_lines(path, f, &n);
    fclose(f);
    if (error)
        return cli_fail(CLI_CONFIG, "%s: %s", path, strerror(error));
    if (n.cases == 0)
        return cli_fail(CLI_CONFIG, "%s: no case in it", path);
    out_row(out,
            json_pack("{s:o, s:o, s:I, s:I, s:I, s:I}", "file", out_text(path),
                      "op", n.op && n.op[0] ? out_text(n.op) : json_null(),
                      "cases", (json_int_t)n.cases, "passed",
                      (json_int_t)n.passed, "failed", (json_int_t)n.failed,
                      "unreadable", (json_int_t)n.bad));
    return n.bad ? CLI_CONFIG : n.failed ? CLI_FAILED : CLI_OK;
}

/* A file that cannot be read outranks a case that fails. */
static int
run_check(const cli_args *args)
{
    out_writer out;
    int rc = out_open(&out, args, check_columns, CLI_COUNT(check_columns), 0);

    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < cli_count(args, "check") + args->num_operands; i++) {
        const size_t named = cli_count(args, "check");
        const char *path =
            i < named ? cli_nth(args, "check", i) : args->operands[i - named];
        const int one = check_file(path, &out);
        rc = one > rc ? one : rc;
    }
    return out_close(&out, rc);
}

/* ---------------------------------------------------------- the operations */

static const out_column ops_columns[] = {
    {.path = "op"},
    {.path = "summary"},
    {.path = "params"},
};

static json_t *
params_of(const batch_op *op)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < op->num_params; i++) {
        const batch_param *p = &op->params[i];
        json_array_append_new(list, out_format("%s [%s] %s", p->name,
                                               p->value ? p->value : "needed",
                                               p->help));
    }
    return list;
}

static int
run_ops(const cli_args *args)
{
    out_writer out;
    const int rc = out_open(&out, args, ops_columns, CLI_COUNT(ops_columns), 0);

    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; batch_op_at(i); i++)
        out_row(&out, json_pack("{s:s, s:s, s:o}", "op", batch_op_at(i)->name,
                                "summary", batch_op_at(i)->summary, "params",
                                params_of(batch_op_at(i))));
    return out_close(&out, CLI_OK);
}

/* ------------------------------------------------------- a spec, transformed
 */

static const out_column batch_columns[] = {
    {.path = "request", .flags = OUT_RIGHT},
    {.path = "kind"},
    {.path = "query_len", .flags = OUT_RIGHT},
    {.path = "seq_len", .flags = OUT_RIGHT},
    {.path = "context", .flags = OUT_RIGHT},
    {.path = "blocks", .flags = OUT_RIGHT},
    {.path = "first_block", .flags = OUT_RIGHT},
    {.path = "first_slot", .flags = OUT_RIGHT},
};

static const char *
kind_of(int32_t query, int32_t seq)
{
    if (query == seq)
        return "prefill";
    return query == 1 ? "decode" : "extend";
}

static int
print_batch(const cli_args *args, const batch_made *m)
{
    out_writer out;
    const int rc =
        out_open(&out, args, batch_columns, CLI_COUNT(batch_columns), 0);
    const int32_t size = (int32_t)m->group.block_size;

    if (rc != CLI_OK)
        return rc;
    for (uint32_t r = 0; r < m->batch.num_reqs; r++) {
        const int32_t query = m->start[r + 1] - m->start[r], seq = m->lens[r];
        const int32_t *row = m->table + (size_t)r * m->group.block_table_cols;
        out_row(&out,
                json_pack("{s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:I}", "request",
                          (int)r, "kind", kind_of(query, seq), "query_len",
                          query, "seq_len", seq, "context", seq - query,
                          "blocks", (seq - 1) / size + 1, "first_block", row[0],
                          "first_slot", (json_int_t)m->slots[m->start[r]]));
    }
    out_set(&out, "batch", out_text(args->operands[0]));
    out_set(&out, "num_reqs", out_int(m->batch.num_reqs));
    out_set(&out, "num_tokens", out_int(m->batch.num_tokens));
    out_set(&out, "max_query_len", out_int(m->batch.max_query_len));
    out_set(&out, "max_seq_len", out_int(m->batch.max_seq_len));
    return out_close(&out, CLI_OK);
}

/* Everything an operation might want of the batch, by its keys. */
static json_t *
describe(const batch_made *m)
{
    const attn_batch *b = &m->batch;
    json_t *all = json_object(), *rows = json_array(), *flags = json_array();
    json_t *scheduled = json_array(), *computed = json_array();

    for (uint32_t r = 0; r < b->num_reqs; r++) {
        const int32_t query = m->start[r + 1] - m->start[r];
        json_array_append_new(
            rows, ops_list_i32(m->table + (size_t)r * m->group.block_table_cols,
                               m->group.block_table_cols));
        json_array_append_new(flags, json_boolean(m->prefilling[r]));
        json_array_append_new(scheduled, json_integer(query));
        json_array_append_new(computed, json_integer(m->lens[r] - query));
    }
    ops_put_i32(all, "query_start_loc", m->start, (size_t)b->num_reqs + 1);
    ops_put_i32(all, "seq_lens", m->lens, b->num_reqs);
    ops_put_i32(all, "num_prompt_tokens", m->prompt, b->num_reqs);
    ops_put(all, "block_size", m->group.block_size);
    json_object_set_new(all, "block_table", rows);
    json_object_set_new(all, "is_prefilling", flags);
    json_object_set_new(all, "num_scheduled_tokens", scheduled);
    json_object_set_new(all, "num_computed_tokens", computed);
    json_object_set_new(all, "slot_mapping",
                        ops_list_i64(m->slots, b->num_tokens));
    return all;
}

static int
takes(const batch_op *op, const char *key)
{
    for (uint32_t i = 0; i < op->num_params; i++)
        if (!strcmp(op->params[i].name, key))
            return 1;
    for (size_t i = 0; (op->needs & OPS_BATCH) && batch_op_key(i); i++)
        if (!strcmp(batch_op_key(i), key))
            return 1;
    return 0;
}

static const char *
param_at(size_t index, void *arg)
{
    return ((const batch_op *)arg)->params[index].name;
}

static int
set_param(const batch_op *op, const char *pair, json_t *input)
{
    const char *equals = strchr(pair, '=');
    char key[64];
    json_t *value;
    const char *near;

    if (!equals || (size_t)(equals - pair) >= sizeof key)
        return cli_fail(CLI_USAGE, "--param %s: KEY=VALUE is needed", pair);
    snprintf(key, sizeof key, "%.*s", (int)(equals - pair), pair);
    near = cli_nearest(key, param_at, (void *)(uintptr_t)op, op->num_params);
    if (!takes(op, key))
        return cli_fail(CLI_USAGE, "--param %s: %s has no such parameter%s%s%s",
                        pair, op->name, near ? "; did you mean " : "",
                        near ? near : "", near ? "?" : "");
    value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
    if (!value)
        return cli_fail(CLI_USAGE, "--param %s: the value is no JSON", pair);
    json_object_set_new(input, key, value);
    return CLI_OK;
}

static int
make_input(const cli_args *args, const batch_op *op, const batch_made *m,
           json_t *input)
{
    json_t *all = describe(m), *value;
    const char *key;
    int rc = CLI_OK;

    json_object_foreach(all, key, value) if (takes(op, key))
        json_object_set(input, key, value);
    json_decref(all);
    for (size_t i = 0; rc == CLI_OK && i < cli_count(args, "param"); i++)
        rc = set_param(op, cli_nth(args, "param", i), input);
    for (uint32_t i = 0; rc == CLI_OK && i < op->num_params; i++)
        if (!op->params[i].value && !json_object_get(input, op->params[i].name))
            rc = cli_fail(CLI_USAGE, "%s needs --param %s=...: %s", op->name,
                          op->params[i].name, op->params[i].help);
    return rc;
}

static const out_column result_columns[] = {
    {.path = "field"},
    {.path = "value"},
};

static int
print_result(const cli_args *args, const batch_op *op, json_t *result)
{
    out_writer out;
    const int rc =
        out_open(&out, args, result_columns, CLI_COUNT(result_columns), 0);
    const char *key;
    json_t *value;

    if (rc != CLI_OK)
        return rc;
    json_object_foreach(result, key, value)
    {
        json_t *shown = json_incref(value);
        if (out.format != OUT_JSON) {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            json_decref(shown);
            shown = out_text(text);
            free(text);
        }
        out_row(&out, json_pack("{s:s, s:o}", "field", key, "value", shown));
    }
    out_set(&out, "batch", out_text(args->operands[0]));
    out_set(&out, "op", out_text(op->name));
    return out_close(&out, CLI_OK);
}

static const char *
op_name_at(size_t index, void *arg)
{
    (void)arg;
    return batch_op_at(index)->name;
}

static int
find_op(const char *name, const batch_op **op)
{
    size_t count = 0;
    const char *near;

    *op = batch_op_find(name);
    if (*op)
        return CLI_OK;
    while (batch_op_at(count))
        count++;
    near = cli_nearest(name, op_name_at, NULL, count);
    return cli_fail(CLI_USAGE, "unknown transform '%s'; %s%s", name,
                    near ? "did you mean " : "see attnctl batch --ops",
                    near ? near : "");
}

static int
transform(const cli_args *args, const batch_op *op, const batch_made *m)
{
    attn_error err = CLI_ERROR_INIT;
    json_t *input = json_object(), *result = NULL;
    int rc = make_input(args, op, m, input);

    if (rc == CLI_OK && !(result = batch_op_run(op, input, &err)))
        rc = cli_fail_error(&err);
    if (rc == CLI_OK)
        rc = print_result(args, op, result);
    json_decref(input);
    json_decref(result);
    return rc;
}

static int
run_spec(const cli_args *args)
{
    const char *name = cli_get(args, "op");
    const batch_op *op = NULL;
    uint64_t block_size = 16, seed = 1;
    batch_made m = {0};
    int rc = cli_get_u64(args, "block-size", 1, 1 << 20, &block_size);

    if (rc == CLI_OK)
        rc = cli_get_u64(args, "seed", 0, UINT32_MAX, &seed);
    if (rc == CLI_OK && name)
        rc = find_op(name, &op);
    if (rc == CLI_OK && !op && cli_count(args, "param"))
        rc = cli_fail(CLI_USAGE, "--param without --op");
    if (rc == CLI_OK)
        rc = batch_make(args->operands[0], (uint32_t)block_size, seed,
                        MAX_PRINTED, &m);
    if (rc == CLI_OK &&
        (uint64_t)m.batch.num_reqs * m.group.block_table_cols > MAX_PRINTED)
        rc = cli_fail(CLI_USAGE,
                      "batch spec '%s': a block table of %u rows and %u "
                      "columns is too large to print",
                      args->operands[0], m.batch.num_reqs,
                      m.group.block_table_cols);
    if (rc == CLI_OK)
        rc = op ? transform(args, op, &m) : print_batch(args, &m);
    batch_made_free(&m);
    return rc;
}

static int
run(const cli_args *args)
{
    if (cli_has(args, "check"))
        return run_check(args);
    if (cli_has(args, "ops"))
        return run_ops(args);
    if (args->num_operands != 1)
        return cli_fail(CLI_USAGE, "batch: one batch spec is needed, "
                                   "or --check FILE, or --ops");
    return run_spec(args);
}

const cli_command cmd_batch = {
    .name = "batch",
    .operands = "SPEC",
    .summary = "parse a batch spec, apply a transform, print it",
    .options = options,
    .num_options = CLI_COUNT(options),
    .min_operands = 0,
    .max_operands = 4096,
    .run = run,
};
