/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "output.h"
#include <stdio.h>
#include <string.h>

static const out_column columns[] = {
    {.path = "command"},
    {.path = "option"},
    {.path = "argument"},
    {.path = "help"},
};

const cli_command *
cli_command_find(const char *name)
{
    for (size_t i = 0; i < cli_num_commands; i++)
        if (!strcmp(cli_commands[i]->name, name))
            return cli_commands[i];
    return NULL;
}

static const char *
command_at(size_t index, void *arg)
{
    (void)arg;
    return cli_commands[index]->name;
}

int
cli_command_unknown(const char *name)
{
    const char *near = cli_nearest(name, command_at, NULL, cli_num_commands);
    if (near)
        return cli_fail(CLI_USAGE, "unknown command '%s'; did you mean %s?",
                        name, near);
    return cli_fail(CLI_USAGE, "unknown command '%s'; see attnctl --help",
                    name);
}

static void
add_option(out_writer *out, const char *command, const char *name,
           const char *arg, const char *help)
{
    char option[64];
    snprintf(option, sizeof option, "%s", name);
    for (char *p = option; *p; p++)
        if (*p == '_')
            *p = '-';
    json_t *row = json_object();
    json_object_set_new(row, "command", out_text(command));
    json_object_set_new(row, "option", out_text(option));
    json_object_set_new(row, "argument", out_text(arg));
    json_object_set_new(row, "help", out_text(help));
    out_row(out, row);
}

static void
add_options(out_writer *out, const char *command, const cli_option *options,
            size_t count)
{
    for (size_t i = 0; i < count; i++)
        add_option(out, command, options[i].name, options[i].arg,
                   options[i].help);
}

static void
add_command(out_writer *out, const cli_command *c)
{
    const attn_family *family;
    add_options(out, c->name, c->options, c->num_options);
    add_options(out, c->name, cli_common, cli_num_common);
    if (!(c->flags & CLI_LAYER))
        return;
    add_options(out, c->name, cli_layer_options, cli_num_layer_options);
    for (size_t i = 0; (family = attn_family_at(i)); i++)
        for (size_t j = 0; j < family->num_fields; j++)
            add_option(out, c->name, family->fields[j].name, "VALUE",
                       family->fields[j].help);
}

int
cli_help(const cli_args *args, const cli_command *c)
{
    out_writer out;
    if (!cli_has(args, "json") && !cli_has(args, "csv")) {
        cli_usage(stdout, c);
        return out_flush(CLI_OK);
    }
    const int rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    out.command = cmd_help.name;
    for (size_t i = 0; i < cli_num_commands; i++)
        if (!c || c == cli_commands[i])
            add_command(&out, cli_commands[i]);
    return out_close(&out, CLI_OK);
}

static int
run(const cli_args *args)
{
    const char *word = args->num_operands ? args->operands[0] : NULL;
    const cli_command *c = word ? cli_command_find(word) : NULL;
    return word && !c ? cli_command_unknown(word) : cli_help(args, c);
}

const cli_command cmd_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "usage; with --json every option of every command",
    .max_operands = 1,
    .run = run,
};
