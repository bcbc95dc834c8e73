/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "commands.h"
#include "host.h"
#include "output.h"
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const out_column columns[] = {
    {.path = "state"},
    {.path = "check"},
    {.path = "detail"},
};

typedef struct report {
    out_writer out;
    const cli_args *args;
    unsigned problems;
} report;

static void
add(report *r, const char *state, const char *check, json_t *detail)
{
    json_t *row = json_object();
    json_object_set_new(row, "state", json_string(state));
    json_object_set_new(row, "check", json_string(check));
    json_object_set_new(row, "detail", detail);
    out_row(&r->out, row);
    r->problems += !strcmp(state, "problem");
}

static void
check_version(report *r)
{
    add(r, "ok", "library",
        out_format("libattn %s, plugin ABI %d.%d", attn_version(),
                   ATTN_ABI_MAJOR, ATTN_ABI_MINOR));
}

static void
check_processor(report *r)
{
    static const char *const wanted[] = {" avx2 ",        " fma ",
                                         " f16c ",        " avx512f ",
                                         " avx512_bf16 ", " amx_bf16 "};
    char flags[8192] = " ", found[128] = "";
    cpu_set_t set;
    if (host_cpuinfo("flags", flags + 1, sizeof flags - 2))
        strcat(flags, " ");
    for (size_t i = 0; i < CLI_COUNT(wanted); i++)
        if (strstr(flags, wanted[i]))
            strncat(found, wanted[i] + 1, sizeof found - 1 - strlen(found));
    if (found[0])
        found[strlen(found) - 1] = 0;
    CPU_ZERO(&set);
    const int usable =
        sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
    add(r, "ok", "processor",
        out_format("%d of %ld usable; %s", usable,
                   sysconf(_SC_NPROCESSORS_ONLN),
                   found[0] ? found : "no vector level known here"));
}

static void
check_devices(report *r)
{
    add(r, "note", "nvidia",
        out_text(access("/dev/nvidiactl", F_OK) ? "no /dev/nvidiactl"
                                                : "/dev/nvidiactl is there"));
    add(r, "note", "amd",
        out_text(access("/dev/kfd", F_OK) ? "no /dev/kfd"
                                          : "/dev/kfd is there"));
}

static void
check_environment(report *r)
{
    extern char **environ;
    for (char **e = environ; *e; e++)
        if (!strncmp(*e, "ATTN_", 5))
            add(r, "note", "environment", out_text(*e));
}

/* Whether the directory is, or can be made, by this user. */
static int
can_write(const char *path)
{
    char above[PATH_MAX];
    snprintf(above, sizeof above, "%s", path);
    while (access(above, F_OK) && errno == ENOENT) {
        char *slash = strrchr(above, '/');
        slash[slash == above] = 0;
    }
    return !access(above, W_OK | X_OK);
}

static void
check_cache(report *r)
{
    char path[PATH_MAX];
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/')
        snprintf(path, sizeof path, "%s/attn", xdg);
    else if (geteuid() == 0)
        snprintf(path, sizeof path, "/var/cache/attn");
    else
        snprintf(path, sizeof path, "%s/.cache/attn", home ? home : "");
    if (path[0] != '/' || !strncmp(path, "/.cache/", 8))
        add(r, "note", "verdict cache",
            out_text("neither XDG_CACHE_HOME nor HOME: unknown plugins are "
                     "probed each time"));
    else if (can_write(path))
        add(r, "ok", "verdict cache", out_text(path));
    else
        add(r, "note", "verdict cache",
            out_format("%s: %s: unknown plugins are probed each time", path,
                       strerror(errno)));
}

static void
check_directory(report *r, const char *path)
{
    struct stat st;
    if (stat(path, &st))
        add(r, "note", "plugin_path",
            out_format("%s: %s", path, strerror(errno)));
    else if (!S_ISDIR(st.st_mode))
        add(r, "problem", "plugin_path",
            out_format("%s is no directory", path));
    else
        add(r, "ok", "plugin_path", out_text(path));
}

static void
check_path(report *r, const attn_config *config)
{
    const char *value = attn_config_get(config, "attn", "plugin_path");
    char *save = NULL, *copy = strdup(value ? value : "");
    for (char *p = copy ? strtok_r(copy, ":", &save) : NULL; p;
         p = strtok_r(NULL, ":", &save))
        check_directory(r, p);
    free(copy);
}

/* 1 when a value before this one comes from the same file. */
static int
is_named_before(const attn_config *config, size_t index)
{
    const char *origin = attn_config_at(config, index)->origin;
    for (size_t i = 0; i < index; i++)
        if (!strcmp(attn_config_at(config, i)->origin, origin))
            return 1;
    return 0;
}

/* The files that the effective values come from, each once. */
static void
check_sources(report *r, const attn_config *config)
{
    unsigned files = 0;
    for (size_t i = 0; i < attn_config_count(config); i++) {
        const attn_config_value *v = attn_config_at(config, i);
        if (!v->line || is_named_before(config, i))
            continue;
        files++;
        add(r, "ok", "configuration", out_text(v->origin));
    }
    if (!files)
        add(r, "note", "configuration", out_text("no file: defaults"));
    for (size_t i = 0; i < attn_config_num_warnings(config); i++)
        add(r, "problem", "configuration",
            out_text(attn_config_warning(config, i)));
}

/* The names of features in a [profile]. */
static void
check_features(report *r, const attn_config_value *v)
{
    char word[64];
    for (const char *p = v->value + strspn(v->value, " \t,"); *p;
         p += strspn(p, " \t,")) {
        const size_t n = strcspn(p, " \t,");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        if (strcmp(word, "none") && !attn_feature_parse(word))
            add(r, "problem", "profile",
                out_format("%s:%u: [%s] no feature '%s'", v->origin, v->line,
                           v->section, word));
        p += n;
    }
}

/* One value of a [profile]: wrong in itself, or of another machine. */
static void
check_measured(report *r, const attn_config_value *v, const attn_family *family,
               const char *machine)
{
    attn_any_layer layer;
    attn_error err = CLI_ERROR_INIT;
    if (!strcmp(v->key, "machine") && strcmp(v->value, machine))
        add(r, "note", "profile",
            out_format("[%s] was measured on %s, this is %s", v->section,
                       v->value, machine));
    if (!strcmp(v->key, "features"))
        check_features(r, v);
    if (strncmp(v->key, "layer.", 6) || !family)
        return;
    attn_layer_init(family, &layer);
    if (attn_layer_set(&layer, v->key + 6, v->value, &err))
        add(r, "problem", "profile",
            out_format("%s:%u: [%s] %s", v->origin, v->line, v->section,
                       err.message));
}

static void
check_profiles(report *r, const attn_config *config)
{
    char machine[BENCH_MACHINE_BYTES];
    bench_processor(machine, sizeof machine);
    for (size_t i = 0; i < attn_config_count(config); i++) {
        const attn_config_value *v = attn_config_at(config, i);
        if (strncmp(v->section, "profile ", 8))
            continue;
        const char *key = attn_config_get(config, v->section, "family");
        const attn_family *family = attn_family_find(key);
        if (!family && !strcmp(v->key, "family") && !strchr(key, '/'))
            add(r, "problem", "profile",
                out_format("%s:%u: [%s] no family '%s'", v->origin, v->line,
                           v->section, key));
        check_measured(r, v, family, machine);
    }
}

static const char *
entry_state(uint32_t state)
{
    switch (state) {
    case ATTN_STATE_READY:
        return "ok";
    case ATTN_STATE_REFUSED:
    case ATTN_STATE_QUARANTINED:
        return "problem";
    default:
        return "note";
    }
}

static int
check_registry(report *r, const attn_config *config)
{
    attn_error err = CLI_ERROR_INIT;
    attn_registry *registry;
    unsigned ready = 0;
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    if (attn_registry_open(&params, &registry, &err)) {
        add(r, "problem", "plugins", out_text(err.message));
        return cli_exit_code(err.status);
    }
    for (size_t i = 0; i < attn_registry_count(registry); i++) {
        const attn_entry *e = attn_registry_at(registry, i);
        ready += e->state == ATTN_STATE_READY;
        add(r, entry_state(e->state), "backend",
            out_format("%s %s: %s%s%s", e->name, attn_state_str(e->state),
                       e->file, e->reason[0] ? ": " : "", e->reason));
    }
    attn_registry_close(registry);
    if (ready)
        return CLI_OK;
    add(r, "problem", "backends", out_text("none is ready"));
    return CLI_UNUSABLE;
}

static int
check_configured(report *r)
{
    char build[PATH_MAX];
    attn_error err = CLI_ERROR_INIT;
    attn_config *config;
    const char *path = cli_get(r->args, "config");
    const char *env = getenv("ATTN_CONFIG");
    if (!path && !(env && env[0]))
        path = host_build_config(build, sizeof build);
    if (attn_config_load(path, &config, &err)) {
        add(r, "problem", "configuration", out_text(err.message));
        return CLI_CONFIG;
    }
    check_sources(r, config);
    check_path(r, config);
    check_profiles(r, config);
    const int rc = check_registry(r, config);
    attn_config_free(config);
    return rc;
}

static int
run(const cli_args *args)
{
    report r = {.args = args};
    int rc = out_open(&r.out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    host_quiet();
    check_version(&r);
    check_processor(&r);
    check_devices(&r);
    check_environment(&r);
    check_cache(&r);
    rc = check_configured(&r);
    if (rc == CLI_OK && r.problems)
        rc = CLI_FAILED;
    out_set(&r.out, "problems", out_int(r.problems));
    return out_close(&r.out, rc);
}

const cli_command cmd_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "what is wrong with this machine's set-up",
    .run = run,
};
