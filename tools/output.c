/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"
#include "output_text.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *
out_text(const char *text)
{
    if (!text)
        return json_null();
    json_t *s = json_string(text);
    if (s)
        return s;
    char *copy = strdup(text);
    for (char *p = copy; p && *p; p++)
        if (*p & 0x80)
            *p = '?';
    s = copy ? json_string(copy) : NULL;
    free(copy);
    return s;
}

json_t *
out_format(const char *format, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return out_text(text);
}

json_t *
out_int(uint64_t value)
{
    return json_integer((json_int_t)value);
}

json_t *
out_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *
out_bool(int value)
{
    return json_boolean(value);
}

json_t *
out_status(attn_status status)
{
    return out_text(status ? attn_status_str(status) : "ok");
}

int
out_open(out_writer *out, const cli_args *args, const out_column *columns,
         size_t num_columns, uint32_t flags)
{
    *out = (out_writer){.command = args->command->name,
                        .columns = columns,
                        .num_columns = num_columns,
                        .flags = flags,
                        .rows = json_array(),
                        .extra = json_object()};
    out->format = cli_has(args, "json")  ? OUT_JSON
                  : cli_has(args, "csv") ? OUT_CSV
                                         : OUT_TABLE;
    if (out->rows && out->extra)
        return CLI_OK;
    return out_abort(out, cli_fail(CLI_INTERNAL, "out of memory"));
}

void
out_row(out_writer *out, json_t *row)
{
    if (!row || json_array_append_new(out->rows, row)) {
        out->failed = 1;
        return;
    }
    if (out->format != OUT_TABLE || !(out->flags & OUT_STREAM))
        return;
    cli_progress(NULL);
    if (!out->started)
        out_table_head(out, NULL);
    out->started = 1;
    out_table_row(out, row, NULL);
    fflush(stdout);
}

void
out_set(out_writer *out, const char *key, json_t *value)
{
    if (!value || json_object_set_new(out->extra, key, value))
        out->failed = 1;
}

static void
write_json(out_writer *out)
{
    json_t *root = json_object();
    json_object_set_new(root, "schema", json_integer(OUT_SCHEMA));
    json_object_set_new(root, "command", json_string(out->command));
    json_object_update(root, out->extra);
    json_object_set(root, "rows", out->rows);
    if (!root || json_object_size(root) < 3) {
        out->failed = 1;
    } else {
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        fputc('\n', stdout);
    }
    json_decref(root);
}

static void
write_extra(const out_writer *out)
{
    const char *key;
    json_t *value, *part;
    size_t i;
    char text[1024];
    json_object_foreach(out->extra, key, value)
    {
        json_array_foreach(value, i, part) if (json_is_string(part))
        {
            out_scalar(part, 0, text, sizeof text);
            printf("%s: %s\n", key, text);
        }
        if (json_is_object(value) || json_is_array(value))
            continue;
        out_scalar(value, 0, text, sizeof text);
        printf("%s: %s\n", key, text);
    }
}

static void
write_table(const out_writer *out)
{
    if (out->flags & OUT_RECORD)
        out_records(out);
    else if (!out->started && json_array_size(out->rows))
        out_table(out);
    write_extra(out);
}

int
out_flush(int code)
{
    if (!fflush(stdout) && !ferror(stdout))
        return code;
    return cli_fail(CLI_INTERNAL, "cannot write to standard output: %s",
                    strerror(errno));
}

int
out_close(out_writer *out, int code)
{
    cli_progress(NULL);
    if (out->format == OUT_JSON && !out->failed)
        write_json(out);
    else if (out->format == OUT_CSV && !out->failed)
        out_csv(out);
    else if (!out->failed)
        write_table(out);
    if (out->failed)
        code = cli_fail(CLI_INTERNAL, "out of memory");
    return out_abort(out, out_flush(code));
}

int
out_abort(out_writer *out, int code)
{
    cli_progress(NULL);
    json_decref(out->rows);
    json_decref(out->extra);
    out->rows = out->extra = NULL;
    return code;
}
