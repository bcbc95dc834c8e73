/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "plugin/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/error.h"

extern char **environ;

#define CHANGED(err, ...) \
    attn_error_set(err, ATTN_E_REFUSED, "process", __VA_ARGS__)

static unsigned
count_threads(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        count += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return count;
}

/* Control bits only: the sticky exception flags may change. */
static unsigned
float_mode(void)
{
    unsigned mode = (unsigned)fegetround();
#if defined(__x86_64__)
    mode |= (_mm_getcsr() & ~0x3fu) << 16;
#endif
    return mode;
}

static unsigned
stack_executable(void)
{
    char line[512], flags[8];
    unsigned yes = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "[stack]") && sscanf(line, "%*s %7s", flags) == 1)
            yes = strchr(flags, 'x') != NULL;
    if (maps)
        fclose(maps);
    return yes;
}

static uint64_t
hash_environment(void)
{
    uint64_t hash = 14695981039346656037ull;
    for (char **e = environ; e && *e; e++)
        for (const char *c = *e;; c++) {
            hash = (hash ^ (unsigned char)*c) * 1099511628211ull;
            if (!*c)
                break;
        }
    return hash;
}

void
attn_process_look(attn_process_state *s)
{
    memset(s, 0, sizeof *s);
    s->threads = count_threads();
    s->umask = (unsigned)umask(0);
    umask((mode_t)s->umask);
    s->float_mode = float_mode();
    s->stack_executable = stack_executable();
    s->environment = hash_environment();
    if (!getcwd(s->directory, sizeof s->directory))
        s->directory[0] = 0;
    const char *locale = setlocale(LC_ALL, NULL);
    snprintf(s->locale, sizeof s->locale, "%s", locale ? locale : "");
    for (unsigned fd = 0; fd < ATTN_PROCESS_FDS; fd++)
        s->open_fds |= (fcntl((int)fd, F_GETFD) >= 0 ? 1u : 0u) << fd;
    for (int i = 0; i < RLIM_NLIMITS; i++)
        getrlimit((__rlimit_resource_t)i, &s->limits[i]);
    for (int i = 1; i <= ATTN_PROCESS_SIGNALS; i++)
        sigaction(i, NULL, &s->handlers[i]);
}

static attn_status
compare_signals(const attn_process_state *a, const attn_process_state *b,
                const char *when, attn_error *err)
{
    for (int i = 1; i <= ATTN_PROCESS_SIGNALS; i++)
        if (a->handlers[i].sa_handler != b->handlers[i].sa_handler)
            return CHANGED(err, "changed the handler of signal %d (%s) %s", i,
                           strsignal(i), when);
    return ATTN_OK;
}

static attn_status
compare_limits(const attn_process_state *a, const attn_process_state *b,
               const char *when, attn_error *err)
{
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (a->limits[i].rlim_cur != b->limits[i].rlim_cur ||
            a->limits[i].rlim_max != b->limits[i].rlim_max)
            return CHANGED(err, "changed resource limit %d %s", i, when);
    return ATTN_OK;
}

attn_status
attn_process_compare(const attn_process_state *a, const attn_process_state *b,
                     const char *when, attn_error *err)
{
    if (b->threads > a->threads)
        return CHANGED(err, "started %u thread(s) %s", b->threads - a->threads,
                       when);
    if (a->float_mode != b->float_mode)
        return CHANGED(err, "changed the floating-point mode %s", when);
    if (strcmp(a->directory, b->directory) != 0)
        return CHANGED(err, "changed the working directory to %s %s",
                       b->directory, when);
    if (a->umask != b->umask)
        return CHANGED(err, "changed the umask from %03o to %03o %s", a->umask,
                       b->umask, when);
    if (strcmp(a->locale, b->locale) != 0)
        return CHANGED(err, "changed the locale to %s %s", b->locale, when);
    if (a->environment != b->environment)
        return CHANGED(err, "changed the environment %s", when);
    if (a->stack_executable != b->stack_executable)
        return CHANGED(err, "made the stack executable %s", when);
    if (a->open_fds & ~b->open_fds)
        return CHANGED(err, "closed a standard descriptor %s", when);
    attn_status status = compare_signals(a, b, when, err);
    if (status == ATTN_OK)
        status = compare_limits(a, b, when, err);
    return status;
}
