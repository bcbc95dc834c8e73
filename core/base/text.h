/* SPDX-License-Identifier: Apache-2.0 */
/* base/text.h - reading values from text, and the nearest known name.
 *
 * Each parser takes the whole of `text` (no blanks, no rest) and, on a
 * mistake, returns ATTN_E_ARG with where = `where` and a message that holds
 * the text and what would be right. */
#ifndef ATTN_BASE_TEXT_H
#define ATTN_BASE_TEXT_H

#include <stddef.h>

#include <attn/types.h>

/* [any] Decimal whole number within lo..hi. */
attn_status attn_text_parse_i64(const char *text, int64_t lo, int64_t hi,
                                const char *where, int64_t *value,
                                attn_error *err);
/* [any] The same for what fits 32 bits without sign. */
attn_status attn_text_parse_u32(const char *text, uint32_t lo, uint32_t hi,
                                const char *where, uint32_t *value,
                                attn_error *err);
/* [any] A finite number within lo..hi, with a decimal point in any locale. */
attn_status attn_text_parse_f64(const char *text, double lo, double hi,
                                const char *where, double *value,
                                attn_error *err);
/* [any] yes, no, true, false, on, off, 1, 0. */
attn_status attn_text_parse_bool(const char *text, const char *where,
                                 uint32_t *value, attn_error *err);
/* [any] Bytes: "4096", "64k", "2M", "1G" (powers of 1024). */
attn_status attn_text_parse_size(const char *text, const char *where,
                                 uint64_t *bytes, attn_error *err);
/* [any] "3" or "0-3", lo <= hi. */
attn_status attn_text_parse_range(const char *text, const char *where,
                                  uint32_t *lo, uint32_t *hi, attn_error *err);
/* [any] One word of "auto|yes|no"; *index counts from 0. */
attn_status attn_text_parse_choice(const char *text, const char *choices,
                                   const char *where, uint32_t *index,
                                   attn_error *err);

/* [any] Edits (insert, delete, replace, swap neighbours) from a to b; more
 * than 63 bytes on either side: SIZE_MAX. */
size_t attn_text_distance(const char *a, const char *b);

/* The nearest of several names. Start: {.text = text}, then offer each name;
 * `name` is the nearest within 3 edits and half the length, or NULL. */
typedef struct attn_nearest {
    const char *text;
    const char *name;
    size_t distance;
} attn_nearest;
void attn_nearest_offer(attn_nearest *nearest, const char *name);

/* [any] ": did you mean 'x'?" into buf, or "" when name is NULL. */
const char *attn_nearest_hint(const attn_nearest *nearest, char *buf,
                              size_t size);

/* [any] 1 when text starts with prefix. */
int attn_text_starts(const char *text, const char *prefix);

#endif /* ATTN_BASE_TEXT_H */
