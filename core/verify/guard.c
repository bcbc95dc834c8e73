/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/guard.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

#define PATTERN 0xA5
#define LARGE ((size_t)4 << 20) /* bytes worth large pages */
#define MOST 1024               /* that a fault can be traced to */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static attn_guard *volatile known[MOST];

static void
remember(attn_guard *g, attn_guard *instead)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MOST; i++)
        if (known[i] == g) {
            known[i] = instead;
            break;
        }
    pthread_mutex_unlock(&lock);
}

attn_status
attn_guard_create(const char *name, size_t bytes, size_t align,
                  attn_guard **guard, attn_error *err)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    align = align ? align : 1;
    const size_t inner = (bytes + align + page - 1) / page * page;
    attn_guard *g = calloc(1, sizeof *g);
    if (!g || inner < bytes) {
        free(g);
        return attn_error_nomem(err, name, bytes);
    }
    g->map_bytes = inner + 2 * page;
    g->map =
        mmap(NULL, g->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED ||
        mprotect(g->map + page, inner, PROT_READ | PROT_WRITE)) {
        if (g->map != MAP_FAILED)
            munmap(g->map, g->map_bytes);
        free(g);
        return attn_error_nomem(err, name, bytes);
    }
#ifdef MADV_HUGEPAGE
    /* as an engine keeps its caches, and as the roof of reads is measured */
    if (bytes >= LARGE)
        madvise(g->map + page, inner, MADV_HUGEPAGE);
#endif
    snprintf(g->name, sizeof g->name, "%s", name);
    g->bytes = bytes;
    g->data = (uint8_t *)((uintptr_t)(g->map + page + inner - bytes) &
                          ~(uintptr_t)(align - 1));
    memset(g->map + page, PATTERN, (size_t)(g->data - g->map) - page);
    memset(g->data + bytes, PATTERN,
           (size_t)(g->map + page + inner - g->data) - bytes);
    memset(g->data, 0xFF, bytes);
    remember(NULL, g);
    *guard = g;
    return ATTN_OK;
}

void
attn_guard_destroy(attn_guard *guard)
{
    if (!guard)
        return;
    remember(guard, NULL);
    munmap(guard->map, guard->map_bytes);
    free(guard);
}

void
attn_guard_protect(attn_guard *guard, int access)
{
    static const int PROT[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!guard || guard->access == access)
        return;
    guard->access = access;
    mprotect(guard->map + page, guard->map_bytes - 2 * page, PROT[access]);
}

attn_status
attn_guard_check(const attn_guard *guard, attn_error *err)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uint8_t *end = guard->map + guard->map_bytes - page;
    if (guard->access == ATTN_GUARD_NONE)
        return ATTN_OK;
    for (const uint8_t *p = guard->map + page; p < guard->data; p++)
        if (*p != PATTERN)
            return attn_error_set(err, ATTN_E_INTERNAL, guard->name,
                                  "wrote %zu bytes before '%s'",
                                  (size_t)(guard->data - p), guard->name);
    for (const uint8_t *p = guard->data + guard->bytes; p < end; p++)
        if (*p != PATTERN)
            return attn_error_set(
                err, ATTN_E_INTERNAL, guard->name, "wrote %zu bytes past '%s'",
                (size_t)(p - guard->data) - guard->bytes, guard->name);
    return ATTN_OK;
}

static void
explain_inside(const attn_guard *g, const uint8_t *at, int writing, char *text,
               size_t size)
{
    const char *act = writing ? "write to" : "read of";
    if (at < g->data)
        snprintf(text, size, "%s %zu bytes before '%s' (%zu bytes)", act,
                 (size_t)(g->data - at), g->name, g->bytes);
    else if (at >= g->data + g->bytes)
        snprintf(text, size, "%s %zu bytes past the end of '%s' (%zu bytes)",
                 act, (size_t)(at - g->data) - g->bytes, g->name, g->bytes);
    else if (g->access == ATTN_GUARD_NONE)
        snprintf(text, size, "%s '%s' after the call that lent it", act,
                 g->name);
    else
        snprintf(text, size, "%s read-only '%s', byte %zu of %zu", act, g->name,
                 (size_t)(at - g->data), g->bytes);
}

void
attn_guard_explain(const void *address, int writing, char *text, size_t size)
{
    const uint8_t *at = address;
    for (size_t i = 0; i < MOST; i++) {
        const attn_guard *g = known[i];
        if (g && at >= g->map && at < g->map + g->map_bytes) {
            explain_inside(g, at, writing, text, size);
            return;
        }
    }
    snprintf(text, size, "%s address %p, which is none of the call's",
             writing ? "write to" : "read of", address);
}
