/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "host.h"
#include "output.h"
#include "rows.h"

static const out_column columns[] = {
    {.path = "backend"},
    {.path = "state"},
    {.path = "device"},
    {.path = "version", .flags = OUT_MACHINE},
    {.path = "family", .flags = OUT_MACHINE},
    {.path = "priority", .flags = OUT_MACHINE},
    {.path = "section", .flags = OUT_MACHINE},
    {.path = "file"},
    {.path = "reason"},
};

static int
run(const cli_args *args)
{
    host h;
    out_writer out;
    host_quiet();
    int rc = host_open(args, NULL, NULL, 0, &h);
    if (rc != CLI_OK)
        return rc;
    rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc == CLI_OK) {
        const size_t n = attn_registry_count(h.registry);
        for (size_t i = 0; i < n; i++)
            out_row(&out, row_entry(attn_registry_at(h.registry, i)));
        if (n == 0)
            cli_warn("no plugin is configured or found; see attnctl doctor");
        rc = out_close(&out, CLI_OK);
    }
    host_close(&h);
    return rc;
}

const cli_command cmd_list = {
    .name = "list",
    .operands = "",
    .summary = "every backend: its state, device and why",
    .run = run,
};
