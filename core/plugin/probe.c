/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "plugin/probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "plugin/trust.h"

#define MAX_OUTPUT 8192u /* bytes of the child's chatter that are logged */
#define POLL_MS 5

extern char **environ;

static _Atomic uint32_t limit_override;

void
attn_probe_set_limit(uint32_t limit_ms)
{
    limit_override = limit_ms;
}

/* ------------------------------------------------------------- the program */

static int
is_program(const char *path)
{
    return access(path, X_OK) == 0 && attn_trust_check(path, NULL) == ATTN_OK;
}

/* Beside a build tree's objects: DIR/.libs/libattn.so, DIR/.libs/attnctl, or
 * DIR/tests/unit/test_x, where DIR holds config.status. */
static int
find_in_build_tree(char *path, size_t size)
{
    static const char *const ups[] = {"", "/..", "/../..", "/../../.."};
    Dl_info info;
    char object[PATH_MAX], mark[PATH_MAX + 32], *slash;
    if (!dladdr((void *)(uintptr_t)&limit_override, &info) ||
        !realpath(info.dli_fname, object) || !(slash = strrchr(object, '/')))
        return 0;
    *slash = 0;
    for (size_t i = 0; i < sizeof ups / sizeof ups[0]; i++) {
        char candidate[PATH_MAX + 32];
        snprintf(mark, sizeof mark, "%s%s/config.status", object, ups[i]);
        snprintf(candidate, sizeof candidate, "%s%s/attn-probe", object,
                 ups[i]);
        if (access(mark, F_OK) == 0 && size >= PATH_MAX &&
            realpath(candidate, path) && is_program(path))
            return 1;
    }
    return 0;
}

static attn_status
find_program(char *path, size_t size, attn_error *err)
{
    if (!getauxval(AT_SECURE) && find_in_build_tree(path, size))
        return ATTN_OK;
    snprintf(path, size, "%s/attn-probe", ATTN_PROBEDIR);
    if (access(path, X_OK) == 0)
        return ATTN_OK;
    return attn_error_io(err, errno, "probe", "cannot probe with %s", path);
}

/* ---------------------------------------------------------------- spawning */

typedef struct {
    pid_t pid;
    int report, output; /* read ends; -1 when closed */
    uint64_t nonce;
    int64_t deadline; /* ms, monotonic */
    attn_probe_message last;
    unsigned messages, strays;
    char pending[sizeof(attn_probe_message)];
    size_t num_pending;
    char line[512];
    size_t line_length, output_bytes;
    const char *label;
} child;

static int64_t
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Both ends above the numbers the child will use. */
static int
high_pipe(int ends[2])
{
    int low[2];
    if (pipe2(low, O_CLOEXEC) != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 10);
        close(low[i]);
    }
    if (ends[0] >= 0 && ends[1] >= 0)
        return fcntl(ends[0], F_SETFL, O_NONBLOCK);
    close(ends[0]);
    close(ends[1]);
    return -1;
}

static int
add_actions(posix_spawn_file_actions_t *actions, int report, int output)
{
    return posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY,
                                            0) ||
           posix_spawn_file_actions_adddup2(actions, output, 1) ||
           posix_spawn_file_actions_adddup2(actions, output, 2) ||
           posix_spawn_file_actions_adddup2(actions, report, ATTN_PROBE_FD) ||
           posix_spawn_file_actions_addclosefrom_np(actions, ATTN_PROBE_FD + 1);
}

/* A group of its own, to be killed whole; no signal ignored or blocked. */
static int
set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP |
                                                    POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF) ||
           posix_spawnattr_setpgroup(attributes, 0) ||
           posix_spawnattr_setsigmask(attributes, &none) ||
           posix_spawnattr_setsigdefault(attributes, &all);
}

static int
spawn(pid_t *pid, char *const argv[], int report, int output)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    int failed =
        add_actions(&actions, report, output) || set_attributes(&attributes)
            ? ENOMEM
            : posix_spawn(pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static attn_status
start(child *c, char *program, const attn_file *file, attn_error *err)
{
    int report[2], output[2];
    char nonce[32];
    if (high_pipe(report) != 0)
        return attn_error_io(err, errno, "probe", "cannot make a pipe");
    if (high_pipe(output) != 0) {
        const int errnum = errno;
        close(report[0]);
        close(report[1]);
        return attn_error_io(err, errnum, "probe", "cannot make a pipe");
    }
    if (getrandom(&c->nonce, sizeof c->nonce, GRND_NONBLOCK) < 0)
        c->nonce = (uint64_t)now_ms();
    snprintf(nonce, sizeof nonce, "%llx", (unsigned long long)c->nonce);
    char *argv[] = {program, nonce, (char *)(uintptr_t)file->path, NULL};
    const int failed = spawn(&c->pid, argv, report[1], output[1]);
    close(report[1]);
    close(output[1]);
    c->report = report[0];
    c->output = output[0];
    if (!failed)
        return ATTN_OK;
    close(report[0]);
    close(output[0]);
    return attn_error_io(err, failed, "probe", "cannot run %s", program);
}

/* --------------------------------------------------------------- listening */

static void
take_message(child *c)
{
    attn_probe_message m;
    memcpy(&m, c->pending, sizeof m);
    c->num_pending = 0;
    if (m.magic != ATTN_PROBE_MAGIC || m.nonce != c->nonce ||
        m.phase > ATTN_PROBE_DONE) {
        c->strays++;
        return;
    }
    c->last = m;
    c->messages++;
}

static void
read_report(child *c)
{
    const ssize_t got = read(c->report, c->pending + c->num_pending,
                             sizeof c->pending - c->num_pending);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close(c->report);
        c->report = -1;
        return;
    }
    c->num_pending += (size_t)got;
    if (c->num_pending == sizeof c->pending)
        take_message(c);
}

static void
log_output(child *c, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '\n' && c->line_length + 1 < sizeof c->line) {
            c->line[c->line_length++] = text[i];
            continue;
        }
        attn_log_write(ATTN_LOG_INFO, "plugin", "%s says: %.*s", c->label,
                       (int)c->line_length, c->line);
        c->line_length = 0;
    }
}

static void
read_output(child *c)
{
    char text[1024];
    const ssize_t got = read(c->output, text, sizeof text);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        if (c->line_length > 0)
            log_output(c, "\n", 1);
        close(c->output);
        c->output = -1;
        return;
    }
    c->output_bytes += (size_t)got;
    if (c->output_bytes <= MAX_OUTPUT)
        log_output(c, text, (size_t)got);
}

/* Waits for news; 0 when the time is up. */
static int
listen_once(child *c)
{
    struct pollfd fds[2] = {{c->report, POLLIN, 0}, {c->output, POLLIN, 0}};
    const int64_t left = c->deadline - now_ms();
    if (left <= 0)
        return 0;
    /* The child's end is asked for in between: a grandchild may keep the
     * pipes open. */
    poll(fds, 2, left < POLL_MS ? (int)left : POLL_MS);
    if (fds[0].revents)
        read_report(c);
    if (fds[1].revents)
        read_output(c);
    return 1;
}

/* Listens until the child ends; *status as of waitpid, -1 when it cannot be
 * known. Answers 0 when the time was up. */
static int
watch(child *c, int *status)
{
    int in_time = 1;
    pid_t ended = 0;
    *status = -1;
    while (in_time && ended == 0) {
        in_time = listen_once(c);
        ended = waitpid(c->pid, status, WNOHANG);
        if (ended < 0 && errno == EINTR)
            ended = 0;
    }
    kill(-c->pid, SIGKILL);
    if (ended == 0)
        while (waitpid(c->pid, status, 0) < 0 && errno == EINTR)
            ;
    for (int i = 0; c->report >= 0 && i < 64; i++)
        read_report(c);
    for (int i = 0; c->output >= 0 && i < 64; i++)
        read_output(c);
    if (c->report >= 0)
        close(c->report);
    if (c->output >= 0)
        close(c->output);
    return in_time || ended > 0;
}

/* ----------------------------------------------------------------- verdict */

static const char *
doing(const child *c)
{
    static const char *const phases[] = {
        "while loading", "in attn_plugin_entry", "in init or shutdown",
        "after its report"};
    return phases[c->messages > 0 ? c->last.phase : 0];
}

#define HARM(err, ...) attn_error_set(err, ATTN_E_REFUSED, "probe", __VA_ARGS__)

static attn_status
judge(const child *c, int status, uint32_t *harmful, attn_error *err)
{
    *harmful = 1;
    if (WIFSIGNALED(status) && status != -1)
        return HARM(err, "crashed %s: %s", doing(c),
                    strsignal(WTERMSIG(status)));
    if (c->strays > 0 || c->num_pending > 0)
        return HARM(err, "wrote to the probe's report");
    if (c->messages == 0 || c->last.phase != ATTN_PROBE_DONE)
        return HARM(err, "ended the process (exit %d) %s without reporting",
                    status == -1 ? -1 : WEXITSTATUS(status), doing(c));
    const attn_error *said = &c->last.error;
    *harmful = c->last.harmful != 0;
    if (said->status == ATTN_OK)
        return ATTN_OK;
    return attn_error_set(
        err,
        said->status == ATTN_E_NO_DEVICE ? ATTN_E_NO_DEVICE : ATTN_E_REFUSED,
        "probe", "%.*s", (int)strnlen(said->message, sizeof said->message),
        said->message);
}

static attn_status
run_once(const attn_file *file, const attn_probe_params *params,
         uint32_t limit_ms, uint32_t *harmful, int *timed_out, attn_error *err)
{
    char program[PATH_MAX];
    int status;
    child c = {.label = params->label, .deadline = now_ms() + limit_ms};
    *harmful = 0;
    *timed_out = 0;
    attn_status found = find_program(program, sizeof program, err);
    if (found == ATTN_OK)
        found = start(&c, program, file, err);
    if (found != ATTN_OK)
        return found;
    if (watch(&c, &status))
        return judge(&c, status, harmful, err);
    *harmful = 1;
    *timed_out = 1;
    return HARM(err, "no answer in %u ms %s (killed)", limit_ms, doing(&c));
}

attn_status
attn_probe_run(const attn_file *file, const attn_probe_params *params,
               uint32_t *harmful, attn_error *err)
{
    const uint32_t limit = limit_override ? limit_override : params->limit_ms;
    int timed_out = 0;
    attn_status status =
        run_once(file, params, limit, harmful, &timed_out, err);
    /* A cold disk or a busy machine gets a second chance. */
    if (timed_out)
        status = run_once(file, params, 5 * limit, harmful, &timed_out, err);
    return status;
}
