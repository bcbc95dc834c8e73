/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "host.h"
#include "output.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 128

static const out_column columns[] = {
    {.path = "section"}, {.path = "key"},  {.path = "value"},
    {.path = "origin"},  {.path = "help"},
};

static const cli_option options[] = {
    {"get", "SECTION.KEY", "print this one value and nothing else", 0},
};

static json_t *
row_value(const attn_config_value *v)
{
    json_t *row = json_object();
    json_object_set_new(row, "section", out_text(v->section));
    json_object_set_new(row, "key", out_text(v->key));
    json_object_set_new(row, "value", out_text(v->value));
    json_object_set_new(row, "origin",
                        v->line ? out_format("%s:%u", v->origin, v->line)
                                : out_text(v->origin));
    json_object_set_new(row, "file",
                        v->line ? out_text(v->origin) : json_null());
    json_object_set_new(row, "line",
                        v->line ? json_integer(v->line) : json_null());
    json_object_set_new(row, "help", out_text(v->help));
    return row;
}

static int
is_wanted(const attn_config_value *v, const char *wanted)
{
    const size_t n = strlen(v->section);
    return !wanted || (!strncmp(wanted, v->section, n) && wanted[n] == '.' &&
                       !strcmp(wanted + n + 1, v->key));
}

/* "section.key" of every value, for the nearest name. */
static const char *
name_at(size_t index, void *names)
{
    return ((char(*)[NAME_SIZE])names)[index];
}

static int
unknown(const attn_config *config, const char *wanted)
{
    const size_t count = attn_config_count(config);
    char(*names)[NAME_SIZE] = calloc(count + 1, sizeof *names);
    if (!names)
        return cli_fail(CLI_INTERNAL, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const attn_config_value *v = attn_config_at(config, i);
        snprintf(names[i], sizeof names[i], "%s.%s", v->section, v->key);
    }
    const char *near = cli_nearest(wanted, name_at, names, count);
    const int rc = cli_fail(CLI_USAGE, "config: --get: no value '%s'%s%s%s",
                            wanted, near ? "; did you mean " : "",
                            near ? near : "", near ? "?" : "");
    free(names);
    return rc;
}

static int
print(const cli_args *args, const attn_config *config)
{
    static const out_column one[] = {{.path = "value"}};
    const char *wanted = cli_get(args, "get");
    size_t found = 0;
    out_writer out;
    int rc = wanted ? out_open(&out, args, one, 1, OUT_BARE)
                    : out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < attn_config_count(config); i++) {
        const attn_config_value *v = attn_config_at(config, i);
        if (!is_wanted(v, wanted))
            continue;
        out_row(&out, row_value(v));
        found++;
    }
    if (wanted && !found)
        return out_abort(&out, unknown(config, wanted));
    return out_close(&out, CLI_OK);
}

static int
run(const cli_args *args)
{
    attn_config *config;
    int rc = host_config(args, &config);
    if (rc != CLI_OK)
        return rc;
    rc = print(args, config);
    attn_config_free(config);
    return rc;
}

const cli_command cmd_config = {
    .name = "config",
    .operands = "",
    .summary = "the effective values and where each comes from",
    .options = options,
    .num_options = CLI_COUNT(options),
    .run = run,
};
