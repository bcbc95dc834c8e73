/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *
host_build_config(char *path, size_t size)
{
    char exe[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    *slash = 0;
    slash = strrchr(exe, '/');
    if (slash && !strcmp(slash, "/.libs"))
        *slash = 0;
    const int used = snprintf(path, size, "%s/attn.ini", exe);
    if (used < 0 || (size_t)used >= size || access(path, R_OK))
        return NULL;
    return path;
}

int
host_cpuinfo(const char *name, char *value, size_t size)
{
    char line[8192];
    const size_t length = strlen(name);
    int found = 0;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        found = colon && colon[1] == ' ' && !strncmp(line, name, length) &&
                strchr(" \t:", line[length]);
        if (found)
            snprintf(value, size, "%.*s", (int)strcspn(colon + 2, "\n"),
                     colon + 2);
    }
    if (f)
        fclose(f);
    return found;
}

int
host_config(const cli_args *args, attn_config **config)
{
    char build[PATH_MAX];
    attn_error err = CLI_ERROR_INIT;
    const char *path = cli_get(args, "config");
    const char *env = getenv("ATTN_CONFIG");
    if (!path && !(env && env[0]))
        path = host_build_config(build, sizeof build);
    if (attn_config_load(path, config, &err))
        return cli_fail_error(&err);
    for (size_t i = 0; i < attn_config_num_warnings(*config); i++)
        cli_warn("%s", attn_config_warning(*config, i));
    return CLI_OK;
}

static void
quiet_sink(void *arg, int32_t level, const char *subsystem, const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug",
                                        "trace"};
    (void)arg;
    if (level == ATTN_LOG_WARN && !strcmp(subsystem, "plugin"))
        return;
    cli_progress(NULL);
    fprintf(stderr, "attn: %s: %s: %s\n",
            level >= 0 && (size_t)level < CLI_COUNT(names) ? names[level]
                                                           : "warn",
            subsystem, text);
}

void
host_quiet(void)
{
    attn_log_set_sink(quiet_sink, NULL);
}

int
host_options(const cli_args *args, attn_key_value **options)
{
    const size_t n = cli_count(args, "option");
    size_t bytes = 0;
    *options = NULL;
    if (n == 0)
        return CLI_OK;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(cli_nth(args, "option", i)) + 1;
    attn_key_value *list = malloc((n + 1) * sizeof *list + bytes);
    if (!list)
        return cli_fail(CLI_INTERNAL, "out of memory");
    char *copy = (char *)(list + n + 1);
    for (size_t i = 0; i < n; i++) {
        strcpy(copy, cli_nth(args, "option", i));
        const size_t size = strlen(copy) + 1;
        char *equal = strchr(copy, '=');
        if (!equal || equal == copy) {
            free(list);
            return cli_fail(CLI_USAGE, "--option: '%s' is no KEY=VALUE",
                            cli_nth(args, "option", i));
        }
        *equal = 0;
        list[i] = (attn_key_value){copy, equal + 1};
        copy += size;
    }
    list[n] = (attn_key_value){NULL, NULL};
    *options = list;
    return CLI_OK;
}

int
host_open(const cli_args *args, const char *library, const char *backend,
          uint32_t threads, host *h)
{
    attn_error err = CLI_ERROR_INIT;
    *h = (host){0};
    int rc = host_config(args, &h->config);
    if (rc == CLI_OK)
        rc = host_options(args, &h->options);
    if (rc == CLI_OK && h->options && !library && !backend)
        rc = cli_fail(CLI_USAGE, "--option needs the backend it is for");
    if (rc == CLI_OK && threads &&
        attn_executor_create(threads, &h->executor, &err))
        rc = cli_fail_error(&err);
    const attn_registry_params params = {
        .struct_size = sizeof params,
        .config = h->config,
        .executor = h->executor,
        .only_library = library,
        .options = h->options,
        .option_backend = library ? NULL : backend,
    };
    if (rc == CLI_OK && attn_registry_open(&params, &h->registry, &err))
        rc = cli_fail_error(&err);
    if (rc != CLI_OK)
        host_close(h);
    return rc;
}

void
host_close(host *h)
{
    if (h->registry)
        attn_registry_close(h->registry);
    if (h->executor)
        attn_executor_destroy(h->executor);
    if (h->config)
        attn_config_free(h->config);
    free(h->options);
    *h = (host){0};
}

static const char *
entry_name(size_t index, void *arg)
{
    return attn_registry_at(arg, index)->name;
}

static const attn_entry *
find_on(const attn_registry *registry, const char *name, const char *device)
{
    const size_t n = attn_registry_count(registry);
    for (size_t i = 0; i < n; i++) {
        const attn_entry *e = attn_registry_at(registry, i);
        if (e->state == ATTN_STATE_READY && !strcmp(e->name, name) &&
            attn_entry_is_on(e, device))
            return e;
    }
    return NULL;
}

int
host_backend(const host *h, const char *name, const char *device,
             const attn_entry **entry)
{
    const size_t n = attn_registry_count(h->registry);
    *entry = find_on(h->registry, name, device);
    if (*entry)
        return CLI_OK;
    if (attn_registry_find(h->registry, name))
        return cli_fail(CLI_UNUSABLE,
                        "backend %s has no device '%s'; attnctl list shows "
                        "its devices",
                        name, device);
    for (size_t i = 0; i < n; i++) {
        const attn_entry *e = attn_registry_at(h->registry, i);
        if (strcmp(e->name, name))
            continue;
        return cli_fail(e->state == ATTN_STATE_SKIPPED ? CLI_SKIPPED
                        : e->state == ATTN_STATE_REFUSED ||
                                e->state == ATTN_STATE_QUARANTINED
                            ? CLI_FAILED
                            : CLI_UNUSABLE,
                        "backend %s is %s: %s", name, attn_state_str(e->state),
                        e->reason);
    }
    const char *near = cli_nearest(name, entry_name, h->registry, n);
    if (near)
        return cli_fail(CLI_UNUSABLE, "no backend %s; did you mean %s?", name,
                        near);
    return cli_fail(CLI_UNUSABLE, "no backend %s; see attnctl list", name);
}

/* Which of a backend's devices the word is: a number, or the first of a name
 * from `index` on; UINT32_MAX when there is none. */
static uint32_t
device_number(const host *h, const char *word, uint32_t index)
{
    char *end;
    const unsigned long number = strtoul(word, &end, 10);
    uint32_t least = UINT32_MAX;
    if (isdigit((unsigned char)word[0]) && !*end)
        return index == 0 && number < UINT32_MAX ? (uint32_t)number
                                                 : UINT32_MAX;
    for (size_t i = 0; i < attn_registry_count(h->registry); i++) {
        const attn_entry *e = attn_registry_at(h->registry, i);
        if (e->state == ATTN_STATE_READY && e->device_index >= index &&
            e->device_index < least && attn_entry_is_on(e, word))
            least = e->device_index;
    }
    return least;
}

/* The first that can be taken; NULL with the reason of the first that cannot,
 * or where none is there, without a device, the rule. */
static const attn_entry *
first_on(const attn_selection *s, const char *device, char why[512])
{
    const attn_candidate *c;
    if (!device)
        snprintf(why, 512, "%s", attn_selection_rule(s));
    for (size_t i = 0; (c = attn_selection_at(s, i)); i++) {
        if (!attn_entry_is_on(c->entry, device))
            continue;
        if (c->eligible && c->admitted)
            return c->entry;
        if (!why[0] && c->num_reasons)
            snprintf(why, 512, "%s: %s", c->entry->name, c->reasons[0]);
    }
    return NULL;
}

static int
select_on(const host *h, const attn_layer *layer, const char *device,
          uint32_t number, const attn_entry **entry, char why[512])
{
    attn_error err = CLI_ERROR_INIT;
    attn_selection *s = NULL;
    const attn_select_params params = {.struct_size = sizeof params,
                                       .layer_index = ATTN_LAYER_INDEX_NONE,
                                       .device = number};
    int rc = CLI_OK;
    if (attn_select(h->registry, layer, &params, &s, &err))
        rc = cli_fail_error(&err);
    else
        *entry = first_on(s, device, why);
    if (s)
        attn_selection_free(s);
    return rc;
}

int
host_select(const host *h, const attn_layer *layer, const char *device,
            const attn_entry **entry)
{
    char why[512] = "";
    int rc = CLI_OK;
    uint32_t number = device ? device_number(h, device, 0) : 0;
    *entry = NULL;
    while (rc == CLI_OK && !*entry && number != UINT32_MAX) {
        rc = select_on(h, layer, device, number, entry, why);
        number = device ? device_number(h, device, number + 1) : UINT32_MAX;
    }
    if (rc != CLI_OK || *entry)
        return rc;
    if (!device)
        return cli_fail(CLI_UNUSABLE, "no backend for this layer: %s", why);
    return cli_fail(CLI_UNUSABLE, "no backend for this layer on '%s': %s",
                    device, why[0] ? why : "none has such a device");
}

int
host_is_file(const char *word)
{
    const size_t n = strlen(word);
    return strchr(word, '/') || (n > 3 && !strcmp(word + n - 3, ".so"));
}
