/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "host.h"
#include "layer.h"
#include "output.h"
#include "rows.h"
#include <stdio.h>
#include <string.h>

static const out_column columns[] = {
    {.path = "rank", .flags = OUT_RIGHT},
    {.path = "backend"},
    {.path = "state"},
    {.path = "verdict"},
    {.path = "reasons"},
};

static const cli_option options[] = {
    {"phase", "PHASE", "prefill, decode or any [any]", 0},
    {"layer", "N", "number of the layer, for [select layers a-b]", 0},
    {"capture", "LEVEL", "never, decode, uniform or always [never]", 0},
    {"backend", "NAME", "this backend or none", 0},
};

static const char *const phases[] = {"any", "prefill", "decode"};
static const char *const captures[] = {"never", "decode", "uniform", "always"};

static int
choose(const cli_args *args, const char *name, const char *const *words,
       size_t count, uint32_t *value)
{
    char known[64];
    size_t used = 0;
    const char *text = cli_get(args, name);
    for (size_t i = 0; text && i < count; i++)
        if (!strcmp(text, words[i])) {
            *value = (uint32_t)i;
            return CLI_OK;
        }
    if (!text)
        return CLI_OK;
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                 i ? ", " : "", words[i]);
    return cli_fail(CLI_USAGE, "--%s: '%s' is none of %s", name, text, known);
}

static int
parse(const cli_args *args, attn_select_params *params)
{
    uint64_t index = ATTN_LAYER_INDEX_NONE;
    *params = (attn_select_params){.struct_size = sizeof *params,
                                   .backend = cli_get(args, "backend")};
    int rc = choose(args, "phase", phases, CLI_COUNT(phases), &params->phase);
    if (rc == CLI_OK)
        rc = choose(args, "capture", captures, CLI_COUNT(captures),
                    &params->capture);
    if (rc == CLI_OK)
        rc = cli_get_u64(args, "layer", 0, 1000000, &index);
    params->layer_index = (uint32_t)index;
    return rc;
}

static json_t *
row_candidate(const attn_candidate *c, size_t rank)
{
    json_t *row = json_object(), *reasons = json_array();
    for (uint32_t i = 0; i < c->num_reasons; i++)
        json_array_append_new(reasons, out_text(c->reasons[i]));
    json_object_set_new(row, "rank", out_int(rank));
    json_object_set_new(row, "backend", out_text(c->entry->name));
    json_object_set_new(row, "state",
                        out_text(attn_state_str(c->entry->state)));
    json_object_set_new(row, "verdict",
                        out_text(c->chosen     ? "chosen"
                                 : c->eligible ? "could run"
                                               : "rejected"));
    json_object_set_new(row, "chosen", out_bool(c->chosen != 0));
    json_object_set_new(row, "eligible", out_bool(c->eligible != 0));
    json_object_set_new(row, "file", out_text(c->entry->file));
    json_object_set_new(row, "reasons", reasons);
    return row;
}

static int
print(const cli_args *args, const attn_layer *layer,
      const attn_select_params *params, const attn_selection *s,
      attn_status status, const attn_error *err)
{
    out_writer out;
    const attn_entry *winner = attn_selection_winner(s);
    int rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < attn_selection_count(s); i++)
        out_row(&out, row_candidate(attn_selection_at(s, i), i + 1));
    out_set(&out, "phase", out_text(phases[params->phase]));
    out_set(&out, "layer", row_layer(layer));
    out_set(&out, "winner", out_text(winner ? winner->name : NULL));
    out_set(&out, "rule", out_text(attn_selection_rule(s)));
    rc = out_close(&out, winner ? CLI_OK : CLI_UNUSABLE);
    if (status && rc != CLI_INTERNAL)
        rc = cli_fail_error(err);
    return rc;
}

static int
run(const cli_args *args)
{
    host h;
    attn_any_layer layer;
    attn_select_params params;
    attn_selection *s = NULL;
    attn_error err = CLI_ERROR_INIT;
    int rc = parse(args, &params);
    if (rc == CLI_OK)
        rc = layer_make(args->layer, args->num_layer, NULL, &layer);
    if (rc != CLI_OK)
        return rc;
    rc = host_open(args, NULL, NULL, 0, &h);
    if (rc != CLI_OK)
        return rc;
    const attn_status status =
        attn_select(h.registry, &layer.head, &params, &s, &err);
    if (s)
        rc = print(args, &layer.head, &params, s, status, &err);
    else
        rc = cli_fail_error(&err);
    if (s)
        attn_selection_free(s);
    host_close(&h);
    return rc;
}

const cli_command cmd_explain = {
    .name = "explain",
    .operands = "",
    .summary = "who would run a layer, and why the others would not",
    .options = options,
    .num_options = CLI_COUNT(options),
    .flags = CLI_LAYER,
    .run = run,
};
