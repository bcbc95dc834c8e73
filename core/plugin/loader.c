/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "plugin/loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/error.h"
#include "plugin/abi.h"

#define REFUSE(err, ...) \
    attn_error_set(err, ATTN_E_REFUSED, "load", __VA_ARGS__)

/* What this process has loaded, which version of each file, and whether a
 * registry uses it: the loader would hand out the old code for a replaced file
 * without a word, and a plugin knows one host at a time. */
typedef struct {
    char *path;
    attn_file_id id;
    int in_use;
} loaded_file;

static pthread_mutex_t loaded_lock = PTHREAD_MUTEX_INITIALIZER;
static loaded_file *loaded;
static size_t num_loaded, room_loaded;

static loaded_file *
find_locked(const char *path)
{
    for (size_t i = 0; i < num_loaded; i++)
        if (strcmp(loaded[i].path, path) == 0)
            return &loaded[i];
    return NULL;
}

static attn_status
add_locked(const attn_file *file, attn_error *err)
{
    loaded_file *grown = attn_array_reserve(loaded, &room_loaded,
                                            num_loaded + 1, sizeof *loaded);
    char *path = strdup(file->path);
    if (grown)
        loaded = grown;
    if (!grown || !path) {
        free(path);
        return attn_error_nomem(err, "load", 0);
    }
    loaded[num_loaded++] = (loaded_file){path, file->id, 0};
    return ATTN_OK;
}

static attn_status
remember(const attn_file *file, attn_error *err)
{
    attn_status status = ATTN_OK;
    pthread_mutex_lock(&loaded_lock);
    const loaded_file *old = find_locked(file->path);
    if (!old)
        status = add_locked(file, err);
    else if (!attn_file_id_equal(&old->id, &file->id))
        status = REFUSE(err,
                        "%s was replaced after this process loaded it: "
                        "restart to use the new one",
                        file->path);
    pthread_mutex_unlock(&loaded_lock);
    return status;
}

attn_status
attn_loader_claim(const char *path, attn_error *err)
{
    attn_status status = ATTN_OK;
    pthread_mutex_lock(&loaded_lock);
    loaded_file *file = find_locked(path);
    if (file && file->in_use)
        status = REFUSE(err, "in use by another registry of this process");
    else if (file)
        file->in_use = 1;
    pthread_mutex_unlock(&loaded_lock);
    return status;
}

void
attn_loader_release(const char *path)
{
    pthread_mutex_lock(&loaded_lock);
    loaded_file *file = find_locked(path);
    if (file)
        file->in_use = 0;
    pthread_mutex_unlock(&loaded_lock);
}

/* ----------------------------------------------------------------- dlopen */

static attn_status
describe_failure(const char *text, attn_error *err)
{
    static const struct {
        const char *library, *product;
    } drivers[] = {
        {"libcuda.so", "the NVIDIA driver"},
        {"libcudart.so", "CUDA"},
        {"libnvrtc.so", "CUDA"},
        {"libamdhip64.so", "ROCm"},
        {"libhiprtc.so", "ROCm"},
        {"libhsa-runtime64.so", "ROCm"},
    };
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++)
        if (strncmp(text, drivers[i].library, strlen(drivers[i].library)) ==
                0 &&
            strstr(text, "cannot open shared object file"))
            return attn_error_set(err, ATTN_E_NO_DEVICE, "load",
                                  "needs %.*s: not found (is %s installed?)",
                                  (int)strcspn(text, ":"), text,
                                  drivers[i].product);
    return REFUSE(err, "cannot be loaded: %s", text);
}

/* dlsym also finds a dependency's symbol. */
static attn_status
check_origin(void *symbol, const attn_file *file, attn_error *err)
{
    Dl_info info;
    struct stat st;
    if (!dladdr(symbol, &info) || !info.dli_fname ||
        stat(info.dli_fname, &st) != 0)
        return REFUSE(err, "cannot tell where attn_plugin_entry comes from");
    if (st.st_dev != file->id.device || st.st_ino != file->id.inode)
        return REFUSE(err,
                      "attn_plugin_entry comes from %s, not from this file",
                      info.dli_fname);
    return ATTN_OK;
}

attn_status
attn_loader_open(const attn_file *file, attn_entry_function *entry,
                 attn_error *err)
{
    void *handle = dlopen(file->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        const char *text = dlerror();
        return describe_failure(text ? text : "no reason given", err);
    }
    attn_status status = remember(file, err);
    if (status != ATTN_OK)
        return status;
    void *symbol = dlsym(handle, "attn_plugin_entry");
    if (!symbol)
        return REFUSE(err, "no symbol attn_plugin_entry: not an attention "
                           "plugin");
    status = check_origin(symbol, file, err);
    if (status == ATTN_OK)
        status = attn_file_recheck(file, err);
    if (status == ATTN_OK)
        memcpy(entry, &symbol, sizeof *entry);
    return status;
}

/* ------------------------------------------------------------------- note */

int
attn_note_value(const char *note, const char *key, char *value, size_t size)
{
    const size_t length = strlen(key);
    for (const char *line = note; *line;) {
        const size_t end = strcspn(line, "\n");
        if (end > length && line[length] == '=' &&
            strncmp(line, key, length) == 0) {
            snprintf(value, size, "%.*s", (int)(end - length - 1),
                     line + length + 1);
            return 1;
        }
        line += end + (line[end] != 0);
    }
    if (size > 0)
        value[0] = 0;
    return 0;
}

/* "1.0", or one for each major a plugin speaks: "1.4,2.0". The minor is the
 * handshake's business. */
attn_status
attn_note_check_abi(const char *note, attn_error *err)
{
    static const int lo = ATTN_ABI_MAJOR_LO, hi = ATTN_ABI_MAJOR_HI;
    char abi[32];
    unsigned major, minor;
    if (!note[0])
        return ATTN_OK;
    attn_note_value(note, "abi", abi, sizeof abi);
    for (const char *at = abi; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (sscanf(at, "%5u.%5u", &major, &minor) != 2)
            return REFUSE(err, "its note has no abi=MAJOR.MINOR");
        if ((int)major >= lo && (int)major <= hi)
            return ATTN_OK;
    }
    return REFUSE(err, "its note says ABI %s, this host speaks %d..%d.%d", abi,
                  lo, hi, ATTN_ABI_MINOR);
}

static int
lists(const char *list, const char *name)
{
    const size_t length = strlen(name);
    while (*list) {
        list += strspn(list, ", ;");
        const size_t end = strcspn(list, ", ;");
        if (end == length && strncmp(list, name, length) == 0)
            return 1;
        list += end;
    }
    return 0;
}

attn_status
attn_loader_compare(const attn_plugin *plugin, const char *note,
                    attn_error *err)
{
    char value[2048];
    if (!note[0])
        return ATTN_OK;
    if (attn_note_value(note, "id", value, sizeof value) &&
        strcmp(value, plugin->id) != 0)
        return REFUSE(err, "its note says id '%s', its table '%s'", value,
                      plugin->id);
    if (attn_note_value(note, "version", value, sizeof value) &&
        strcmp(value, plugin->version) != 0)
        return REFUSE(err, "its note says version '%s', its table '%s'", value,
                      plugin->version);
    if (!attn_note_value(note, "backends", value, sizeof value))
        return ATTN_OK;
    for (uint32_t i = 0; i < plugin->num_backends; i++)
        if (!lists(value, plugin->backends[i]->name))
            return REFUSE(err, "its table has backend '%s', its note only '%s'",
                          plugin->backends[i]->name, value);
    return ATTN_OK;
}
