/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <attn/plugin.h>

static void
make_one_line(char *text, size_t size, int would_be)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    if (would_be >= 0 && (size_t)would_be >= size)
        memcpy(text + size - 4, "...", 4);
}

attn_status
attn_error_vset(attn_error *err, attn_status status, const char *where,
                const char *fmt, va_list ap)
{
    if (!err || err->struct_size < sizeof *err)
        return status;
    err->status = status;
    err->native = 0;
    attn_text_copy(err->where, sizeof err->where, where);
    int n = vsnprintf(err->message, sizeof err->message, fmt, ap);
    make_one_line(err->message, sizeof err->message, n);
    return status;
}

attn_status
attn_error_set(attn_error *err, attn_status status, const char *where,
               const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    attn_error_vset(err, status, where, fmt, ap);
    va_end(ap);
    return status;
}

attn_status
attn_error_io(attn_error *err, int errnum, const char *where, const char *fmt,
              ...)
{
    char text[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    attn_error_set(err, ATTN_E_IO, where, "%s: %s", text, strerror(errnum));
    if (err && err->struct_size >= sizeof *err)
        err->native = errnum;
    return ATTN_E_IO;
}

attn_status
attn_error_nomem(attn_error *err, const char *where, uint64_t bytes)
{
    if (bytes == 0)
        return attn_error_set(err, ATTN_E_NOMEM, where, "out of memory");
    return attn_error_set(err, ATTN_E_NOMEM, where,
                          "out of memory: no %" PRIu64 " bytes", bytes);
}

attn_status
attn_error_params(attn_error *err, uint32_t given, size_t least)
{
    return attn_error_set(err, ATTN_E_ARG, "params.struct_size",
                          "struct_size %u: at least %zu", given, least);
}
