/* SPDX-License-Identifier: Apache-2.0 */
/* output.h - the one writer of attnctl: rows as a table, JSON or CSV.
 *
 * A command makes each row as a JSON object; columns name, by path, what the
 * table and CSV show of it. JSON is one object: {"schema": 1, "command": ...,
 * what out_set gave, "rows": [...]}. Nothing reaches stdout before out_close,
 * but for a streamed table. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "cli.h"
#include <jansson.h>

#define OUT_SCHEMA 1

#define OUT_RIGHT 1u   /* numbers: aligned to the right */
#define OUT_MACHINE 2u /* in CSV only, not in the table */
#define OUT_BELOW 4u   /* where not null, on a line of its own below the row */

typedef struct out_column {
    const char *path;  /* "forward_us.p50"; in CSV also the heading */
    const char *title; /* of the table; NULL: the path */
    uint32_t flags;
    uint32_t precision; /* digits of a real number, 0: 6 */
    uint32_t width;     /* least width in the table */
} out_column;

#define OUT_STREAM 1u /* the table's rows are printed when they come */
#define OUT_RECORD 2u /* a row is shown as lines "path  value" */
#define OUT_BARE 4u   /* the table has no head */

typedef struct out_writer {
    const char *command;
    const out_column *columns;
    size_t num_columns;
    uint32_t flags;
    uint32_t format; /* OUT_TABLE, OUT_JSON, OUT_CSV */
    uint32_t started;
    uint32_t failed; /* memory ran out */
    json_t *rows;
    json_t *extra;
} out_writer;

#define OUT_TABLE 0u
#define OUT_JSON 1u
#define OUT_CSV 2u

/* The format comes from --json or --csv of args. CLI_OK or an exit code. */
int out_open(out_writer *out, const cli_args *args, const out_column *columns,
             size_t num_columns, uint32_t flags);
/* Takes the reference. A value that is an array of strings continues on lines
 * of its own in the table and is joined by "; " in CSV. */
void out_row(out_writer *out, json_t *row);
/* A key of the whole; a string, number, boolean or each string of a list is
 * also shown as "key: value" after the table. Takes the reference. */
void out_set(out_writer *out, const char *key, json_t *value);
/* Writes what is left. Returns code, or CLI_INTERNAL when stdout fails. */
int out_close(out_writer *out, int code);
/* Releases everything and writes nothing. Returns code. */
int out_abort(out_writer *out, int code);
/* Flushes stdout. Returns code, or CLI_INTERNAL after the message. */
int out_flush(int code);

/* Values. Text that is no UTF-8 has its bytes replaced; NULL gives null.
 * Numbers that are not finite give null. */
json_t *out_text(const char *text);
json_t *out_format(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
json_t *out_int(uint64_t value);
json_t *out_real(double value);
json_t *out_bool(int value);
json_t *out_status(attn_status status);

#endif /* OUTPUT_H */
