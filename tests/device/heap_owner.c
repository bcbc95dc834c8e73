/* SPDX-License-Identifier: Apache-2.0 */
/* A library to preload: whose heap grows? mallinfo2(), which the rung of leaks
 * asks, then counts the live bytes of each library that allocates. The C
 * library's own counts as used what a thread has freed and keeps for itself.
 * Each call appends its counts to HEAP_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *memory);

enum { SLOTS = 1 << 20, OWNERS = 256, FRAMES = 16 };

typedef struct block {
    uintptr_t at; /* 0: none */
    size_t size;
    uint32_t owner;
} block;

static block blocks[SLOTS];
static struct {
    const void *base;
    char path[256];
    size_t live;
} owners[OWNERS];
static uint32_t num_owners, num_blocks, calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside __attribute__((tls_model("initial-exec")));

static void
take(void)
{
    pthread_mutex_lock(&lock);
}

static void
give(void)
{
    pthread_mutex_unlock(&lock);
}

static int
passes_on(const char *path)
{
    return strstr(path, "/libc.so") || strstr(path, "/libstdc++") ||
           strstr(path, "heap_owner");
}

/* The library that asked; malloc on behalf of operator new is not libstdc++'s.
 */
static const void *
who(void *caller, const char **path)
{
    Dl_info info;
    void *frames[FRAMES] = {caller};
    int n = 1;
    *path = "?";
    if (dladdr(caller, &info) && info.dli_fname && passes_on(info.dli_fname))
        n = backtrace(frames, FRAMES);
    for (int i = 0; i < n; i++)
        if (dladdr(frames[i], &info) && info.dli_fname) {
            *path = info.dli_fname;
            if (!passes_on(info.dli_fname))
                return info.dli_fbase;
        }
    return NULL;
}

static uint32_t
owner_of(const void *base, const char *path)
{
    for (uint32_t i = 0; i < num_owners; i++)
        if (owners[i].base == base)
            return i;
    if (num_owners == OWNERS)
        abort();
    owners[num_owners].base = base;
    snprintf(owners[num_owners].path, sizeof owners[0].path, "%s", path);
    return num_owners++;
}

static size_t
home(uintptr_t at)
{
    return (size_t)((at >> 4) * 0x9E3779B97F4A7C15u >> 44) % SLOTS;
}

static void *
enter(void *memory, size_t size, void *caller)
{
    if (!memory || inside)
        return memory;
    const char *path;
    inside = 1;
    const void *base = who(caller, &path);
    take();
    const uint32_t o = owner_of(base, path);
    size_t i = home((uintptr_t)memory);
    while (blocks[i].at)
        i = (i + 1) % SLOTS;
    if (++num_blocks > SLOTS / 2)
        abort();
    blocks[i] = (block){(uintptr_t)memory, size, o};
    owners[o].live += size;
    give();
    inside = 0;
    return memory;
}

/* What lies behind the gap moves up, so that a search may end at a gap. */
static void
close_gap(size_t gap)
{
    for (size_t i = (gap + 1) % SLOTS; blocks[i].at; i = (i + 1) % SLOTS)
        if ((i - home(blocks[i].at)) % SLOTS >= (i - gap) % SLOTS) {
            blocks[gap] = blocks[i];
            gap = i;
        }
    blocks[gap].at = 0;
}

static void
leave(void *memory)
{
    if (!memory)
        return;
    take();
    size_t i = home((uintptr_t)memory);
    while (blocks[i].at && blocks[i].at != (uintptr_t)memory)
        i = (i + 1) % SLOTS;
    if (blocks[i].at) {
        owners[blocks[i].owner].live -= blocks[i].size;
        num_blocks--;
        close_gap(i);
    }
    give();
}

#define CALLER __builtin_return_address(0)

void *
malloc(size_t size)
{
    return enter(__libc_malloc(size), size, CALLER);
}

void *
calloc(size_t count, size_t size)
{
    return enter(__libc_calloc(count, size), count * size, CALLER);
}

void *
realloc(void *old, size_t size)
{
    leave(old);
    return enter(__libc_realloc(old, size), size, CALLER);
}

void *
memalign(size_t align, size_t size)
{
    return enter(__libc_memalign(align, size), size, CALLER);
}

void *
aligned_alloc(size_t align, size_t size)
{
    return enter(__libc_memalign(align, size), size, CALLER);
}

int
posix_memalign(void **out, size_t align, size_t size)
{
    void *memory = enter(__libc_memalign(align, size), size, CALLER);
    if (memory)
        *out = memory;
    return memory ? 0 : 12; /* ENOMEM */
}

void
free(void *memory)
{
    leave(memory);
    __libc_free(memory);
}

/* A line of the log, without stdio, which allocates. */
static void
tell(int fd, size_t bytes, const char *whose)
{
    char line[384];
    if (fd < 0)
        return;
    const int n = snprintf(line, sizeof line, "%d %u %10zu %s\n", (int)getpid(),
                           calls, bytes, whose);
    if (write(fd, line, (size_t)n) < n)
        abort();
}

static size_t
of_the_c_library(void)
{
    struct mallinfo2 (*real)(void) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "mallinfo2");
    return real ? real().uordblks : 0;
}

struct mallinfo2
mallinfo2(void)
{
    struct mallinfo2 level = {0};
    const char *log = getenv("HEAP_LOG");
    const int fd =
        log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    const size_t all = of_the_c_library();
    take();
    calls++;
    for (uint32_t i = 0; i < num_owners; i++) {
        level.uordblks += owners[i].live;
        tell(fd, owners[i].live, owners[i].path);
    }
    tell(fd, all, "the C library's own count");
    give();
    if (fd >= 0)
        close(fd);
    return level;
}

/* The first backtrace() loads a library, and so allocates. */
static void __attribute__((constructor)) prime(void)
{
    void *frames[2];
    inside = 1;
    backtrace(frames, 2);
    pthread_atfork(take, give, give);
    inside = 0;
}
