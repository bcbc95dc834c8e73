/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "output.h"
#include "tools/template.inc"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The name that the template's own files and backend carry. */
#define TEMPLATE_NAME "hello"

static const out_column columns[] = {
    {.path = "file"},
};

static const cli_option options[] = {
    {"dir", "DIR", "make this directory [NAME]", 0},
};

static int
check_name(const char *name)
{
    const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (n >= 1 && n <= 31 && !name[n] && name[0] >= 'a' && name[0] <= 'z')
        return CLI_OK;
    return cli_fail(CLI_USAGE,
                    "new: '%s' is no name: 1 to 31 of a-z, 0-9 and _, a "
                    "letter first",
                    name);
}

static void
put_line(FILE *f, const char *line, const char *name)
{
    const char *at;
    for (; (at = strstr(line, TEMPLATE_NAME));
         line = at + strlen(TEMPLATE_NAME))
        fprintf(f, "%.*s%s", (int)(at - line), line, name);
    fputs(line, f);
}

static int
write_file(const char *path, const char *const *lines, const char *name)
{
    FILE *f = fopen(path, "wxe");
    int bad = !f;
    for (size_t i = 0; f && lines[i]; i++)
        put_line(f, lines[i], name);
    if (f) {
        bad = ferror(f);
        bad |= fclose(f);
    }
    return bad ? cli_fail(CLI_FAILED, "%s: %s", path, strerror(errno)) : CLI_OK;
}

static int
make_file(out_writer *out, const char *dir, const char *file,
          const char *const *lines, const char *name)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
        return cli_fail(CLI_USAGE, "new: '%s' is too long", dir);
    const int rc = write_file(path, lines, name);
    json_t *row = json_object();
    json_object_set_new(row, "file", out_text(path));
    out_row(out, row);
    return rc;
}

static int
run(const cli_args *args)
{
    out_writer out;
    char source[64];
    const char *name = args->operands[0];
    const char *dir = cli_get(args, "dir");
    int rc = check_name(name);
    if (rc != CLI_OK)
        return rc;
    if (!dir)
        dir = name;
    if (mkdir(dir, 0777))
        return cli_fail(CLI_FAILED, "%s: %s", dir, strerror(errno));
    rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    snprintf(source, sizeof source, "%s.c", name);
    rc = make_file(&out, dir, source, template_source, name);
    if (rc == CLI_OK)
        rc = make_file(&out, dir, "Makefile", template_makefile, name);
    if (rc != CLI_OK)
        return out_abort(&out, rc);
    out_set(&out, "next",
            out_format("make -C %s && attnctl test %s/%s.so", dir, dir, name));
    return out_close(&out, CLI_OK);
}

const cli_command cmd_new = {
    .name = "new",
    .operands = "NAME",
    .summary = "start a plugin project: a whole backend, slow and right",
    .options = options,
    .num_options = CLI_COUNT(options),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
