/* SPDX-License-Identifier: Apache-2.0 */
/* base/error.h - filling an attn_error.
 *
 * The function that decides an error describes it here; its callers pass the
 * status on and stay silent. err may be NULL everywhere. */
#ifndef ATTN_BASE_ERROR_H
#define ATTN_BASE_ERROR_H

#include <stdarg.h>

#include <attn/types.h>

#ifdef __GNUC__
#define ATTN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define ATTN_PRINTF(f, a)
#endif

/* [any] Fills *err and returns status: return attn_error_set(err, ...);
 * The message is one line: control bytes become '?'; what does not fit ends
 * in "...". where may be NULL. */
attn_status attn_error_set(attn_error *err, attn_status status,
                           const char *where, const char *fmt, ...)
    ATTN_PRINTF(4, 5);
attn_status attn_error_vset(attn_error *err, attn_status status,
                            const char *where, const char *fmt, va_list ap)
    ATTN_PRINTF(4, 0);

/* [any] ATTN_E_IO, native = errnum, ": " and the system's text appended. */
attn_status attn_error_io(attn_error *err, int errnum, const char *where,
                          const char *fmt, ...) ATTN_PRINTF(4, 5);

/* [any] ATTN_E_NOMEM for `bytes` bytes (0: unknown) meant for `where`. */
attn_status attn_error_nomem(attn_error *err, const char *where,
                             uint64_t bytes);

/* [any] ATTN_E_ARG: params.struct_size says `given`, less than the least. */
attn_status attn_error_params(attn_error *err, uint32_t given, size_t least);

/* An empty, ready attn_error. */
#define ATTN_ERROR_INIT                   \
    (attn_error)                          \
    {                                     \
        .struct_size = sizeof(attn_error) \
    }

#endif /* ATTN_BASE_ERROR_H */
