/* SPDX-License-Identifier: Apache-2.0 */
/* verify/guard.h - memory that tells who touches what lies beside it. */
#ifndef ATTN_VERIFY_GUARD_H
#define ATTN_VERIFY_GUARD_H

#include <attn/types.h>

/* Host memory that ends at an unmapped page and begins behind one; what
 * alignment leaves free holds a pattern. */
typedef struct attn_guard {
    char name[48];
    uint8_t *map;
    size_t map_bytes; /* both unmapped pages included */
    uint8_t *data;
    size_t bytes;
    int access; /* ATTN_GUARD_* */
} attn_guard;

#define ATTN_GUARD_WRITE 0
#define ATTN_GUARD_READ 1
#define ATTN_GUARD_NONE 2

/* [any] Aligned to `align` (a power of two); all bytes 0xFF. */
attn_status attn_guard_create(const char *name, size_t bytes, size_t align,
                              attn_guard **guard, attn_error *err);
void attn_guard_destroy(attn_guard *guard);

/* [any] Who may touch it from now on. */
void attn_guard_protect(attn_guard *guard, int access);

/* [any] ATTN_E_INTERNAL when a byte of the pattern changed, with its place. */
attn_status attn_guard_check(const attn_guard *guard, attn_error *err);

/* [any] What lies at or beside this address, as one line: "write to
 * read-only 'block_table', byte 12 of 64". Callable from a signal handler. */
void attn_guard_explain(const void *address, int writing, char *text,
                        size_t size);

#endif
