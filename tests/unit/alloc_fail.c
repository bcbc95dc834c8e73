/* SPDX-License-Identifier: Apache-2.0 */
#include "alloc_fail.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **memory, size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **memory, size_t align, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static _Atomic int counting;
static _Atomic size_t seen;
static _Atomic size_t fails_at;

void
alloc_fail_start(size_t fail_at)
{
    seen = 0;
    fails_at = fail_at;
    counting = 1;
}

size_t
alloc_fail_stop(void)
{
    counting = 0;
    return seen;
}

static int
must_fail(void)
{
    if (!counting || atomic_fetch_add(&seen, 1) != fails_at)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *
__wrap_malloc(size_t size)
{
    return must_fail() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
    return must_fail() ? NULL : __real_realloc(old, size);
}

void *
__wrap_aligned_alloc(size_t align, size_t size)
{
    return must_fail() ? NULL : __real_aligned_alloc(align, size);
}

int
__wrap_posix_memalign(void **memory, size_t align, size_t size)
{
    return must_fail() ? ENOMEM : __real_posix_memalign(memory, align, size);
}

char *
__wrap_strndup(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    char *copy = must_fail() ? NULL : __real_malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

char *
__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, strlen(text));
}
