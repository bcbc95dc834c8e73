/* SPDX-License-Identifier: Apache-2.0 */
/* config/reader.h - INI lines, strictly.
 *
 * inih cuts long lines and names, joins indented lines to the value before
 * them and stops for nothing. So every line is judged here first and only
 * then handed to it: a line of more than 197 bytes, a section or key of more
 * than 48, a NUL or control byte, a leading blank, text after "]", a key
 * before any section, and a section or key met twice are errors with file
 * and line. " ;" starts a comment; so do ; and # at the start of a line. */
#ifndef ATTN_CONFIG_READER_H
#define ATTN_CONFIG_READER_H

#include <stddef.h>

#include "base/error.h"

#define ATTN_INI_MAX_LINE 197u
#define ATTN_INI_MAX_NAME 48u

/* Receives what the file says, in order. An error ends the reading. */
typedef struct attn_ini_sink {
    void *arg;
    attn_status (*section)(void *arg, const char *name, uint32_t line,
                           attn_error *err);
    /* Of the section met last. */
    attn_status (*value)(void *arg, const char *key, const char *value,
                         uint32_t line, attn_error *err);
} attn_ini_sink;

/* [any] Reads text (size bytes, need not end in NUL) as the file `name`. */
attn_status attn_ini_read(const char *name, const char *text, size_t size,
                          const attn_ini_sink *sink, attn_error *err);

/* [any] ATTN_E_CONFIG with "name:line: " before the message; a very long
 * name keeps its end. */
attn_status attn_ini_error(attn_error *err, const char *name, uint32_t line,
                           const char *fmt, ...) ATTN_PRINTF(4, 5);

#endif /* ATTN_CONFIG_READER_H */
