/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/elf.h"

#include <elf.h>
#include <string.h>

#include "base/error.h"

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#elif defined(__riscv)
#define HOST_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define HOST_MACHINE EM_PPC64
#else
#error "name this machine's ELF number here"
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST_DATA ELFDATA2LSB
#else
#define HOST_DATA ELFDATA2MSB
#endif

#ifndef DF_1_PIE
#define DF_1_PIE 0x08000000
#endif

#define MAX_HEADERS 4096u
#define MAX_DYNAMIC 65536u
#define MAX_SYMBOLS 1000000u

#define REFUSE(err, ...) \
    attn_error_set(err, ATTN_E_REFUSED, "file", __VA_ARGS__)

static const char *
machine_name(unsigned machine)
{
    static const struct {
        unsigned machine;
        const char *name;
    } names[] = {
        {EM_386, "i386"},        {EM_ARM, "arm"},     {EM_X86_64, "x86-64"},
        {EM_AARCH64, "aarch64"}, {EM_RISCV, "riscv"}, {EM_PPC64, "ppc64"},
        {EM_S390, "s390"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].machine == machine)
            return names[i].name;
    return "unknown";
}

static attn_status
check_ident(const attn_bytes *file, Elf64_Ehdr *header, attn_error *err)
{
    unsigned char ident[EI_NIDENT];
    if (attn_bytes_read(file, 0, ident, sizeof ident) ||
        memcmp(ident, ELFMAG, SELFMAG) != 0)
        return REFUSE(err, "not an ELF file");
    if (ident[EI_CLASS] != ELFCLASS64)
        return REFUSE(err, "a 32-bit library; this host is 64-bit");
    if (ident[EI_DATA] != HOST_DATA)
        return REFUSE(err, "a %s-endian library; this host is not",
                      ident[EI_DATA] == ELFDATA2MSB ? "big" : "little");
    if (attn_bytes_read(file, 0, header, sizeof *header))
        return REFUSE(err,
                      "truncated: the ELF header is %zu bytes, file has "
                      "%llu",
                      sizeof *header, (unsigned long long)file->size);
    if (header->e_machine != HOST_MACHINE)
        return REFUSE(err, "built for machine %u (%s), this host is %u (%s)",
                      header->e_machine, machine_name(header->e_machine),
                      HOST_MACHINE, machine_name(HOST_MACHINE));
    if (header->e_type != ET_DYN)
        return REFUSE(err, "not a shared object: ELF type %u (%s)",
                      header->e_type,
                      header->e_type == ET_EXEC   ? "executable"
                      : header->e_type == ET_REL  ? "object file"
                      : header->e_type == ET_CORE ? "core dump"
                                                  : "unknown");
    return ATTN_OK;
}

static attn_status
read_segment(const attn_bytes *file, const Elf64_Ehdr *header, unsigned index,
             Elf64_Phdr *segment, attn_error *err)
{
    const uint64_t at = (uint64_t)index * sizeof *segment;
    if (header->e_phoff > file->size ||
        attn_bytes_read(file, header->e_phoff + at, segment, sizeof *segment))
        return REFUSE(err,
                      "truncated: program header %u of %u lies past the "
                      "end",
                      index, header->e_phnum);
    return ATTN_OK;
}

static attn_status
check_load(unsigned index, const Elf64_Phdr *p, uint64_t *last, attn_error *err)
{
    if (p->p_filesz > p->p_memsz)
        return REFUSE(err,
                      "segment %u has %llu bytes in the file for %llu in "
                      "memory",
                      index, (unsigned long long)p->p_filesz,
                      (unsigned long long)p->p_memsz);
    if ((p->p_align & (p->p_align - 1)) != 0 ||
        (p->p_align > 1 && (p->p_vaddr - p->p_offset) % p->p_align != 0))
        return REFUSE(err, "segment %u is not aligned to %llu", index,
                      (unsigned long long)p->p_align);
    if (p->p_vaddr < *last || p->p_vaddr + p->p_memsz < p->p_vaddr)
        return REFUSE(err, "segment %u overlaps the one before it", index);
    *last = p->p_vaddr + p->p_memsz;
    return ATTN_OK;
}

static attn_status
check_dynamic(const attn_bytes *file, const Elf64_Phdr *p, attn_error *err)
{
    const uint64_t count = p->p_filesz / sizeof(Elf64_Dyn);
    for (uint64_t i = 0; i < count && i < MAX_DYNAMIC; i++) {
        Elf64_Dyn entry;
        if (attn_bytes_read(file, p->p_offset + i * sizeof entry, &entry,
                            sizeof entry))
            return REFUSE(err, "cannot read its dynamic segment");
        if (entry.d_tag == DT_NULL)
            return ATTN_OK;
        if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_PIE))
            return REFUSE(err, "a program, not a shared object");
        if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_NOOPEN))
            return REFUSE(err, "linked -z nodlopen: it forbids being loaded");
    }
    return REFUSE(err, "its dynamic segment does not end");
}

static attn_status
check_inside(const attn_bytes *file, const char *what, unsigned index,
             uint64_t offset, uint64_t size, attn_error *err)
{
    if (offset <= file->size && size <= file->size - offset)
        return ATTN_OK;
    if (offset + size < offset)
        return REFUSE(err, "%s %u has offset %llu and size %llu", what, index,
                      (unsigned long long)offset, (unsigned long long)size);
    return REFUSE(err, "truncated: %s %u needs %llu bytes, file has %llu", what,
                  index, (unsigned long long)(offset + size),
                  (unsigned long long)file->size);
}

typedef struct {
    uint64_t last; /* end of the last PT_LOAD */
    unsigned loads, dynamics, stacks;
} segments_seen;

static attn_status
check_segment(const attn_bytes *file, unsigned i, const Elf64_Phdr *p,
              segments_seen *seen, attn_error *err)
{
    attn_status status =
        check_inside(file, "segment", i, p->p_offset, p->p_filesz, err);
    if (status == ATTN_OK && p->p_type == PT_LOAD) {
        seen->loads++;
        status = check_load(i, p, &seen->last, err);
    }
    if (status == ATTN_OK && p->p_type == PT_DYNAMIC) {
        seen->dynamics++;
        status = check_dynamic(file, p, err);
    }
    if (status == ATTN_OK && p->p_type == PT_GNU_STACK) {
        seen->stacks++;
        if (p->p_flags & PF_X)
            status = REFUSE(err, "asks for an executable stack (link it with "
                                 "-z noexecstack)");
    }
    return status;
}

static attn_status
check_segments(const attn_bytes *file, const Elf64_Ehdr *h, attn_error *err)
{
    segments_seen seen = {0, 0, 0, 0};
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 ||
        h->e_phnum > MAX_HEADERS)
        return REFUSE(err, "bad program header table: %u headers of %u bytes",
                      h->e_phnum, h->e_phentsize);
    for (unsigned i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr p;
        attn_status status = read_segment(file, h, i, &p, err);
        if (status == ATTN_OK)
            status = check_segment(file, i, &p, &seen, err);
        if (status != ATTN_OK)
            return status;
    }
    if (seen.loads == 0 || seen.dynamics != 1)
        return REFUSE(err,
                      "%u loadable and %u dynamic segments: nothing a "
                      "loader could use",
                      seen.loads, seen.dynamics);
    /* Without the header glibc takes the stack to be executable. */
    if (seen.stacks == 0)
        return REFUSE(err, "does not say that its stack is not executable "
                           "(link it with -z noexecstack)");
    return ATTN_OK;
}

static attn_status
read_section(const attn_bytes *file, const Elf64_Ehdr *h, uint64_t index,
             Elf64_Shdr *section, attn_error *err)
{
    if (h->e_shoff > file->size ||
        attn_bytes_read(file, h->e_shoff + index * sizeof *section, section,
                        sizeof *section))
        return REFUSE(err, "truncated: section header %llu lies past the end",
                      (unsigned long long)index);
    return ATTN_OK;
}

/* 1 when symbol `name` is that of the string table at `strings`. */
static int
is_entry(const attn_bytes *file, const Elf64_Shdr *strings, uint32_t name)
{
    static const char entry[] = "attn_plugin_entry";
    char text[sizeof entry];
    return name < strings->sh_size && strings->sh_size - name >= sizeof entry &&
           !attn_bytes_read(file, strings->sh_offset + name, text,
                            sizeof text) &&
           memcmp(text, entry, sizeof entry) == 0;
}

static attn_status
check_symbols(const attn_bytes *file, const Elf64_Ehdr *h,
              const Elf64_Shdr *table, uint64_t num_sections, attn_error *err)
{
    Elf64_Shdr strings;
    const uint64_t count = table->sh_size / sizeof(Elf64_Sym);
    if (table->sh_link >= num_sections)
        return REFUSE(err, "its symbol table names section %u of %llu",
                      table->sh_link, (unsigned long long)num_sections);
    attn_status status = read_section(file, h, table->sh_link, &strings, err);
    for (uint64_t i = 0; status == ATTN_OK && i < count && i < MAX_SYMBOLS;
         i++) {
        Elf64_Sym symbol;
        if (attn_bytes_read(file, table->sh_offset + i * sizeof symbol, &symbol,
                            sizeof symbol))
            return REFUSE(err, "cannot read its symbol table");
        if (symbol.st_shndx != SHN_UNDEF &&
            ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
            ELF64_ST_BIND(symbol.st_info) != STB_LOCAL &&
            is_entry(file, &strings, symbol.st_name))
            return ATTN_OK;
    }
    return status != ATTN_OK
               ? status
               : REFUSE(err, "no function attn_plugin_entry: not an attention "
                             "plugin");
}

static attn_status
check_sections(const attn_bytes *file, const Elf64_Ehdr *h, attn_error *err)
{
    Elf64_Shdr section, symbols = {.sh_type = SHT_NULL};
    uint64_t count = h->e_shnum;
    if (h->e_shoff == 0)
        return ATTN_OK;
    if (h->e_shentsize != sizeof section)
        return REFUSE(err, "section headers of %u bytes", h->e_shentsize);
    attn_status status = read_section(file, h, 0, &section, err);
    if (status == ATTN_OK && count == 0)
        count = section.sh_size; /* more than 16 bits: kept in the first */
    if (count > file->size / sizeof section)
        count = file->size / sizeof section + 1;
    for (uint64_t i = 0; status == ATTN_OK && i < count; i++) {
        status = read_section(file, h, i, &section, err);
        if (status == ATTN_OK && section.sh_type != SHT_NOBITS &&
            section.sh_type != SHT_NULL)
            status = check_inside(file, "section", (unsigned)i,
                                  section.sh_offset, section.sh_size, err);
        if (section.sh_type == SHT_DYNSYM)
            symbols = section;
    }
    if (status == ATTN_OK && symbols.sh_type == SHT_DYNSYM)
        status = check_symbols(file, h, &symbols, count, err);
    return status;
}

attn_status
attn_elf_check(const attn_bytes *file, attn_error *err)
{
    Elf64_Ehdr header;
    attn_status status = check_ident(file, &header, err);
    if (status == ATTN_OK)
        status = check_segments(file, &header, err);
    if (status == ATTN_OK)
        status = check_sections(file, &header, err);
    return status;
}

/* -------------------------------------------------------------------- note */

static attn_status
copy_text(const attn_bytes *file, uint64_t at, uint32_t length, char *text,
          size_t size, attn_error *err)
{
    char desc[ATTN_ELF_NOTE_MAX + 1];
    if (length > ATTN_ELF_NOTE_MAX)
        return REFUSE(err, "its note has %u bytes, at most %u", length,
                      ATTN_ELF_NOTE_MAX);
    if (attn_bytes_read(file, at, desc, length))
        return REFUSE(err, "its note lies past the end of the file");
    desc[length] = 0;
    const size_t used = strlen(desc);
    for (size_t i = 0; i < used; i++)
        if (desc[i] != '\n' && (desc[i] < ' ' || desc[i] > '~'))
            return REFUSE(err, "its note holds byte 0x%02x at %zu",
                          (unsigned char)desc[i], i);
    if (used >= size)
        return attn_error_set(err, ATTN_E_ARG, "size",
                              "the note needs %zu bytes, buffer has %zu",
                              used + 1, size);
    memcpy(text, desc, used + 1);
    return ATTN_OK;
}

static uint64_t
rounded(uint64_t value, uint64_t align)
{
    return (value + align - 1) / align * align;
}

/* Walks one PT_NOTE segment; NOT_FOUND without a message when it is not
 * there. */
static attn_status
find_note(const attn_bytes *file, const Elf64_Phdr *p, char *text, size_t size,
          attn_error *err)
{
    const uint64_t align = p->p_align == 8 ? 8 : 4;
    uint64_t at = 0;
    while (at < p->p_filesz && p->p_filesz - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        char name[5];
        if (attn_bytes_read(file, p->p_offset + at, &note, sizeof note))
            break;
        const uint64_t desc = rounded(at + sizeof note + note.n_namesz, align);
        const uint64_t next = rounded(desc + note.n_descsz, align);
        if (desc > p->p_filesz || note.n_descsz > p->p_filesz - desc)
            break;
        if (note.n_type == 1 && note.n_namesz == sizeof name &&
            !attn_bytes_read(file, p->p_offset + at + sizeof note, name,
                             sizeof name) &&
            memcmp(name, "ATTN", sizeof name) == 0)
            return copy_text(file, p->p_offset + desc, note.n_descsz, text,
                             size, err);
        at = next;
    }
    return ATTN_E_NOT_FOUND;
}

attn_status
attn_elf_note(const attn_bytes *file, char *text, size_t size, attn_error *err)
{
    Elf64_Ehdr header;
    attn_status status = check_ident(file, &header, err);
    if (status != ATTN_OK)
        return status;
    for (unsigned i = 0; i < header.e_phnum && i < MAX_HEADERS; i++) {
        Elf64_Phdr p;
        status = read_segment(file, &header, i, &p, err);
        if (status == ATTN_OK && p.p_type == PT_NOTE)
            status = p.p_offset > file->size
                         ? ATTN_E_NOT_FOUND
                         : find_note(file, &p, text, size, err);
        else if (status == ATTN_OK)
            status = ATTN_E_NOT_FOUND;
        if (status != ATTN_E_NOT_FOUND)
            return status;
    }
    return attn_error_set(err, ATTN_E_NOT_FOUND, "file",
                          "no note ATTN in the file");
}
