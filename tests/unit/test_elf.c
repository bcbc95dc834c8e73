/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/elf.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <attn/registry.h>

#include "unit.h"

static attn_error err;
static char *plugin; /* the bytes of the hello plugin */
static size_t size;

static void
load_plugin(void)
{
    char path[4096];
    const char *top = getenv("top_builddir");
    snprintf(path, sizeof path, "%s/.libs/attn_hello.so", top ? top : ".");
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "no %s", path);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    size = (size_t)ftell(f);
    rewind(f);
    plugin = malloc(size);
    ck_assert_uint_eq(fread(plugin, 1, size, f), size);
    fclose(f);
}

static Elf64_Ehdr *
header(void)
{
    return (Elf64_Ehdr *)(void *)plugin;
}

static Elf64_Phdr *
segment(unsigned type)
{
    Elf64_Phdr *p = (Elf64_Phdr *)(void *)(plugin + header()->e_phoff);
    for (unsigned i = 0; i < header()->e_phnum; i++)
        if (p[i].p_type == type)
            return p + i;
    ck_abort_msg("no segment of type %u", type);
    return NULL;
}

static attn_status
check(void)
{
    return attn_elf_check(&(attn_bytes){.memory = plugin, .size = size}, &err);
}

START_TEST(whole_file_passes)
{
    load_plugin();
    ck_assert_good(check(), err);
    free(plugin);
}
END_TEST

START_TEST(every_cut_is_refused)
{
    load_plugin();
    for (size_t cut = 0; cut < size; cut++) {
        char *copy = malloc(cut + 1); /* exact: a sanitizer sees overreads */
        memcpy(copy, plugin, cut);
        err = ATTN_ERROR_INIT;
        const attn_bytes bytes = {.memory = copy, .size = cut};
        ck_assert_int_eq(attn_elf_check(&bytes, &err), ATTN_E_REFUSED);
        ck_assert(strstr(err.message, "truncated") ||
                  strstr(err.message, "not an ELF"));
        free(copy);
    }
    free(plugin);
}
END_TEST

/* What the check passes, the loader survives: each cut goes to a file, and a
 * child loads those that pass. */
START_TEST(no_cut_kills_the_loader)
{
    char path[] = "/tmp/attn-cut-XXXXXX";
    load_plugin();
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, plugin, size), (ssize_t)size);
    unsigned loaded = 0;
    for (size_t cut = size + 1; cut-- > 0;) {
        ck_assert_int_eq(ftruncate(fd, (off_t)cut), 0);
        if (attn_plugin_file_check(path, &err) != ATTN_OK)
            continue;
        loaded++;
        const pid_t child = fork();
        if (child == 0) {
            void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
            _exit(handle && dlsym(handle, "attn_plugin_entry") ? 0 : 1);
        }
        int status = 0;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "cut at %zu: status %d", cut, status);
    }
    ck_assert_uint_ge(loaded, 1);
    close(fd);
    unlink(path);
    free(plugin);
}
END_TEST

START_TEST(header_faults)
{
    load_plugin();
    header()->e_ident[EI_CLASS] = ELFCLASS32;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "a 32-bit library");
    header()->e_ident[EI_CLASS] = ELFCLASS64;
    header()->e_ident[EI_DATA] = ELFDATA2MSB;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "a big-endian library");
    header()->e_ident[EI_DATA] = ELFDATA2LSB;
    const Elf64_Half machine = header()->e_machine;
    header()->e_machine = EM_S390;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "built for machine 22");
    header()->e_machine = machine;
    header()->e_type = ET_REL;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "ELF type 1 (object file)");
    header()->e_type = ET_DYN;
    header()->e_phnum = 0;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "0 headers");
    free(plugin);
}
END_TEST

START_TEST(segment_faults)
{
    load_plugin();
    segment(PT_GNU_STACK)->p_flags |= PF_X;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "an executable stack");
    segment(PT_GNU_STACK)->p_flags &= ~(Elf64_Word)PF_X;
    segment(PT_GNU_STACK)->p_type = PT_NULL;
    ck_assert_error(check(), err, ATTN_E_REFUSED,
                    "does not say that its stack");
    segment(PT_NULL)->p_type = PT_GNU_STACK;
    segment(PT_LOAD)->p_filesz = UINT64_MAX;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "truncated: segment");
    segment(PT_LOAD)->p_filesz = 1;
    segment(PT_LOAD)->p_memsz = 0;
    ck_assert_error(check(), err, ATTN_E_REFUSED, "1 bytes in the file for 0");
    free(plugin);
}
END_TEST

START_TEST(programs_are_refused)
{
    ck_assert_error(attn_plugin_file_check("/proc/self/exe", &err), err,
                    ATTN_E_REFUSED, "");
    ck_assert(strstr(err.message, "a program") ||
              strstr(err.message, "executable"));
}
END_TEST

START_TEST(things_that_are_no_files)
{
    ck_assert_error(attn_plugin_file_check("/no/such.so", &err), err,
                    ATTN_E_REFUSED, "/no/such.so: No such file");
    ck_assert_error(attn_plugin_file_check("/tmp", &err), err, ATTN_E_REFUSED,
                    "not a regular file");
    ck_assert_error(attn_plugin_file_check("/dev/null", &err), err,
                    ATTN_E_REFUSED, "not a regular file");
    char dir[] = "/tmp/attn-elf-XXXXXX", fifo[64], loop[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(fifo, sizeof fifo, "%s/fifo.so", dir);
    snprintf(loop, sizeof loop, "%s/loop.so", dir);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    ck_assert_int_eq(symlink(loop, loop), 0);
    ck_assert_error(attn_plugin_file_check(fifo, &err), err, ATTN_E_REFUSED,
                    "not a regular file");
    ck_assert_error(attn_plugin_file_check(loop, &err), err, ATTN_E_REFUSED,
                    "Too many levels");
    unlink(fifo);
    unlink(loop);
    rmdir(dir);
}
END_TEST

START_TEST(note_is_read)
{
    char text[256];
    load_plugin();
    attn_bytes bytes = {.memory = plugin, .size = size};
    ck_assert_good(attn_elf_note(&bytes, text, sizeof text, &err), err);
    ck_assert_str_eq(text, "abi=" ATTN_STR(ATTN_ABI_MAJOR) "." ATTN_STR(
                               ATTN_ABI_MINOR) "\nid=org.example.hello\n"
                                               "version=0.1.0\ndevice=cpu\n"
                                               "backends=hello\n");
    ck_assert_error(attn_elf_note(&bytes, text, 10, &err), err, ATTN_E_ARG,
                    "buffer has 10");
    while (segment(PT_NOTE)) {
        segment(PT_NOTE)->p_type = PT_NULL;
        if (attn_elf_note(&bytes, text, sizeof text, &err) != ATTN_OK)
            break;
    }
    ck_assert_error(attn_elf_note(&bytes, text, sizeof text, &err), err,
                    ATTN_E_NOT_FOUND, "no note ATTN");
    free(plugin);
}
END_TEST

/* Any single damaged byte: an answer, never a crash; under a sanitizer this
 * is the proof that nothing is read outside. */
START_TEST(damaged_bytes)
{
    char text[ATTN_ELF_NOTE_MAX];
    load_plugin();
    const size_t table = header()->e_phoff + header()->e_phnum * 56u;
    for (size_t at = 0; at < table; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            const attn_bytes bytes = {.memory = plugin, .size = size};
            plugin[at] = (char)(plugin[at] ^ (1 << bit));
            (void)attn_elf_check(&bytes, &err);
            (void)attn_elf_note(&bytes, text, sizeof text, &err);
            plugin[at] = (char)(plugin[at] ^ (1 << bit));
        }
    ck_assert_good(check(), err);
    free(plugin);
}
END_TEST

UNIT_MAIN("elf", 300, whole_file_passes, every_cut_is_refused,
          no_cut_kills_the_loader, header_faults, segment_faults,
          programs_are_refused, things_that_are_no_files, note_is_read,
          damaged_bytes)
