/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/bytes.h - a file's bytes, from a descriptor or from memory.
 *
 * Read with pread, never mapped: a file that is cut while it is checked gives
 * a short read, not SIGBUS. */
#ifndef ATTN_PLUGIN_BYTES_H
#define ATTN_PLUGIN_BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct attn_bytes {
    const void *memory; /* NULL: read fd */
    int fd;
    uint64_t size;
} attn_bytes;

/* [any] Copies count bytes at offset `at`; 0, or -1 when they do not all lie
 * in the file or cannot be read. */
int attn_bytes_read(const attn_bytes *bytes, uint64_t at, void *to,
                    size_t count);

#endif /* ATTN_PLUGIN_BYTES_H */
