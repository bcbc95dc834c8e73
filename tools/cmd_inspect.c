/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "host.h"
#include "output.h"
#include "rows.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The note's "key=value" lines as an object. */
static json_t *
row_note(const char *file)
{
    char text[4096];
    if (attn_plugin_file_note(file, text, sizeof text, NULL))
        return json_null();
    json_t *note = json_object();
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *equal = strchr(line, '=');
        if (!equal)
            continue;
        *equal = 0;
        json_object_set_new(note, line, out_text(equal + 1));
    }
    return note;
}

static json_t *
row_full(const attn_entry *e)
{
    json_t *row = row_entry(e);
    json_object_set_new(row, "device_type",
                        e->device_type
                            ? out_text(row_device_type(e->device_type))
                            : json_null());
    json_object_set_new(row, "note", row_note(e->file));
    if (e->plugin)
        json_object_set_new(row, "plugin", row_plugin(e->plugin));
    if (e->backend) {
        json_object_set_new(row, "summary", out_text(e->backend->summary));
        json_object_set_new(row, "caps", row_caps(e->backend));
    }
    return row;
}

/* By backend, by section, or by plugin id. */
static int
matches(const attn_entry *e, const char *word)
{
    return !strcmp(e->name, word) || !strcmp(e->section, word) ||
           (e->plugin && e->plugin->id && !strcmp(e->plugin->id, word));
}

static int
print(const cli_args *args, const host *h, const char *word, int all)
{
    out_writer out;
    const size_t n = attn_registry_count(h->registry);
    size_t found = 0, refused = 0;
    const attn_entry *none;
    int rc = out_open(&out, args, NULL, 0, OUT_RECORD);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const attn_entry *e = attn_registry_at(h->registry, i);
        if (!all && !matches(e, word))
            continue;
        out_row(&out, row_full(e));
        found++;
        refused += e->state == ATTN_STATE_REFUSED;
    }
    if (!found && !all)
        return out_abort(&out, host_backend(h, word, NULL, &none));
    if (!found)
        return out_abort(&out,
                         cli_fail(CLI_UNUSABLE, "%s offers no backend", word));
    return out_close(&out, all && refused == found ? CLI_FAILED : CLI_OK);
}

static int
run(const cli_args *args)
{
    host h;
    const char *word = args->operands[0];
    const int file = host_is_file(word);
    if (file && access(word, R_OK))
        return cli_fail(CLI_CONFIG, "%s: %s", word, strerror(errno));
    host_quiet();
    int rc = host_open(args, file ? word : NULL, NULL, 0, &h);
    if (rc != CLI_OK)
        return rc;
    rc = print(args, &h, word, file);
    host_close(&h);
    return rc;
}

const cli_command cmd_inspect = {
    .name = "inspect",
    .operands = "BACKEND|PLUGIN|FILE",
    .summary = "what a backend or plugin claims, its options and identity",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
