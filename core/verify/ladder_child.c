/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/error.h"
#include "verify/ladder.h"

#define LEAST_THREADS 4u
#define DEFAULT_SEED 20466u

double
attn_climb_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
attn_climb_note(attn_climb *c, const attn_note *note)
{
    if (c->fd < 0) {
        c->direct(c->direct_arg, note);
        return;
    }
    while (write(c->fd, note, sizeof *note) < 0 && errno == EINTR)
        ;
}

void
attn_climb_progress(attn_climb *c, uint32_t done, uint32_t total)
{
    const attn_note n = {.type = ATTN_NOTE_PROGRESS,
                         .done = done,
                         .total = total,
                         .num_cases = c->num_cases,
                         .seed = c->current};
    attn_climb_note(c, &n);
}

void
attn_climb_claim(attn_climb *c, const char *kind, const char *claim, int proven,
                 const char *reason)
{
    attn_note n = {.type = ATTN_NOTE_CLAIM, .state = (uint32_t)proven};
    snprintf(n.kind, sizeof n.kind, "%s", kind);
    snprintf(n.name, sizeof n.name, "%s", claim);
    snprintf(n.reason, sizeof n.reason, "%s", proven ? "" : reason);
    attn_climb_note(c, &n);
}

attn_status
attn_climb_open(attn_climb *c, attn_error *err)
{
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t n = cpus > 0 ? (uint32_t)cpus : 1;
    n = c->params->num_threads > n ? c->params->num_threads : n;
    attn_status s = attn_switch_create(n > LEAST_THREADS ? n : LEAST_THREADS,
                                       &c->loops, err);
    if (s)
        return s;
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = c->params->config,
                                         .executor = &c->loops->self,
                                         .only_library =
                                             c->params->only_library,
                                         .options = c->params->options,
                                         .option_backend = c->params->backend};
    return attn_registry_open(&params, &c->registry, err);
}

void
attn_climb_close(attn_climb *c)
{
    if (c->registry)
        attn_registry_close(c->registry);
    attn_switch_destroy(c->loops);
    c->registry = NULL;
    c->loops = NULL;
}

static void
finish(attn_climb *c, uint32_t state, const char *reason)
{
    attn_note n = {.type = ATTN_NOTE_RESULT,
                   .state = state,
                   .num_cases = c->num_cases,
                   .seed = state == ATTN_RUNG_FAIL ? c->current : 0};
    snprintf(n.reason, sizeof n.reason, "%s", reason);
    attn_climb_note(c, &n);
}

/* ---------------------------------------------------------------- crashes */

static attn_climb *volatile crashing;

static void
on_crash(int sig, siginfo_t *info, void *context)
{
    attn_climb *c = crashing;
    char what[ATTN_REASON - 64], text[ATTN_REASON];
    int writing = 0;
#if defined(__x86_64__)
    writing =
        (((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
    (void)context;
#endif
    crashing = NULL;
    if (sig == SIGSEGV && info->si_code == SI_KERNEL)
        snprintf(what, sizeof what,
                 "a wild address, such as a poisoned block id gives");
    else if (sig == SIGSEGV || sig == SIGBUS)
        attn_guard_explain(info->si_addr, writing, what, sizeof what);
    else
        snprintf(what, sizeof what, "%s", strsignal(sig));
    snprintf(text, sizeof text, "killed by SIG%s: %s", sigabbrev_np(sig), what);
    if (c)
        finish(c, ATTN_RUNG_FAIL, text);
    _exit(1);
}

static void
watch_crashes(attn_climb *c)
{
    static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction a = {.sa_flags = SA_SIGINFO | SA_NODEFER};
    a.sa_sigaction = on_crash;
    crashing = c;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
        sigaction(SIGNALS[i], &a, NULL);
}

/* ------------------------------------------------------------------- rungs */

static void
find_entry(attn_climb *c, const char *backend)
{
    c->entry = NULL;
    for (size_t i = 0; i < attn_registry_count(c->registry); i++) {
        const attn_entry *e = attn_registry_at(c->registry, i);
        if (!c->entry && !strcmp(e->name, backend) &&
            attn_entry_is_on(e, c->params->device) &&
            e->state == ATTN_STATE_READY)
            c->entry = e;
    }
}

static void
run_rung(attn_climb *c, const attn_rung_row *row, const char *backend)
{
    char reason[ATTN_REASON] = "";
    attn_error err = ATTN_ERROR_INIT;
    c->seed = c->params->seed ? c->params->seed : DEFAULT_SEED;
    if (attn_climb_open(c, &err)) {
        finish(c, ATTN_RUNG_FAIL, err.message);
        return;
    }
    find_entry(c, backend);
    c->end = attn_climb_now() +
             (double)(c->params->quick ? row->quick_s : row->budget_s);
    if (!c->entry) {
        snprintf(reason, sizeof reason, "backend '%s' is not ready any more",
                 backend);
        finish(c, ATTN_RUNG_FAIL, reason);
    } else {
        const uint32_t state = row->run(c, reason, sizeof reason);
        finish(c, state, reason);
    }
    attn_climb_close(c);
}

static void
tell_targets(attn_climb *c)
{
    attn_error err = ATTN_ERROR_INIT;
    if (attn_climb_open(c, &err)) {
        finish(c, ATTN_RUNG_FAIL, err.message);
        return;
    }
    for (size_t i = 0; i < attn_registry_count(c->registry); i++) {
        const attn_entry *e = attn_registry_at(c->registry, i);
        /* Unasked, the first of its devices stands for all. */
        if (c->params->device ? !attn_entry_is_on(e, c->params->device)
                              : e->device_index > 0)
            continue;
        attn_note n = {.type = ATTN_NOTE_TARGET,
                       .state = e->state,
                       .emulated = e->emulated};
        snprintf(n.name, sizeof n.name, "%s", e->name);
        snprintf(n.file, sizeof n.file, "%s", e->file);
        snprintf(n.reason, sizeof n.reason, "%s", e->reason);
        attn_climb_note(c, &n);
    }
    finish(c, ATTN_RUNG_PASS, "");
    attn_climb_close(c);
}

static void
act(attn_climb *c, const attn_rung_row *row, const char *backend)
{
    if (row)
        run_rung(c, row, backend);
    else
        tell_targets(c);
}

/* --------------------------------------------------------------- isolation */

/* What the parent has heard of a child. */
typedef struct heard {
    void (*sink)(void *arg, const attn_note *note);
    void *arg;
    uint64_t seed; /* of the case it was at */
    uint32_t num_cases;
    int has_result;
} heard;

static void
pass_on(heard *h, const attn_note *n)
{
    if (n->type == ATTN_NOTE_PROGRESS) {
        h->seed = n->seed;
        h->num_cases = n->num_cases;
    }
    if (n->type == ATTN_NOTE_RESULT) {
        if (h->has_result)
            return;
        h->has_result = 1;
    }
    h->sink(h->arg, n);
}

/* Reads notes until the child closes its end, or time is up: then 0. */
static int
listen_to(heard *h, int fd, double until)
{
    for (;;) {
        const double left = until - attn_climb_now();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        attn_note n;
        if (left <= 0)
            return 0;
        const int ready = poll(&p, 1, (int)(left * 1000) + 1);
        if (ready < 0 && errno != EINTR)
            return 1;
        if (ready <= 0)
            continue;
        const ssize_t got = read(fd, &n, sizeof n);
        if (got == (ssize_t)sizeof n)
            pass_on(h, &n);
        else if (got >= 0 || errno != EINTR)
            return 1;
    }
}

static void
explain_end(heard *h, int in_time, double limit, int status)
{
    attn_note n = {.type = ATTN_NOTE_RESULT,
                   .state = ATTN_RUNG_FAIL,
                   .seed = h->seed,
                   .num_cases = h->num_cases};
    if (!in_time)
        snprintf(n.reason, sizeof n.reason, "still running after %.0f s",
                 limit);
    else if (WIFSIGNALED(status))
        snprintf(n.reason, sizeof n.reason, "killed by SIG%s (%s)",
                 sigabbrev_np(WTERMSIG(status)), strsignal(WTERMSIG(status)));
    else
        snprintf(n.reason, sizeof n.reason,
                 "ended the process (exit %d) without a result",
                 WEXITSTATUS(status));
    if (h->has_result) {
        h->has_result = 0;
        char text[ATTN_REASON];
        snprintf(text, sizeof text, "after its end: %.400s", n.reason);
        snprintf(n.reason, sizeof n.reason, "%s", text);
    }
    pass_on(h, &n);
}

static void
child_main(const attn_ladder_params *params, const attn_rung_row *row,
           const char *backend, int fd)
{
    static attn_climb c; /* outlives everything a late thread may touch */
    setpgid(0, 0);
    c = (attn_climb){.params = params, .fd = fd};
    watch_crashes(&c);
    act(&c, row, backend);
    crashing = NULL;
    fflush(NULL);
    exit(0);
}

static void
isolated(const attn_ladder_params *params, const attn_rung_row *row,
         const char *backend, double limit,
         void (*sink)(void *arg, const attn_note *note), void *arg)
{
    heard h = {.sink = sink, .arg = arg};
    int fds[2], status = 0;
    fflush(NULL);
    if (pipe(fds)) {
        status = 0x7F00;
        explain_end(&h, 1, limit, status);
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child_main(params, row, backend, fds[1]);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        explain_end(&h, 1, limit, 0x7F00);
        return;
    }
    setpgid(pid, pid);
    const int in_time = listen_to(&h, fds[0], attn_climb_now() + limit);
    if (!in_time)
        kill(-pid, SIGKILL);
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!h.has_result || !in_time ||
        (WIFSIGNALED(status) || WEXITSTATUS(status) > 1))
        explain_end(&h, in_time, limit, status);
}

void
attn_rung_isolated(const attn_ladder_params *params, const attn_rung_row *row,
                   const char *backend,
                   void (*sink)(void *arg, const attn_note *note), void *arg)
{
    const double limit = row->pub.limit_s / (params->quick ? 3.0 : 1.0);
    if (!params->in_process) {
        isolated(params, row, backend, limit, sink, arg);
        return;
    }
    attn_climb c = {
        .params = params, .fd = -1, .direct = sink, .direct_arg = arg};
    act(&c, row, backend);
}

void
attn_rung_discover(const attn_ladder_params *params,
                   void (*sink)(void *arg, const attn_note *note), void *arg)
{
    isolated(params, NULL, "-", 120, sink, arg);
}
