/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/bytes.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int
read_fd(int fd, uint64_t at, char *to, size_t count)
{
    while (count > 0) {
        const ssize_t got = pread(fd, to, count, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        at += (uint64_t)got;
        to += got;
        count -= (size_t)got;
    }
    return 0;
}

int
attn_bytes_read(const attn_bytes *bytes, uint64_t at, void *to, size_t count)
{
    if (at > bytes->size || count > bytes->size - at)
        return -1;
    if (!bytes->memory)
        return read_fd(bytes->fd, at, to, count);
    if (count > 0)
        memcpy(to, (const char *)bytes->memory + at, count);
    return 0;
}
