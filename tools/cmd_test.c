/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "host.h"
#include "output.h"
#include "rows.h"
#include <attn/verify.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const out_column columns[] = {
    {.path = "backend", .width = 16},
    {.path = "rung", .width = 10},
    {.path = "state", .width = 5},
    {.path = "cases", .flags = OUT_RIGHT, .width = 5},
    {.path = "seconds", .flags = OUT_RIGHT, .precision = 3, .width = 7},
    {.path = "seed", .flags = OUT_MACHINE},
    {.path = "reason"},
    {.path = "reproduce", .flags = OUT_BELOW},
};

static const out_column rung_columns[] = {
    {.path = "rung"},
    {.path = "limit_s", .title = "limit", .flags = OUT_RIGHT},
    {.path = "help"},
};

static const cli_option options[] = {
    {"backend", "NAME", "test this backend alone", 0},
    {"device", "DEVICE", "on the one of this number or name [each's first]", 0},
    {"rung", "NAME", "run this rung alone", 0},
    {"quick", NULL, "a short ladder, about ten seconds", 0},
    {"seed", "N", "of the random cases [a fixed one]", 0},
    {"threads", "N", "of the numeric runs [all]", 0},
    {"case", "SEED", "run this one case of the numerics", 0},
    {"in-process", NULL, "no child process, no time limit: to debug", 0},
    {"option", "KEY=VALUE", "set an option of the plugin", CLI_MULTI},
    {"rungs", NULL, "print what the rungs are, and run none", 0},
};

typedef struct report {
    out_writer out;
    json_t *claims;
    json_t *unproven;
    const cli_args *args;
} report;

static const char *
rung_state(uint32_t state)
{
    static const char *const names[] = {"pass", "fail", "skip"};
    return state < CLI_COUNT(names) ? names[state] : "?";
}

static void
on_progress(void *arg, const char *backend, const char *rung, uint32_t done,
            uint32_t total)
{
    (void)arg;
    if (total)
        cli_progress("%s: %s %u/%u", backend, rung, done, total);
    else
        cli_progress("%s: %s", backend, rung);
}

/* One word to a shell; the caller frees it. NULL: no memory. */
static char *
shell_word(const char *word)
{
    const size_t n = strlen(word);
    const size_t plain = strspn(word, "abcdefghijklmnopqrstuvwxyz"
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                      "%+,-./:=@_");
    char *text = malloc(4 * n + 3), *end = text;
    if (!text)
        return NULL;
    if (n && plain == n)
        return strcpy(text, word);
    *end++ = '\'';
    for (; *word; word++)
        if (*word == '\'')
            end = stpcpy(end, "'\\''");
        else
            *end++ = *word;
    stpcpy(end, "'");
    return text;
}

static json_t *
reproduce(const cli_args *args, const char *command)
{
    const char *config = cli_get(args, "config");
    if (!command || !command[0])
        return json_null();
    if (!config)
        return out_text(command);
    char *word = shell_word(config), *whole = NULL;
    if (word && asprintf(&whole, "%s --config %s", command, word) < 0)
        whole = NULL;
    json_t *text = whole ? out_text(whole) : json_null();
    free(word);
    free(whole);
    return text;
}

static void
on_rung(void *arg, const attn_rung_result *r)
{
    report *rep = arg;
    json_t *row = json_object();
    json_object_set_new(row, "backend", out_text(r->backend));
    json_object_set_new(row, "rung", out_text(r->rung));
    json_object_set_new(row, "state", out_text(rung_state(r->state)));
    json_object_set_new(row, "cases", out_int(r->num_cases));
    json_object_set_new(row, "seconds", out_real(r->seconds));
    json_object_set_new(row, "seed",
                        r->seed
                            ? out_format("%llu", (unsigned long long)r->seed)
                            : json_null());
    json_object_set_new(row, "reason", out_text(r->reason));
    json_object_set_new(row, "reproduce", reproduce(rep->args, r->reproduce));
    out_row(&rep->out, row);
}

static void
on_claim(void *arg, const attn_claim_result *c)
{
    report *rep = arg;
    json_t *row = json_object();
    json_object_set_new(row, "backend", out_text(c->backend));
    json_object_set_new(row, "kind", out_text(c->kind));
    json_object_set_new(row, "claim", out_text(c->claim));
    json_object_set_new(row, "proven", out_bool(c->proven != 0));
    json_object_set_new(row, "reason", out_text(c->reason));
    json_array_append_new(rep->claims, row);
    if (!c->proven)
        json_array_append_new(
            rep->unproven,
            out_format("%s: %s (%s)", c->backend, c->claim, c->reason));
}

static int
verdict(const attn_ladder_summary *s)
{
    if (s->failed)
        return CLI_FAILED;
    if (s->num_backends == 0 && s->skipped == 0)
        return cli_fail(CLI_UNUSABLE, "there is no backend to test");
    /* A device that is absent leaves the rungs of the file passed. */
    return s->num_backends == 0 || s->passed == 0 ? CLI_SKIPPED : CLI_OK;
}

static int
climb(const cli_args *args, const attn_ladder_params *params)
{
    report rep = {
        .args = args, .claims = json_array(), .unproven = json_array()};
    const attn_ladder_events events = {&rep, on_progress, on_rung, on_claim};
    attn_ladder_summary sum = {.struct_size = sizeof sum};
    attn_error err = CLI_ERROR_INIT;
    int rc = out_open(&rep.out, args, columns, CLI_COUNT(columns), OUT_STREAM);
    if (rc != CLI_OK)
        return rc;
    if (attn_ladder_run(params, &events, &sum, &err)) {
        json_decref(rep.claims);
        json_decref(rep.unproven);
        rc = cli_fail_error(&err);
        return out_abort(&rep.out, strcmp(err.where, "rung") ? rc : CLI_USAGE);
    }
    out_set(&rep.out, "backends", out_int(sum.num_backends));
    out_set(&rep.out, "rungs",
            out_format("%u passed, %u failed, %u skipped", sum.passed,
                       sum.failed, sum.skipped));
    out_set(&rep.out, "proven",
            out_format("%u of %u claims", sum.claims_proven, sum.claims));
    out_set(&rep.out, "unproven", rep.unproven);
    out_set(&rep.out, "claims", rep.claims);
    return out_close(&rep.out, verdict(&sum));
}

static int
print_rungs(const cli_args *args)
{
    out_writer out;
    const attn_rung *rung;
    const int rc =
        out_open(&out, args, rung_columns, CLI_COUNT(rung_columns), 0);
    for (size_t i = 0; rc == CLI_OK && (rung = attn_rung_at(i)); i++) {
        json_t *row = json_object();
        json_object_set_new(row, "rung", out_text(rung->name));
        json_object_set_new(row, "limit_s", out_int(rung->limit_s));
        json_object_set_new(row, "help", out_text(rung->help));
        out_row(&out, row);
    }
    return rc == CLI_OK ? out_close(&out, CLI_OK) : rc;
}

static int
parse(const cli_args *args, attn_ladder_params *p)
{
    uint64_t threads = 0;
    int rc = cli_get_u64(args, "threads", 1, 4096, &threads);
    if (rc == CLI_OK)
        rc = cli_get_u64(args, "seed", 1, UINT64_MAX, &p->seed);
    if (rc == CLI_OK)
        rc = cli_get_u64(args, "case", 1, UINT64_MAX, &p->only_case);
    p->num_threads = (uint32_t)threads;
    p->quick = (uint32_t)cli_has(args, "quick");
    p->in_process = (uint32_t)cli_has(args, "in-process");
    p->backend = cli_get(args, "backend");
    p->device = cli_get(args, "device");
    p->rung = cli_get(args, "rung");
    if (!args->num_operands)
        return rc;
    p->only_library = args->operands[0];
    if (rc == CLI_OK && !host_is_file(p->only_library) &&
        access(p->only_library, F_OK))
        rc = cli_fail(CLI_USAGE, "test: no file %s; --backend names a backend",
                      p->only_library);
    return rc;
}

static int
run(const cli_args *args)
{
    attn_config *config = NULL;
    attn_key_value *plugin_options = NULL;
    attn_ladder_params p = {.struct_size = sizeof p};
    if (cli_has(args, "rungs"))
        return print_rungs(args);
    int rc = parse(args, &p);
    if (rc == CLI_OK)
        rc = host_config(args, &config);
    if (rc == CLI_OK)
        rc = host_options(args, &plugin_options);
    if (rc == CLI_OK && plugin_options && !p.backend && !p.only_library)
        rc = cli_fail(CLI_USAGE, "--option needs --backend or a file");
    p.config = config;
    p.options = plugin_options;
    if (rc == CLI_OK)
        rc = climb(args, &p);
    free(plugin_options);
    attn_config_free(config);
    return rc;
}

const cli_command cmd_test = {
    .name = "test",
    .operands = "[FILE]",
    .summary = "the conformance ladder: is a backend right?",
    .options = options,
    .num_options = CLI_COUNT(options),
    .max_operands = 1,
    .run = run,
};
