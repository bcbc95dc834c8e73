/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/trust.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static attn_status
check_component(const char *path, attn_error *err)
{
    struct stat st;
    const uid_t user = geteuid();
    if (lstat(path, &st) != 0)
        return attn_error_set(err, ATTN_E_REFUSED, "trust",
                              "cannot examine %s: %s", path, strerror(errno));
    if (S_ISLNK(st.st_mode))
        return attn_error_set(err, ATTN_E_REFUSED, "trust",
                              "%s became a symbolic link", path);
    if (st.st_uid != 0 && st.st_uid != user)
        return attn_error_set(err, ATTN_E_REFUSED, "trust",
                              "%s belongs to user %u, neither root nor user %u",
                              path, st.st_uid, user);
    if (S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX))
        return ATTN_OK;
    if (st.st_mode & S_IWOTH)
        return attn_error_set(err, ATTN_E_REFUSED, "trust",
                              "%s is writable by everyone (mode %04o)", path,
                              (unsigned)(st.st_mode & 07777));
    if ((st.st_mode & S_IWGRP) && st.st_gid != 0 && st.st_gid != user)
        return attn_error_set(err, ATTN_E_REFUSED, "trust",
                              "%s is writable by group %u (mode %04o)", path,
                              st.st_gid, (unsigned)(st.st_mode & 07777));
    return ATTN_OK;
}

attn_status
attn_trust_check(const char *path, attn_error *err)
{
    char part[PATH_MAX];
    const size_t length = strlen(path);
    if (path[0] != '/' || length >= sizeof part)
        return attn_error_set(err, ATTN_E_ARG, "path",
                              "'%s' is not an absolute path", path);
    attn_status status = check_component("/", err);
    for (size_t i = 1; status == ATTN_OK && i <= length; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        status = check_component(part, err);
    }
    return status;
}
