/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "plugin/module.h"

#define DEFAULT_PRIORITY 100

static attn_module *
add(attn_module_list *list, const char *section, const char *file)
{
    attn_module *items = attn_array_reserve(list->items, &list->capacity,
                                            list->count + 1, sizeof *items);
    if (!items)
        return NULL;
    list->items = items;
    attn_module *m = &items[list->count];
    memset(m, 0, sizeof *m);
    m->priority = DEFAULT_PRIORITY;
    m->section = section ? strdup(section) : NULL;
    m->file = strdup(file);
    list->count++; /* also when half made: it is freed with the list */
    return m->file && (m->section || !section) ? m : NULL;
}

void
attn_modules_free(attn_module_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].section);
        free(list->items[i].file);
        free(list->items[i].note);
        free(list->items[i].contexts);
    }
    free(list->items);
    *list = (attn_module_list){0};
}

/* ------------------------------------------------------------------ search */

/* Calls visit for each directory of a colon-separated list until it answers
 * other than 0. */
static int
each_directory(const char *paths, int (*visit)(const char *dir, void *arg),
               void *arg)
{
    char dir[PATH_MAX];
    int answer = 0;
    while (*paths && answer == 0) {
        const size_t n = strcspn(paths, ":");
        if (n > 0 && n < sizeof dir) {
            memcpy(dir, paths, n);
            dir[n] = 0;
            answer = visit(dir, arg);
        }
        paths += n + (paths[n] == ':');
    }
    return answer;
}

typedef struct {
    const char *name;
    char path[PATH_MAX];
} wanted_file;

static int
has_file(const char *dir, void *arg)
{
    wanted_file *wanted = arg;
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, wanted->name);
    if (strlen(path) >= sizeof wanted->path || access(path, F_OK) != 0)
        return 0;
    memcpy(wanted->path, path, strlen(path) + 1);
    return 1;
}

/* -------------------------------------------------------------- configured */

static attn_status
add_section(const attn_config *config, const char *section, const char *paths,
            attn_module_list *list, attn_error *err)
{
    static const char *const enabled[] = {"auto", "yes", "no"};
    const char *library = attn_config_get(config, section, "library");
    const char *word = attn_config_get(config, section, "enabled");
    const char *priority = attn_config_get(config, section, "priority");
    wanted_file wanted = {.name = library};
    const int bare = library && library[0] && !strchr(library, '/');
    const int found = bare && each_directory(paths, has_file, &wanted);
    attn_module *m = add(list, section,
                         found     ? wanted.path
                         : library ? library
                                   : "");
    if (!m)
        return attn_error_nomem(err, "plugins", 0);
    for (uint32_t i = 0; word && i < 3; i++)
        if (strcmp(word, enabled[i]) == 0)
            m->enabled = i;
    if (priority)
        m->priority = (int32_t)strtol(priority, NULL, 10);
    m->sha256 = attn_config_get(config, section, "sha256");
    if (m->enabled == ATTN_ENABLED_NO)
        return ATTN_OK;
    if (!library || !library[0])
        attn_module_fail(m, ATTN_STATE_REFUSED, "[%s] has no library", section);
    else if (bare && !found)
        attn_module_fail(m, ATTN_STATE_REFUSED, "%s is not in plugin_path %s",
                         library, paths);
    else if (!bare && library[0] != '/')
        attn_module_fail(m, ATTN_STATE_REFUSED,
                         "library %s is neither absolute nor a bare file name",
                         library);
    return ATTN_OK;
}

static attn_status
add_sections(const attn_config *config, const char *paths,
             attn_module_list *list, attn_error *err)
{
    attn_status status = ATTN_OK;
    const size_t count = config ? attn_config_count(config) : 0;
    for (size_t i = 0; i < count && status == ATTN_OK; i++) {
        const char *section = attn_config_at(config, i)->section;
        if (!attn_text_starts(section, "plugin "))
            continue;
        int seen = 0;
        for (size_t j = 0; j < list->count && !seen; j++)
            seen = strcmp(list->items[j].section, section) == 0;
        if (!seen)
            status = add_section(config, section, paths, list, err);
    }
    return status;
}

/* ------------------------------------------------------------------- found */

typedef struct {
    attn_module_list *list;
    int failed;
} scan;

static int
is_shared_object(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);
    return n > 3 && strcmp(entry->d_name + n - 3, ".so") == 0;
}

static int
is_known(const attn_module_list *list, const char *path)
{
    char other[PATH_MAX];
    for (size_t i = 0; i < list->count; i++)
        if (realpath(list->items[i].file, other) && strcmp(other, path) == 0)
            return 1;
    return 0;
}

/* A library that lies among plugins (lib*.so, no note) is none. */
static int
is_passed_over(const char *path)
{
    char note[64];
    const char *name = strrchr(path, '/') + 1;
    return strncmp(name, "lib", 3) == 0 &&
           attn_plugin_file_note(path, note, sizeof note, NULL) ==
               ATTN_E_NOT_FOUND;
}

static int
scan_directory(const char *dir, void *arg)
{
    scan *s = arg;
    struct dirent **names = NULL;
    const int count = scandir(dir, &names, is_shared_object, alphasort);
    if (count < 0) {
        attn_log_write(errno == ENOENT ? ATTN_LOG_DEBUG : ATTN_LOG_WARN,
                       "plugin", "plugin_path %s: %s", dir, strerror(errno));
        return 0;
    }
    for (int i = 0; i < count; i++) {
        char path[2 * PATH_MAX], resolved[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        const char *file = realpath(path, resolved) ? resolved : path;
        if (!s->failed && !is_known(s->list, file) && !is_passed_over(file))
            s->failed = add(s->list, NULL, file) == NULL;
        free(names[i]);
    }
    free(names);
    return s->failed;
}

attn_status
attn_modules_find(const attn_registry_params *params, attn_module_list *list,
                  attn_error *err)
{
    const attn_config *config = params->config;
    if (params->only_library) {
        char resolved[PATH_MAX];
        const char *path = realpath(params->only_library, resolved)
                               ? resolved
                               : params->only_library;
        return add(list, NULL, path) ? ATTN_OK
                                     : attn_error_nomem(err, "plugins", 0);
    }
    const char *paths =
        config ? attn_config_get(config, "attn", "plugin_path") : NULL;
    if (!paths)
        paths = ATTN_PLUGINDIR;
    attn_status status = add_sections(config, paths, list, err);
    scan s = {.list = list};
    if (status == ATTN_OK && each_directory(paths, scan_directory, &s))
        status = attn_error_nomem(err, "plugins", 0);
    return status;
}
