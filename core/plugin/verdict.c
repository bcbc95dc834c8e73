/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "plugin/verdict.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <attn/base.h>

#include "base/error.h"
#include "base/log.h"
#include "plugin/sha256.h"

#define SUFFIX ".verdict"
#define MAX_FILE 8192u

static int
cache_dir(char *dir, size_t size)
{
    const char *base = secure_getenv("XDG_CACHE_HOME");
    const char *home = secure_getenv("HOME");
    int n;
    if (base && base[0] == '/')
        n = snprintf(dir, size, "%s/attn", base);
    else if (geteuid() == 0)
        n = snprintf(dir, size, "/var/cache/attn");
    else if (home && home[0] == '/')
        n = snprintf(dir, size, "%s/.cache/attn", home);
    else
        return -1;
    return n > 0 && (size_t)n < size ? 0 : -1;
}

/* Named by the digest of the path: any path gives a short, safe name. */
static int
verdict_path(const char *library, char *path, size_t size)
{
    char dir[PATH_MAX], hex[ATTN_SHA256_TEXT];
    const attn_bytes name = {.memory = library, .size = strlen(library)};
    if (cache_dir(dir, sizeof dir) || attn_sha256_hex(&name, hex))
        return -1;
    const int n = snprintf(path, size, "%s/%.32s" SUFFIX, dir, hex);
    return n > 0 && (size_t)n < size ? 0 : -1;
}

/* All that the verdict depends on, as the head of its file. */
static int
write_key(const attn_file *file, char *key, size_t size)
{
    const int n = snprintf(
        key, size,
        "attn-verdict 1\npath %s\ndevice %llu inode %llu size %llu mtime "
        "%lld.%09lld\nabi %d.%d libattn %s\n",
        file->path, (unsigned long long)file->id.device,
        (unsigned long long)file->id.inode, (unsigned long long)file->id.size,
        (long long)file->id.mtime_s, (long long)file->id.mtime_ns,
        ATTN_ABI_MAJOR, ATTN_ABI_MINOR, attn_version());
    return n > 0 && (size_t)n < size ? 0 : -1;
}

/* ------------------------------------------------------------------- find */

/* Only what the user (or root) wrote is believed. */
static int
read_own_file(const char *path, char *text, size_t size)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t got = -1;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (st.st_uid == geteuid() || st.st_uid == 0) &&
        !(st.st_mode & (S_IWGRP | S_IWOTH)))
        got = read(fd, text, size - 1);
    close(fd);
    if (got < 0)
        return -1;
    text[got] = 0;
    return 0;
}

static void
parse(const char *line, attn_verdict *verdict)
{
    long long when;
    int used = 0;
    const char *word = line;
    if (sscanf(line, "%*[a-z] %lld %n", &when, &used) != 1 || used == 0)
        return;
    snprintf(verdict->reason, sizeof verdict->reason, "%.*s",
             (int)strcspn(line + used, "\n"), line + used);
    verdict->when = when;
    if (strncmp(word, "good ", 5) == 0)
        verdict->kind = ATTN_VERDICT_GOOD;
    else if (strncmp(word, "harmful ", 8) == 0)
        verdict->kind = ATTN_VERDICT_HARMFUL;
}

void
attn_verdict_find(const attn_file *file, attn_verdict *verdict)
{
    char path[PATH_MAX], key[MAX_FILE], text[MAX_FILE];
    *verdict = (attn_verdict){.kind = ATTN_VERDICT_UNKNOWN};
    if (verdict_path(file->path, path, sizeof path) ||
        write_key(file, key, sizeof key) ||
        read_own_file(path, text, sizeof text))
        return;
    const size_t length = strlen(key);
    if (strncmp(text, key, length) == 0)
        parse(text + length, verdict);
}

/* ------------------------------------------------------------------ store */

static int
make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        const int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed)
            return -1;
    }
    return 0;
}

static int
write_whole(const char *path, const char *text)
{
    char temporary[PATH_MAX + 8];
    const size_t length = strlen(text);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    const int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -1;
    const int bad = write(fd, text, length) != (ssize_t)length;
    if (close(fd) != 0 || bad || rename(temporary, path) != 0) {
        unlink(temporary);
        return -1;
    }
    return 0;
}

void
attn_verdict_store(const attn_file *file, uint32_t kind, const char *reason)
{
    char path[PATH_MAX], text[MAX_FILE];
    if (verdict_path(file->path, path, sizeof path) ||
        write_key(file, text, sizeof text))
        return;
    const size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "%s %lld %s\n",
             kind == ATTN_VERDICT_GOOD ? "good" : "harmful",
             (long long)time(NULL), reason);
    if (make_parents(path) || write_whole(path, text))
        attn_log_write(ATTN_LOG_DEBUG, "plugin",
                       "cannot remember the verdict on %s in %s: %s",
                       file->path, path, strerror(errno));
}

/* ----------------------------------------------------------------- forget */

static attn_status
forget_file(const char *path, attn_error *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return ATTN_OK;
    return attn_error_io(err, errno, "verdict", "cannot remove %s", path);
}

static attn_status
forget_all(const char *dir, attn_error *err)
{
    attn_status status = ATTN_OK;
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? ATTN_OK
                               : attn_error_io(err, errno, "verdict",
                                               "cannot read %s", dir);
    for (struct dirent *e = readdir(d); e && status == ATTN_OK;
         e = readdir(d)) {
        char path[PATH_MAX + 256];
        const size_t length = strlen(e->d_name);
        if (length < sizeof SUFFIX ||
            strcmp(e->d_name + length - strlen(SUFFIX), SUFFIX) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        status = forget_file(path, err);
    }
    closedir(d);
    return status;
}

attn_status
attn_verdict_forget(const char *library, attn_error *err)
{
    char path[PATH_MAX], resolved[PATH_MAX];
    if (!library)
        return cache_dir(path, sizeof path) ? ATTN_OK : forget_all(path, err);
    /* A file that is gone may still have a verdict under its own name. */
    if (realpath(library, resolved))
        library = resolved;
    if (verdict_path(library, path, sizeof path))
        return ATTN_OK;
    return forget_file(path, err);
}
