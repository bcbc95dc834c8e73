/* SPDX-License-Identifier: Apache-2.0 */
/* output_text.h - how rows look as text: tables, records, CSV. */
#ifndef OUTPUT_TEXT_H
#define OUTPUT_TEXT_H

#include "output.h"

/* One value as one line: no control characters; lists are joined by "; ". */
void out_scalar(const json_t *value, uint32_t precision, char *text,
                size_t size);
/* The value at "a.b" of a row, NULL when absent. */
json_t *out_path(json_t *row, const char *path);

/* widths NULL: the columns' least widths. */
void out_table_head(const out_writer *out, const size_t *widths);
void out_table_row(const out_writer *out, json_t *row, const size_t *widths);
void out_table(const out_writer *out);
/* Each row as aligned lines "path  value", rows apart by an empty line. */
void out_records(const out_writer *out);
void out_csv(const out_writer *out);

#endif /* OUTPUT_TEXT_H */
