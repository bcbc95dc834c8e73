/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "config/store.h"

#define MAIN_FILE ATTN_SYSCONFDIR "/attn/attn.ini"
#define MAX_FILE (1024 * 1024)

/* ATTN_E_CONFIG, since the caller asked for a configuration. */
static attn_status
unreadable(attn_error *err, const char *path, const char *what, int errnum)
{
    attn_error_set(err, ATTN_E_CONFIG, "config", "%s: %s: %s", path, what,
                   strerror(errnum));
    if (err && err->struct_size >= sizeof *err)
        err->native = errnum;
    return ATTN_E_CONFIG;
}

/* A pipe that nobody writes yet would read as an empty configuration. */
static attn_status
check_kind(int fd, const char *path, attn_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return unreadable(err, path, "cannot be read", errno);
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISBLK(st.st_mode))
        return attn_error_set(err, ATTN_E_CONFIG, "config",
                              "%s: not a regular file", path);
    return ATTN_OK;
}

static attn_status
read_all(int fd, const char *path, attn_strbuf *text, attn_error *err)
{
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && text->length <= MAX_FILE)
        attn_strbuf_add_bytes(text, chunk, (size_t)n);
    if (n < 0)
        return unreadable(err, path, "cannot be read", errno);
    if (text->failed)
        return attn_error_nomem(err, "config", 0);
    if (text->length > MAX_FILE)
        return attn_error_set(err, ATTN_E_CONFIG, "config",
                              "%s: more than %d bytes", path, MAX_FILE);
    return ATTN_OK;
}

/* *missing, where given: set instead of failing when there is no file. */
static attn_status
read_file(attn_config *config, const char *path, int *missing, attn_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && missing && (errno == ENOENT || errno == ENOTDIR)) {
        *missing = 1;
        return ATTN_OK;
    }
    if (fd < 0)
        return unreadable(err, path, "cannot be opened", errno);
    attn_strbuf text = {0};
    attn_status s = check_kind(fd, path, err);
    if (s == ATTN_OK)
        s = read_all(fd, path, &text, err);
    close(fd);
    if (s == ATTN_OK)
        s = attn_config_read(config, path, text.data ? text.data : "",
                             text.length, err);
    attn_strbuf_free(&text);
    return s;
}

static int
is_ini_name(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && name[0] != '.' && strcmp(name + n - 4, ".ini") == 0;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **names;
    size_t count, capacity;
};

static void
names_free(struct names *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
}

static attn_status
list_inis(DIR *dir, struct names *list, attn_error *err)
{
    const struct dirent *e;
    while ((e = readdir(dir))) {
        if (!is_ini_name(e->d_name))
            continue;
        char **grown = attn_array_reserve(list->names, &list->capacity,
                                          list->count + 1, sizeof *grown);
        if (grown)
            list->names = grown;
        char *copy = grown ? strdup(e->d_name) : NULL;
        if (!copy)
            return attn_error_nomem(err, "config", 0);
        list->names[list->count++] = copy;
    }
    if (list->count)
        qsort(list->names, list->count, sizeof *list->names, compare_names);
    return ATTN_OK;
}

static attn_status
read_drop_ins(attn_config *config, const char *dir_path, attn_error *err)
{
    DIR *dir = opendir(dir_path);
    if (!dir && (errno == ENOENT || errno == ENOTDIR))
        return ATTN_OK;
    if (!dir)
        return unreadable(err, dir_path, "cannot be opened", errno);
    struct names list = {0};
    attn_status s = list_inis(dir, &list, err);
    closedir(dir);
    for (size_t i = 0; i < list.count && s == ATTN_OK; i++) {
        attn_strbuf path = {0};
        attn_strbuf_addf(&path, "%s/%s", dir_path, list.names[i]);
        s = path.failed ? attn_error_nomem(err, "config", 0)
                        : read_file(config, path.data, NULL, err);
        attn_strbuf_free(&path);
    }
    names_free(&list);
    return s;
}

/* The main file and its drop-ins: "x.ini" has "x.d". */
static attn_status
read_files(attn_config *config, const char *path, int *missing, attn_error *err)
{
    attn_status s = read_file(config, path, missing, err);
    if (s != ATTN_OK)
        return s;
    size_t n = strlen(path);
    if (n > 4 && strcmp(path + n - 4, ".ini") == 0)
        n -= 4;
    attn_strbuf dir = {0};
    attn_strbuf_addf(&dir, "%.*s.d", (int)n, path);
    s = dir.failed ? attn_error_nomem(err, "config", 0)
                   : read_drop_ins(config, dir.data, err);
    attn_strbuf_free(&dir);
    return s;
}

/* What was read, finished and checked, to the caller; or freed. */
static attn_status
deliver(attn_config *c, attn_status s, attn_config **config, attn_error *err)
{
    if (s == ATTN_OK)
        s = attn_config_finish(c, err);
    if (s != ATTN_OK)
        attn_config_free(c);
    else
        *config = c;
    return s;
}

attn_status
attn_config_load(const char *path, attn_config **config, attn_error *err)
{
    attn_config *c;
    int missing = 0;
    int *may_miss = NULL;
    attn_status s = attn_config_create(&c, err);
    if (s != ATTN_OK)
        return s;
    if (!path)
        path = secure_getenv("ATTN_CONFIG");
    if (!path || !*path) {
        path = MAIN_FILE;
        may_miss = &missing;
    }
    s = attn_config_name(c, path, err);
    if (s == ATTN_OK)
        s = read_files(c, path, may_miss, err);
    if (s == ATTN_OK)
        s = attn_config_read_environment(c, err);
    return deliver(c, s, config, err);
}

attn_status
attn_config_parse(const char *name, const char *text, size_t size,
                  attn_config **config, attn_error *err)
{
    attn_config *c;
    attn_status s = attn_config_create(&c, err);
    if (s != ATTN_OK)
        return s;
    s = attn_config_read(c, name, text, size, err);
    return deliver(c, s, config, err);
}

const char *
attn_config_main_file(const attn_config *config)
{
    return config->main_file;
}

size_t
attn_config_count(const attn_config *config)
{
    return config->num_flat;
}

const attn_config_value *
attn_config_at(const attn_config *config, size_t index)
{
    return index < config->num_flat ? config->flat[index] : NULL;
}

const char *
attn_config_get(const attn_config *config, const char *section, const char *key)
{
    const attn_section *s = attn_config_section(config, section);
    const attn_config_value *v = s ? attn_section_value(s, key) : NULL;
    return v ? v->value : NULL;
}

size_t
attn_config_num_warnings(const attn_config *config)
{
    return config->num_warnings;
}

const char *
attn_config_warning(const attn_config *config, size_t index)
{
    return index < config->num_warnings ? config->warnings[index] : NULL;
}
