/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "output.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static const out_column columns[] = {
    {.path = "library"},
    {.path = "verdict"},
};

static int
run(const cli_args *args)
{
    out_writer out;
    attn_error err = CLI_ERROR_INIT;
    const char *library = args->num_operands ? args->operands[0] : NULL;
    if (attn_registry_rescan(library, &err))
        return cli_fail_error(&err);
    if (library && access(library, F_OK) != 0)
        cli_warn("%s: %s", library, strerror(errno));
    const int rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    json_t *row = json_object();
    json_object_set_new(row, "library", out_text(library ? library : "all"));
    json_object_set_new(row, "verdict", out_text("forgotten"));
    out_row(&out, row);
    return out_close(&out, CLI_OK);
}

const cli_command cmd_rescan = {
    .name = "rescan",
    .operands = "[FILE]",
    .summary = "forget the remembered verdicts on plugin files",
    .max_operands = 1,
    .run = run,
};
