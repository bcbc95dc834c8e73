/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "plugin/host.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <attn/base.h>

#include "base/error.h"
#include "base/log.h"

typedef struct {
    attn_host host;
    const attn_executor *executor;
    char label[64];
} host_page;

static size_t
page_bytes(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (sizeof(host_page) + page - 1) / page * page;
}

static void
log_line(const attn_host *host, int32_t level, const char *text)
{
    const host_page *page = host->impl;
    attn_log_write(level, "plugin", "%s: %s", page->label,
                   text ? text : "(null)");
}

static void
parallel_for(const attn_host *host, uint32_t num_tasks, uint32_t max_workers,
             attn_task task, void *arg)
{
    const attn_executor *executor = ((const host_page *)host->impl)->executor;
    if (executor) {
        executor->parallel_for(executor->arg, num_tasks, max_workers, task,
                               arg);
        return;
    }
    for (uint32_t i = 0; i < num_tasks; i++)
        task(arg, i, 0);
}

static const void *
get_extension(const attn_host *host, const char *id)
{
    (void)host, (void)id;
    return NULL;
}

attn_status
attn_host_create(const char *label, const attn_executor *executor,
                 const attn_host **host, attn_error *err)
{
    host_page *page = mmap(NULL, page_bytes(), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return attn_error_nomem(err, "host", page_bytes());
    page->host = (attn_host){.struct_size = sizeof page->host,
                             .impl = page,
                             .name = "libattn",
                             .version = attn_version(),
                             .log = log_line,
                             .parallel_for = parallel_for,
                             .get_extension = get_extension};
    page->executor = executor;
    attn_text_copy(page->label, sizeof page->label, label);
    if (mprotect(page, page_bytes(), PROT_READ) != 0) {
        const int errnum = errno;
        munmap(page, page_bytes());
        return attn_error_io(err, errnum, "host", "cannot protect the host");
    }
    *host = &page->host;
    return ATTN_OK;
}

void
attn_host_destroy(const attn_host *host)
{
    if (host)
        munmap(host->impl, page_bytes());
}
