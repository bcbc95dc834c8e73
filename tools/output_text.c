/* SPDX-License-Identifier: Apache-2.0 */
#include "output_text.h"
#include <stdio.h>
#include <string.h>

#define MAX_COLUMNS 32
#define TEXT 1024

static void
put_text(const char *from, char *text, size_t size)
{
    size_t n = 0;
    for (; from[n] && n + 1 < size; n++) {
        const unsigned char c = (unsigned char)from[n];
        text[n] = (char)(c < 0x20 || c == 0x7F ? '?' : c);
    }
    text[n] = 0;
}

static void
put_list(const json_t *list, uint32_t precision, char *text, size_t size)
{
    size_t i, used = 0;
    json_t *v;
    text[0] = 0;
    json_array_foreach(list, i, v)
    {
        if (used + 3 >= size)
            return;
        if (i)
            used += (size_t)snprintf(text + used, size - used, "; ");
        out_scalar(v, precision, text + used, size - used);
        used += strlen(text + used);
    }
}

static void
put_object(const json_t *object, uint32_t precision, char *text, size_t size)
{
    size_t used = 0;
    const char *key;
    json_t *v;
    text[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, v)
    {
        if (used + strlen(key) + 3 >= size)
            return;
        used += (size_t)snprintf(text + used, size - used, "%s%s ",
                                 used ? "; " : "", key);
        out_scalar(v, precision, text + used, size - used);
        used += strlen(text + used);
    }
}

void
out_scalar(const json_t *value, uint32_t precision, char *text, size_t size)
{
    if (json_is_string(value))
        put_text(json_string_value(value), text, size);
    else if (json_is_integer(value))
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, size, "%.*g", precision ? (int)precision : 6,
                 json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(text, size, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        put_list(value, precision, text, size);
    else if (json_is_object(value))
        put_object(value, precision, text, size);
    else
        snprintf(text, size, "-");
}

json_t *
out_path(json_t *row, const char *path)
{
    char part[64];
    while (row) {
        const size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        row = json_object_get(row, part);
        if (!path[n])
            return row;
        path += n + 1;
    }
    return NULL;
}

/* The text of one cell on its line-th line; 0 when it has no such line. */
static int
cell(const out_column *column, json_t *row, size_t line, char *text,
     size_t size)
{
    json_t *v = out_path(row, column->path);
    text[0] = 0;
    if (json_is_array(v)) {
        if (line >= json_array_size(v))
            return line == 0;
        v = json_array_get(v, line);
    } else if (line > 0) {
        return 0;
    }
    out_scalar(v, column->precision, text, size);
    if (!text[0])
        snprintf(text, size, "-");
    return 1;
}

static const char *
title(const out_column *column)
{
    return column->title ? column->title : column->path;
}

static int
shown(const out_column *column)
{
    return !(column->flags & (OUT_MACHINE | OUT_BELOW));
}

/* Letters on screen: bytes that do not continue one. */
static size_t
letters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += (*text & 0xC0) != 0x80;
    return n;
}

static void
put_line(const out_writer *out, char cells[][TEXT], const size_t *widths)
{
    char line[MAX_COLUMNS * 64 + 4 * TEXT];
    size_t used = 0;
    for (size_t c = 0; c < out->num_columns; c++) {
        const out_column *column = &out->columns[c];
        if (!shown(column))
            continue;
        const size_t width = widths ? widths[c] : column->width;
        const size_t has = letters(cells[c]);
        const int pad = (int)(width > has ? width - has : 0);
        const int right = column->flags & OUT_RIGHT;
        const int n =
            snprintf(line + used, sizeof line - used, "%*s%s%*s  ",
                     right ? pad : 0, "", cells[c], right ? 0 : pad, "");
        used += (size_t)n;
        if (used >= sizeof line)
            used = sizeof line - 1;
    }
    while (used > 0 && line[used - 1] == ' ')
        used--;
    line[used] = 0;
    puts(line);
}

void
out_table_head(const out_writer *out, const size_t *widths)
{
    char cells[MAX_COLUMNS][TEXT];
    for (size_t c = 0; c < out->num_columns; c++)
        snprintf(cells[c], TEXT, "%s", title(&out->columns[c]));
    put_line(out, cells, widths);
}

static void
put_below(const out_writer *out, json_t *row)
{
    char text[TEXT];
    for (size_t c = 0; c < out->num_columns; c++) {
        json_t *v = out_path(row, out->columns[c].path);
        if (!(out->columns[c].flags & OUT_BELOW) || !v || json_is_null(v))
            continue;
        out_scalar(v, 0, text, sizeof text);
        printf("  %s: %s\n", title(&out->columns[c]), text);
    }
}

void
out_table_row(const out_writer *out, json_t *row, const size_t *widths)
{
    char cells[MAX_COLUMNS][TEXT];
    for (size_t line = 0;; line++) {
        int any = 0;
        for (size_t c = 0; c < out->num_columns; c++)
            any |= cell(&out->columns[c], row, line, cells[c], TEXT) &&
                   shown(&out->columns[c]);
        if (!any)
            break;
        put_line(out, cells, widths);
    }
    put_below(out, row);
}

static size_t
column_width(const out_writer *out, size_t c)
{
    char text[TEXT];
    size_t i, width = letters(title(&out->columns[c]));
    json_t *row;
    if (out->columns[c].width > width)
        width = out->columns[c].width;
    json_array_foreach(out->rows, i, row)
    {
        for (size_t line = 0;
             cell(&out->columns[c], row, line, text, sizeof text); line++) {
            const size_t n = letters(text);
            width = n > width ? n : width;
        }
    }
    return width;
}

void
out_table(const out_writer *out)
{
    size_t i, widths[MAX_COLUMNS];
    json_t *row;
    for (size_t c = 0; c < out->num_columns; c++)
        widths[c] = column_width(out, c);
    if (!(out->flags & OUT_BARE))
        out_table_head(out, widths);
    json_array_foreach(out->rows, i, row) out_table_row(out, row, widths);
}

typedef void (*record_line)(const char *path, const char *text, void *arg);

/* Calls line for each leaf below value; lists of objects go by their name. */
static void
flatten(const char *path, json_t *value, record_line line, void *arg)
{
    char below[256], text[TEXT];
    const char *key;
    json_t *v;
    size_t i;
    const int objects =
        json_is_array(value) && json_is_object(json_array_get(value, 0));
    if (json_is_object(value)) {
        json_object_foreach(value, key, v)
        {
            snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "",
                     key);
            flatten(below, v, line, arg);
        }
        return;
    }
    if (!objects) {
        out_scalar(value, 0, text, sizeof text);
        line(path, text[0] ? text : "-", arg);
        return;
    }
    json_array_foreach(value, i, v)
    {
        const char *name = json_string_value(json_object_get(v, "name"));
        if (name)
            snprintf(below, sizeof below, "%s.%s", path, name);
        else
            snprintf(below, sizeof below, "%s[%zu]", path, i);
        json_t *rest = json_copy(v);
        json_object_del(rest, "name");
        if (name) {
            out_scalar(rest, 0, text, sizeof text);
            line(below, text, arg);
        } else {
            flatten(below, rest, line, arg);
        }
        json_decref(rest);
    }
}

static void
measure_path(const char *path, const char *text, void *arg)
{
    size_t *width = arg;
    (void)text;
    if (strlen(path) > *width)
        *width = strlen(path);
}

static void
print_record(const char *path, const char *text, void *arg)
{
    printf("%-*s  %s\n", (int)*(size_t *)arg, path, text);
}

void
out_records(const out_writer *out)
{
    size_t i, width = 0;
    json_t *row;
    json_array_foreach(out->rows, i, row)
        flatten("", row, measure_path, &width);
    json_array_foreach(out->rows, i, row)
    {
        if (i)
            puts("");
        flatten("", row, print_record, &width);
    }
}

static void
csv_field(const char *text, int last)
{
    if (text[strcspn(text, ",\"\r\n")]) {
        putchar('"');
        for (; *text; text++) {
            if (*text == '"')
                putchar('"');
            putchar(*text);
        }
        putchar('"');
    } else {
        fputs(text, stdout);
    }
    fputs(last ? "\n" : ",", stdout);
}

static void
csv_record(const char *path, const char *text, void *arg)
{
    (void)arg;
    csv_field(path, 0);
    csv_field(text, 1);
}

void
out_csv(const out_writer *out)
{
    size_t i;
    json_t *row;
    char text[4 * TEXT];
    const size_t n = out->num_columns;
    if (out->flags & OUT_RECORD) {
        puts("path,value");
        json_array_foreach(out->rows, i, row)
            flatten("", row, csv_record, NULL);
        return;
    }
    for (size_t c = 0; c < n; c++)
        csv_field(out->columns[c].path, c + 1 == n);
    json_array_foreach(out->rows, i, row)
    {
        for (size_t c = 0; c < n; c++) {
            json_t *v = out_path(row, out->columns[c].path);
            if (!v || json_is_null(v))
                text[0] = 0;
            else
                out_scalar(v, 9, text, sizeof text);
            csv_field(text, c + 1 == n);
        }
    }
}
