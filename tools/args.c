/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cli_option cli_common[] = {
    {"json", NULL, "print one JSON object", 0},
    {"csv", NULL, "print comma-separated values", 0},
    {"config", "FILE", "read this configuration instead of the usual one", 0},
    {"help", NULL, "print this text", 0},
};
const size_t cli_num_common = CLI_COUNT(cli_common);

const cli_option cli_layer_options[] = {
    {"family", "NAME", "kind of layer: flash, mla, mamba2, mamba1", 0},
    {"heads", "H[/KV]", "query heads, and KV heads where they differ",
     CLI_LIST},
    {"dtype", "TYPE", "type of the inputs: f32, f16, bf16", CLI_LIST},
    {"feature", "NAME", "a need that no field tells: sinks, alibi, lse, ...",
     CLI_MULTI},
};
const size_t cli_num_layer_options = CLI_COUNT(cli_layer_options);

typedef struct found {
    const char *name;
    const char *arg;
    int layer;
} found;

/* "head-dim" and "head_dim" are one name. */
static int
same(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i] && !(a[i] == '_' && b[i] == '-') &&
            !(a[i] == '-' && b[i] == '_'))
            return 0;
    return a[n] == 0;
}

static int
find_in(const cli_option *options, size_t count, const char *word, size_t n,
        found *f)
{
    for (size_t i = 0; i < count; i++) {
        if (strnlen(options[i].name, n) < n || !same(options[i].name, word, n))
            continue;
        f->name = options[i].name;
        f->arg = options[i].arg;
        return 1;
    }
    return 0;
}

static int
find_field(const char *word, size_t n, found *f)
{
    const attn_family *family;
    for (size_t i = 0; (family = attn_family_at(i)); i++)
        for (size_t j = 0; j < family->num_fields; j++) {
            const char *name = family->fields[j].name;
            if (strnlen(name, n) < n || !same(name, word, n))
                continue;
            f->name = name;
            f->arg = "VALUE";
            return 1;
        }
    return 0;
}

static int
find_option(const cli_command *c, const char *word, size_t n, found *f)
{
    f->layer = 0;
    if (find_in(c->options, c->num_options, word, n, f) ||
        find_in(cli_common, cli_num_common, word, n, f))
        return 1;
    f->layer = 1;
    return (c->flags & CLI_LAYER) &&
           (find_in(cli_layer_options, cli_num_layer_options, word, n, f) ||
            find_field(word, n, f));
}

/* The names that a command takes, one after the other; NULL past the end. */
static const char *
option_at(size_t index, void *arg)
{
    const cli_command *c = arg;
    const attn_family *family;
    if (index < c->num_options)
        return c->options[index].name;
    index -= c->num_options;
    if (index < cli_num_common)
        return cli_common[index].name;
    index -= cli_num_common;
    if (!(c->flags & CLI_LAYER))
        return NULL;
    if (index < cli_num_layer_options)
        return cli_layer_options[index].name;
    index -= cli_num_layer_options;
    for (size_t i = 0; (family = attn_family_at(i)); i++) {
        if (index < family->num_fields)
            return family->fields[index].name;
        index -= family->num_fields;
    }
    return NULL;
}

static int
unknown_option(const cli_command *c, const char *word, size_t n)
{
    char name[64], shown[64];
    size_t count = 0;
    snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), word);
    while (option_at(count, (void *)(uintptr_t)c))
        count++;
    const char *near =
        cli_nearest(name, option_at, (void *)(uintptr_t)c, count);
    if (!near)
        return cli_fail(CLI_USAGE,
                        "%s: unknown option --%s; see attnctl %s --help",
                        c->name, name, c->name);
    snprintf(shown, sizeof shown, "%s", near);
    for (char *p = shown; *p; p++)
        if (*p == '_')
            *p = '-';
    return cli_fail(CLI_USAGE, "%s: unknown option --%s; did you mean --%s?",
                    c->name, name, shown);
}

/* Parses the option at argv[*i]; moves *i past what it takes. */
static int
parse_option(cli_args *args, int argc, char **argv, int *i)
{
    const cli_command *c = args->command;
    const char *word = argv[*i] + 2;
    const size_t n = strcspn(word, "=");
    const char *value = word[n] ? word + n + 1 : NULL;
    found f;
    if (!find_option(c, word, n, &f))
        return unknown_option(c, word, n);
    if (!f.arg && value)
        return cli_fail(CLI_USAGE, "%s: --%s takes no value", c->name, f.name);
    if (f.arg && !value) {
        if (*i + 1 >= argc)
            return cli_fail(CLI_USAGE, "%s: --%.*s needs %s", c->name, (int)n,
                            word, f.arg);
        value = argv[++*i];
    }
    if (f.arg && !value[0])
        return cli_fail(CLI_USAGE, "%s: --%.*s: an empty %s", c->name, (int)n,
                        word, f.arg);
    const cli_pair pair = {f.name, value ? value : ""};
    if (f.layer)
        args->layer[args->num_layer++] = pair;
    else
        args->options[args->num_options++] = pair;
    return CLI_OK;
}

static int
check_operands(const cli_args *args)
{
    const cli_command *c = args->command;
    if (args->num_operands < c->min_operands)
        return cli_fail(CLI_USAGE, "%s: needs %s", c->name, c->operands);
    if (args->num_operands > c->max_operands)
        return cli_fail(CLI_USAGE, "%s: '%s' is one argument too many", c->name,
                        args->operands[c->max_operands]);
    for (size_t i = 0; i < args->num_operands; i++)
        if (!args->operands[i][0])
            return cli_fail(CLI_USAGE, "%s: an empty argument", c->name);
    return CLI_OK;
}

int
cli_parse(const cli_command *command, int argc, char **argv, cli_args *args)
{
    const size_t room = (size_t)argc + 1;
    int rc = CLI_OK, options = 1;
    *args = (cli_args){.command = command};
    args->options = calloc(room, sizeof *args->options);
    args->layer = calloc(room, sizeof *args->layer);
    args->operands = calloc(room, sizeof *args->operands);
    if (!args->options || !args->layer || !args->operands)
        return cli_fail(CLI_INTERNAL, "out of memory");
    for (int i = 0; i < argc && rc == CLI_OK; i++) {
        if (options && !strcmp(argv[i], "--"))
            options = 0;
        else if (options && !strcmp(argv[i], "-h"))
            args->help = 1;
        else if (options && !strncmp(argv[i], "--", 2))
            rc = parse_option(args, argc, argv, &i);
        else if (options && argv[i][0] == '-' && argv[i][1])
            rc = cli_fail(CLI_USAGE, "%s: unknown option %s", command->name,
                          argv[i]);
        else
            args->operands[args->num_operands++] = argv[i];
    }
    if (cli_has(args, "help"))
        args->help = 1;
    if (rc != CLI_OK || args->help)
        return rc;
    if (cli_has(args, "json") && cli_has(args, "csv"))
        return cli_fail(CLI_USAGE, "%s: --json and --csv exclude each other",
                        command->name);
    return check_operands(args);
}

void
cli_args_free(cli_args *args)
{
    free(args->options);
    free(args->layer);
    free(args->operands);
    *args = (cli_args){0};
}

static void
print_options(FILE *to, const cli_option *options, size_t count)
{
    char left[64];
    for (size_t i = 0; i < count; i++) {
        snprintf(left, sizeof left, "--%s%s%s", options[i].name,
                 options[i].arg ? " " : "",
                 options[i].arg ? options[i].arg : "");
        fprintf(to, "  %-26s %s\n", left, options[i].help);
    }
}

static void
print_field(FILE *to, const attn_field *field)
{
    char left[64];
    snprintf(left, sizeof left, "--%s", field->name);
    for (char *p = left; *p; p++)
        if (*p == '_')
            *p = '-';
    fprintf(to, "  %-26s %s", left, field->help);
    if (field->value && field->value[0])
        fprintf(to, " [%s]", field->value);
    fputc('\n', to);
}

static void
usage_program(FILE *to)
{
    fputs("usage: attnctl COMMAND [OPTION...] [ARGUMENT...]\n"
          "       attnctl --version | --help\n\ncommands:\n",
          to);
    for (size_t i = 0; i < cli_num_commands; i++)
        fprintf(to, "  %-10s %s\n", cli_commands[i]->name,
                cli_commands[i]->summary);
    fputs("\noptions of every command:\n", to);
    print_options(to, cli_common, cli_num_common);
    fputs("\nexit status: 0 ok, 1 failed, 2 usage, 3 configuration or "
          "malformed file,\n4 nothing usable or unsupported, 5 internal, 77 "
          "skipped. See attnctl(1).\n",
          to);
}

void
cli_usage(void *file, const cli_command *c)
{
    FILE *to = file;
    const attn_family *family;
    if (!c) {
        usage_program(to);
        return;
    }
    fprintf(to, "usage: attnctl %s [OPTION...]%s%s\n\n%s\n\noptions:\n",
            c->name, c->operands[0] ? " " : "", c->operands, c->summary);
    print_options(to, c->options, c->num_options);
    print_options(to, cli_common, cli_num_common);
    if (!(c->flags & CLI_LAYER))
        return;
    fputs("\nthe layer:\n", to);
    print_options(to, cli_layer_options, cli_num_layer_options);
    for (size_t i = 0; (family = attn_family_at(i)); i++) {
        fprintf(to, "\nfields of %s:\n", family->key);
        for (size_t j = 0; j < family->num_fields; j++)
            print_field(to, &family->fields[j]);
    }
}
