/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <attn/registry.h>

#include "base/error.h"
#include "plugin/elf.h"

static attn_file_id
id_of(const struct stat *st)
{
    return (attn_file_id){.device = (uint64_t)st->st_dev,
                          .inode = (uint64_t)st->st_ino,
                          .size = (uint64_t)st->st_size,
                          .mtime_s = st->st_mtim.tv_sec,
                          .mtime_ns = st->st_mtim.tv_nsec};
}

static attn_status
refuse_errno(attn_error *err, const char *path)
{
    const int errnum = errno;
    attn_error_set(err, ATTN_E_REFUSED, "file", "%s: %s", path,
                   strerror(errnum));
    if (err && err->struct_size >= sizeof *err)
        err->native = errnum;
    return ATTN_E_REFUSED;
}

attn_status
attn_file_open(const char *path, attn_file *file, attn_error *err)
{
    char resolved[PATH_MAX];
    struct stat st;
    if (!realpath(path, resolved))
        return refuse_errno(err, path);
    /* Asked before open: opening a device may have effects. */
    if (stat(resolved, &st) != 0)
        return refuse_errno(err, resolved);
    if (!S_ISREG(st.st_mode))
        return attn_error_set(err, ATTN_E_REFUSED, "file",
                              "%s: not a regular file", resolved);
    const int fd = open(resolved, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                                      O_NOFOLLOW);
    if (fd < 0)
        return refuse_errno(err, resolved);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return attn_error_set(err, ATTN_E_REFUSED, "file",
                              "%s: not a regular file", resolved);
    }
    memcpy(file->path, resolved, sizeof resolved);
    file->id = id_of(&st);
    file->bytes = (attn_bytes){.fd = fd, .size = file->id.size};
    return ATTN_OK;
}

void
attn_file_close(attn_file *file)
{
    close(file->bytes.fd);
    file->bytes.fd = -1;
}

int
attn_file_id_equal(const attn_file_id *a, const attn_file_id *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->mtime_s == b->mtime_s &&
           a->mtime_ns == b->mtime_ns;
}

attn_status
attn_file_recheck(const attn_file *file, attn_error *err)
{
    struct stat st;
    if (lstat(file->path, &st) != 0)
        return refuse_errno(err, file->path);
    const attn_file_id now = id_of(&st);
    if (!attn_file_id_equal(&now, &file->id))
        return attn_error_set(err, ATTN_E_REFUSED, "file",
                              "%s: changed while it was checked", file->path);
    return ATTN_OK;
}

attn_status
attn_plugin_file_check(const char *path, attn_error *err)
{
    attn_file file;
    attn_status status = attn_file_open(path, &file, err);
    if (status != ATTN_OK)
        return status;
    status = attn_elf_check(&file.bytes, err);
    attn_file_close(&file);
    return status;
}

attn_status
attn_plugin_file_note(const char *path, char *text, size_t size,
                      attn_error *err)
{
    attn_file file;
    attn_status status = attn_file_open(path, &file, err);
    if (status != ATTN_OK)
        return status;
    status = attn_elf_note(&file.bytes, text, size, err);
    attn_file_close(&file);
    return status;
}
