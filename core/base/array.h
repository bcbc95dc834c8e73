/* SPDX-License-Identifier: Apache-2.0 */
/* base/array.h - growable arrays and text. */
#ifndef ATTN_BASE_ARRAY_H
#define ATTN_BASE_ARRAY_H

#include <stddef.h>

#include "base/error.h"

/* [any] Makes room for `need` elements of `size` bytes: returns data, moved
 * when it had to grow (at least doubled), or NULL when memory is short; data
 * and *capacity then stay as they were. Start with NULL and 0. */
void *attn_array_reserve(void *data, size_t *capacity, size_t need,
                         size_t size);

/* Text that grows. Zero-initialise. Memory shortage sets `failed` and later
 * calls do nothing: check once, at the end. */
typedef struct attn_strbuf {
    char *data; /* NUL-terminated, or NULL while empty */
    size_t length;
    size_t capacity;
    int failed;
} attn_strbuf;

void attn_strbuf_add(attn_strbuf *buf, const char *text);
void attn_strbuf_add_bytes(attn_strbuf *buf, const char *bytes, size_t count);
void attn_strbuf_addf(attn_strbuf *buf, const char *fmt, ...) ATTN_PRINTF(2, 3);
/* [any] The text, now the caller's to free, also "" when empty; NULL when
 * memory was short. The buffer is empty afterwards. */
char *attn_strbuf_take(attn_strbuf *buf);
void attn_strbuf_free(attn_strbuf *buf);

#endif /* ATTN_BASE_ARRAY_H */
