/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "host.h"
#include "output.h"
#include "rows.h"
#include <attn/verify.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const out_column columns[] = {
    {.path = "output"},
    {.path = "pass"},
    {.path = "max_error", .flags = OUT_RIGHT, .precision = 4},
    {.path = "bound_max", .flags = OUT_RIGHT, .precision = 4},
    {.path = "mean_error", .flags = OUT_RIGHT, .precision = 4},
    {.path = "bound_mean", .flags = OUT_RIGHT, .precision = 4},
    {.path = "mask_errors", .flags = OUT_RIGHT},
    {.path = "count", .flags = OUT_RIGHT},
    {.path = "reason"},
};

static const cli_option options[] = {
    {"backend", "NAME", "run it on this one [as configured]", 0},
    {"device", "DEVICE", "number or name of the backend's device [0]", 0},
    {"out", "FILE", "store what came out, as safetensors", 0},
    {"threads", "N", "to use [all]", 0},
    {"option", "KEY=VALUE", "set an option of the backend's plugin", CLI_MULTI},
};

/* An lse that was not asked for is neither right nor wrong. */
static json_t *
row_absent(const attn_verdict *v)
{
    json_t *row = json_object();
    json_object_set_new(row, "output", out_text(v->name));
    json_object_set_new(row, "pass", json_null());
    json_object_set_new(row, "count", out_int(0));
    json_object_set_new(row, "reason", out_text("not asked for"));
    return row;
}

static json_t *
row_verdict(const attn_verdict *v)
{
    json_t *row = v->count ? json_object() : NULL;
    if (!row)
        return row_absent(v);
    json_object_set_new(row, "output", out_text(v->name));
    json_object_set_new(row, "pass", out_bool(v->pass != 0));
    json_object_set_new(row, "max_error", out_real(v->max_error));
    json_object_set_new(row, "bound_max", out_real(v->bound_max));
    json_object_set_new(row, "mean_error", out_real(v->mean_error));
    json_object_set_new(row, "bound_mean", out_real(v->bound_mean));
    json_object_set_new(row, "plain_max", out_real(v->plain_max));
    json_object_set_new(row, "plain_mean", out_real(v->plain_mean));
    json_object_set_new(row, "mask_errors", out_int(v->mask_errors));
    json_object_set_new(row, "count", out_int(v->count));
    json_object_set_new(row, "worst", json_integer(v->worst));
    json_object_set_new(row, "worst_got", out_real(v->worst_got));
    json_object_set_new(row, "worst_want", out_real(v->worst_want));
    json_object_set_new(row, "reason", out_text(v->reason));
    return row;
}

/* Whether the file tells what must come out. */
static int
has_expected(const attn_call *call)
{
    for (size_t i = 0; i < attn_call_count(call); i++)
        if (!strncmp(attn_call_at(call, i)->name, "expected.", 9))
            return 1;
    return 0;
}

static int
is_wanted(const attn_call *call, const char *name)
{
    char expected[128];
    snprintf(expected, sizeof expected, "expected.%s", name);
    return !has_expected(call) || attn_call_find(call, expected);
}

static int
store(const attn_call *call, const attn_call *result, const char *path)
{
    attn_error err = CLI_ERROR_INIT;
    attn_call *file = NULL;
    attn_status st = attn_call_create(attn_call_layer(call), &file, &err);
    for (size_t i = 0; !st && i < attn_call_count(result); i++) {
        const attn_call_tensor *t = attn_call_at(result, i);
        if (is_wanted(call, t->name))
            st = attn_call_add(file, t->name, t->dtype, t->ndim, t->shape,
                               t->data, NULL, &err);
    }
    if (!st)
        st = attn_call_store(file, path, &err);
    if (file)
        attn_call_free(file);
    if (!st)
        return CLI_OK;
    const int rc = cli_fail_error(&err);
    return st == ATTN_E_IO ? CLI_INTERNAL : rc;
}

static int
print(const cli_args *args, const attn_entry *entry,
      const attn_verdict *verdicts, size_t count, int pass)
{
    out_writer out;
    const int rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < count; i++)
        out_row(&out, row_verdict(&verdicts[i]));
    out_set(&out, "backend", out_text(entry->name));
    out_set(&out, "file", out_text(args->operands[0]));
    out_set(&out, "pass", out_bool(pass));
    return out_close(&out, pass ? CLI_OK : CLI_FAILED);
}

static int
judge(const cli_args *args, const attn_entry *entry, const attn_call *result,
      const attn_reference *reference)
{
    attn_error err = CLI_ERROR_INIT;
    const size_t count = attn_reference_count(reference);
    uint32_t pass = 0;
    int rc;
    attn_verdict *verdicts = calloc(count + 1, sizeof *verdicts);
    if (!verdicts)
        return cli_fail(CLI_INTERNAL, "out of memory");
    for (size_t i = 0; i < count; i++)
        verdicts[i].struct_size = sizeof *verdicts;
    if (attn_compare(reference, result, verdicts, &pass, &err))
        rc = cli_fail_error(&err);
    else
        rc = print(args, entry, verdicts, count, pass != 0);
    free(verdicts);
    return rc;
}

/* A failed run is a failed test, unless the backend refuses the layer. */
static int
run_failed(const attn_error *err)
{
    const int rc = cli_fail_error(err);
    return rc == CLI_INTERNAL || rc == CLI_USAGE ? CLI_FAILED : rc;
}

static int
replay(const cli_args *args, const host *h, const attn_entry *entry,
       const attn_call *call, uint32_t threads)
{
    attn_error err = CLI_ERROR_INIT;
    attn_reference *reference = NULL;
    attn_call *result = NULL;
    const char *path = cli_get(args, "out");
    const attn_run_params params = {.struct_size = sizeof params,
                                    .num_threads = threads};
    int rc = CLI_OK;
    if (attn_reference_create(call, 0, ATTN_REFERENCE_USE_EXPECTED, &reference,
                              &err))
        rc = cli_fail_error(&err);
    else if (attn_call_run(h->registry, entry, call, &params, &result, &err))
        rc = run_failed(&err);
    if (rc == CLI_OK && path)
        rc = store(call, result, path);
    if (rc == CLI_OK)
        rc = judge(args, entry, result, reference);
    if (reference)
        attn_reference_free(reference);
    if (result)
        attn_call_free(result);
    return rc;
}

static int
with_host(const cli_args *args, const attn_call *call)
{
    host h;
    const attn_entry *entry;
    const char *name = cli_get(args, "backend");
    const char *device = cli_get(args, "device");
    uint64_t threads = 0;
    int rc = cli_get_u64(args, "threads", 1, 4096, &threads);
    if (rc == CLI_OK)
        rc = host_open(args, NULL, name, (uint32_t)threads, &h);
    if (rc != CLI_OK)
        return rc;
    if (name)
        rc = host_backend(&h, name, device, &entry);
    else
        rc = host_select(&h, attn_call_layer(call), device, &entry);
    if (rc == CLI_OK)
        rc = replay(args, &h, entry, call, (uint32_t)threads);
    host_close(&h);
    return rc;
}

static int
run(const cli_args *args)
{
    attn_call *call;
    attn_error err = CLI_ERROR_INIT;
    if (attn_call_load(args->operands[0], &call, &err))
        return cli_fail_error(&err);
    const int rc = with_host(args, call);
    attn_call_free(call);
    return rc;
}

const cli_command cmd_replay = {
    .name = "replay",
    .operands = "FILE",
    .summary = "run a recorded call and judge what comes out",
    .options = options,
    .num_options = CLI_COUNT(options),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
