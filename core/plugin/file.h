/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/file.h - one plugin file, opened for examination. */
#ifndef ATTN_PLUGIN_FILE_H
#define ATTN_PLUGIN_FILE_H

#include <limits.h>

#include <attn/types.h>

#include "plugin/bytes.h"

/* What tells one version of a file from another. */
typedef struct attn_file_id {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t mtime_s;
    int64_t mtime_ns;
} attn_file_id;

typedef struct attn_file {
    char path[PATH_MAX]; /* absolute, links resolved */
    attn_file_id id;
    attn_bytes bytes;
} attn_file;

/* [any] Opens a regular file without blocking. ATTN_E_REFUSED with the path
 * and errno. On success the caller closes it. */
attn_status attn_file_open(const char *path, attn_file *file, attn_error *err);
void attn_file_close(attn_file *file);

/* [any] 1 when both are the same version of the same file. */
int attn_file_id_equal(const attn_file_id *a, const attn_file_id *b);

/* [any] ATTN_E_REFUSED when the path no longer leads to this version. */
attn_status attn_file_recheck(const attn_file *file, attn_error *err);

#endif /* ATTN_PLUGIN_FILE_H */
