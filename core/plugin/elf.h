/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/elf.h - what can be said of a plugin's file without loading it. */
#ifndef ATTN_PLUGIN_ELF_H
#define ATTN_PLUGIN_ELF_H

#include <attn/types.h>

#include "plugin/bytes.h"

#define ATTN_ELF_NOTE_MAX 4096u /* bytes of a note's text */

/* [any] ATTN_E_REFUSED with the reason unless the file is a whole shared
 * object of this machine: class, byte order, machine, type (executables and
 * position-independent ones are refused), every segment, the section-header
 * table and every section inside the file, no executable stack, and, where a
 * symbol table is described, attn_plugin_entry defined in it. */
attn_status attn_elf_check(const attn_bytes *file, attn_error *err);

/* [any] The text of note "ATTN", type 1, NUL-terminated. ATTN_E_NOT_FOUND:
 * there is none. ATTN_E_REFUSED: malformed. ATTN_E_ARG: size too small. */
attn_status attn_elf_note(const attn_bytes *file, char *text, size_t size,
                          attn_error *err);

#endif /* ATTN_PLUGIN_ELF_H */
