/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/hooks.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_uint calls;
static _Atomic(const char *) first_name;

static void
note(const char *name)
{
    if (atomic_fetch_add(&calls, 1) == 0)
        atomic_store(&first_name, name);
}

uint32_t
attn_hooks_count(const char **first)
{
    *first = atomic_load(&first_name);
    return atomic_load(&calls);
}

void
attn_hooks_reset(void)
{
    atomic_store(&calls, 0);
    atomic_store(&first_name, NULL);
}

static void *
my_malloc(size_t n)
{
    note("malloc");
    return malloc(n);
}

static void *
my_calloc(size_t n, size_t m)
{
    note("calloc");
    return calloc(n, m);
}

static void *
my_realloc(void *p, size_t n)
{
    note("realloc");
    return realloc(p, n);
}

static void *
my_aligned_alloc(size_t a, size_t n)
{
    note("aligned_alloc");
    return aligned_alloc(a, n);
}

static int
my_posix_memalign(void **p, size_t a, size_t n)
{
    note("posix_memalign");
    return posix_memalign(p, a, n);
}

static void *
my_mmap(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
    note("mmap");
    return mmap(p, n, prot, flags, fd, at);
}

static int
my_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *),
                  void *arg)
{
    note("pthread_create");
    return pthread_create(t, a, f, arg);
}

/* operator new may not return NULL: a plugin that needs it to throw is in the
 * hands of abort, in a test's child. */
static void *
my_new(size_t n)
{
    note("operator new");
    void *p = malloc(n ? n : 1);
    if (!p)
        abort();
    return p;
}

static void *
my_aligned_new(size_t n, size_t a)
{
    note("operator new");
    void *p = aligned_alloc(a, (n + a - 1) / a * a);
    if (!p)
        abort();
    return p;
}

static const struct {
    const char *name;
    void (*hook)(void);
} HOOKS[] = {
    {"malloc", (void (*)(void))my_malloc},
    {"calloc", (void (*)(void))my_calloc},
    {"realloc", (void (*)(void))my_realloc},
    {"aligned_alloc", (void (*)(void))my_aligned_alloc},
    {"posix_memalign", (void (*)(void))my_posix_memalign},
    {"mmap", (void (*)(void))my_mmap},
    {"pthread_create", (void (*)(void))my_pthread_create},
    {"_Znwm", (void (*)(void))my_new},
    {"_Znam", (void (*)(void))my_new},
    {"_ZnwmSt11align_val_t", (void (*)(void))my_aligned_new},
    {"_ZnamSt11align_val_t", (void (*)(void))my_aligned_new},
};

/* A sanitizer has allocators of its own in the way. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#if defined(__x86_64__) && defined(__linux__)
static void
patch(uintptr_t slot, const char *name)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof HOOKS / sizeof *HOOKS; i++) {
        if (strcmp(HOOKS[i].name, name) != 0)
            continue;
        void *start = (void *)(slot & ~(page - 1));
        if (mprotect(start, 2 * page, PROT_READ | PROT_WRITE) &&
            mprotect(start, page, PROT_READ | PROT_WRITE))
            return;
        memcpy((void *)slot, &HOOKS[i].hook, sizeof HOOKS[i].hook);
    }
}

static void
patch_table(const struct link_map *map, const Elf64_Rela *r, size_t bytes,
            const Elf64_Sym *symbols, const char *strings)
{
    for (size_t i = 0; r && i < bytes / sizeof *r; i++) {
        const uint32_t type = (uint32_t)ELF64_R_TYPE(r[i].r_info);
        if (type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT)
            patch(map->l_addr + r[i].r_offset,
                  strings + symbols[ELF64_R_SYM(r[i].r_info)].st_name);
    }
}

int
attn_hooks_install(const void *inside)
{
    Dl_info info;
    struct link_map *map = NULL;
    const Elf64_Rela *plt = NULL, *rela = NULL;
    const Elf64_Sym *symbols = NULL;
    const char *strings = NULL;
    size_t plt_bytes = 0, rela_bytes = 0;
    if (SANITIZED || !dladdr1(inside, &info, (void **)&map, RTLD_DL_LINKMAP) ||
        !map)
        return 0;
    for (const Elf64_Dyn *d = map->l_ld; d->d_tag != DT_NULL; d++) {
        const void *p = (const void *)(uintptr_t)d->d_un.d_ptr;
        if (d->d_tag == DT_JMPREL)
            plt = p;
        else if (d->d_tag == DT_RELA)
            rela = p;
        else if (d->d_tag == DT_SYMTAB)
            symbols = p;
        else if (d->d_tag == DT_STRTAB)
            strings = p;
        else if (d->d_tag == DT_PLTRELSZ)
            plt_bytes = d->d_un.d_val;
        else if (d->d_tag == DT_RELASZ)
            rela_bytes = d->d_un.d_val;
    }
    if (!symbols || !strings)
        return 0;
    patch_table(map, plt, plt_bytes, symbols, strings);
    patch_table(map, rela, rela_bytes, symbols, strings);
    return 1;
}
#else
int
attn_hooks_install(const void *inside)
{
    (void)inside;
    (void)HOOKS;
    return 0;
}
#endif
