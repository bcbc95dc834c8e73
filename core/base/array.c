/* SPDX-License-Identifier: Apache-2.0 */
#include "base/array.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *
attn_array_reserve(void *data, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity && data)
        return data;
    size_t count = *capacity > SIZE_MAX / 2 ? need : *capacity * 2;
    if (count < need)
        count = need;
    if (count < 8)
        count = 8;
    if (count > SIZE_MAX / size)
        return NULL;
    void *grown = realloc(data, count * size);
    if (grown)
        *capacity = count;
    return grown;
}

void
attn_strbuf_add_bytes(attn_strbuf *buf, const char *bytes, size_t count)
{
    if (buf->failed)
        return;
    char *data = count > SIZE_MAX - buf->length - 1
                     ? NULL
                     : attn_array_reserve(buf->data, &buf->capacity,
                                          buf->length + count + 1, 1);
    if (!data) {
        buf->failed = 1;
        return;
    }
    memcpy(data + buf->length, bytes, count);
    buf->data = data;
    buf->length += count;
    data[buf->length] = 0;
}

void
attn_strbuf_add(attn_strbuf *buf, const char *text)
{
    attn_strbuf_add_bytes(buf, text, strlen(text));
}

void
attn_strbuf_addf(attn_strbuf *buf, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *data = NULL;
    if (n >= 0 && !buf->failed)
        data = attn_array_reserve(buf->data, &buf->capacity,
                                  buf->length + (size_t)n + 1, 1);
    if (data) {
        buf->data = data;
        vsnprintf(data + buf->length, (size_t)n + 1, fmt, again);
        buf->length += (size_t)n;
    } else {
        buf->failed = 1;
    }
    va_end(again);
}

char *
attn_strbuf_take(attn_strbuf *buf)
{
    attn_strbuf_add_bytes(buf, "", 0);
    char *data = buf->data;
    if (buf->failed) {
        free(data);
        data = NULL;
    }
    *buf = (attn_strbuf){0};
    return data;
}

void
attn_strbuf_free(attn_strbuf *buf)
{
    free(buf->data);
    *buf = (attn_strbuf){0};
}
