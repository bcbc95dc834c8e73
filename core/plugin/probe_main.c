/* SPDX-License-Identifier: Apache-2.0 */
/* attn-probe NONCE FILE: loads a plugin where it can do no harm. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <attn/base.h>

#include "base/error.h"
#include "plugin/elf.h"
#include "plugin/host.h"
#include "plugin/loader.h"
#include "plugin/options.h"
#include "plugin/probe.h"
#include "plugin/process.h"

#define REPORT_FD 200 /* above what a careless plugin closes */
#define ROUNDS 2      /* the entry may be called again */

static int report_fd;
static attn_probe_message message = {.magic = ATTN_PROBE_MAGIC};

static void
report(uint32_t phase)
{
    message.phase = phase;
    if (write(report_fd, &message, sizeof message) != (ssize_t)sizeof message)
        _exit(111);
}

/* A handshake block that ends where memory ends: writing past it faults. */
static attn_handshake *
guarded_handshake(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (two == MAP_FAILED || mprotect(two + page, page, PROT_NONE) != 0)
        return NULL;
    return (attn_handshake *)(void *)(two + page - sizeof(attn_handshake));
}

static attn_status
shake(attn_entry_function entry, const attn_host *host,
      const attn_plugin **plugin, attn_error *err)
{
    const attn_plugin *first = NULL;
    attn_handshake *hs = guarded_handshake();
    attn_status status = hs ? ATTN_OK : attn_error_nomem(err, "probe", 0);
    for (int i = 0; i < ROUNDS && status == ATTN_OK; i++) {
        status = attn_loader_shake(entry, host, hs, plugin, err);
        if (status == ATTN_OK && first && first != *plugin)
            status = attn_error_set(err, ATTN_E_REFUSED, "handshake",
                                    "gives another table when asked again");
        first = *plugin;
    }
    return status;
}

/* Its answer is the host's business; here it only must not do harm. */
static attn_status
start_and_stop(const attn_plugin *plugin, const attn_host *host,
               attn_error *err)
{
    const attn_option_source none = {0};
    attn_error said = ATTN_ERROR_INIT;
    attn_key_value *values = NULL;
    attn_status status = attn_options_merge(plugin, &none, &values, err);
    if (status != ATTN_OK)
        return status;
    if (plugin->init(host, values, plugin->num_options, &said) == ATTN_OK)
        plugin->shutdown();
    free(values);
    return ATTN_OK;
}

static attn_status
look_again(const attn_process_state *before, const char *when, attn_error *err)
{
    static attn_process_state after;
    attn_process_look(&after);
    attn_status status = attn_process_compare(before, &after, when, err);
    message.harmful = status != ATTN_OK;
    return status;
}

static attn_status
probe(const attn_file *file, const char *note, attn_error *err)
{
    static attn_process_state before;
    attn_entry_function entry = NULL;
    const attn_host *host = NULL;
    const attn_plugin *plugin = NULL;
    attn_status status = attn_host_create("probe", NULL, &host, err);
    attn_process_look(&before);
    report(ATTN_PROBE_LOADING);
    if (status == ATTN_OK)
        status = attn_loader_open(file, &entry, err);
    if (status == ATTN_OK)
        status = look_again(&before, "while loading", err);
    if (status != ATTN_OK)
        return status;
    report(ATTN_PROBE_SHAKING);
    status = shake(entry, host, &plugin, err);
    if (status == ATTN_OK)
        status = attn_loader_compare(plugin, note, err);
    if (status == ATTN_OK)
        status = look_again(&before, "in attn_plugin_entry", err);
    if (status != ATTN_OK)
        return status;
    report(ATTN_PROBE_INIT);
    status = start_and_stop(plugin, host, err);
    return status == ATTN_OK ? look_again(&before, "in init", err) : status;
}

static attn_status
probe_path(const char *path, attn_error *err)
{
    attn_file file;
    char note[ATTN_ELF_NOTE_MAX + 1] = "";
    attn_status status = attn_file_open(path, &file, err);
    if (status != ATTN_OK)
        return status;
    status = attn_elf_check(&file.bytes, err);
    (void)attn_elf_note(&file.bytes, note, sizeof note, NULL);
    return status == ATTN_OK ? probe(&file, note, err) : status;
}

int
main(int argc, char **argv)
{
    const struct rlimit none = {0, 0};
    if (argc != 3) {
        fprintf(stderr, "attn-probe: run by libattn to try a plugin\n");
        return 2;
    }
    report_fd = fcntl(ATTN_PROBE_FD, F_DUPFD_CLOEXEC, REPORT_FD);
    if (report_fd < 0)
        return 2;
    close(ATTN_PROBE_FD);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)attn_log_configure("trace", NULL);
    message.nonce = strtoull(argv[1], NULL, 16);
    attn_error err = ATTN_ERROR_INIT;
    attn_status status = probe_path(argv[2], &err);
    message.error = err;
    message.error.status = status;
    report(ATTN_PROBE_DONE);
    /* Exit handlers of a refused plugin are not worth running. */
    _exit(0);
}
