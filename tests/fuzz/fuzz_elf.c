/* SPDX-License-Identifier: Apache-2.0 */
/* The file check and the note reader, and that they agree with themselves. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "plugin/elf.h"
#include "plugin/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char note[ATTN_ELF_NOTE_MAX + 1], small[16], value[64];
    attn_error err = ATTN_ERROR_INIT;
    const attn_bytes bytes = {.memory = data, .size = size};
    const attn_status status = attn_elf_check(&bytes, &err);
    if (status != ATTN_OK && (status != ATTN_E_REFUSED || !err.message[0]))
        abort();
    const attn_status read = attn_elf_note(&bytes, note, sizeof note, &err);
    if (read == ATTN_OK) {
        const size_t length = strlen(note);
        if (length > ATTN_ELF_NOTE_MAX)
            abort();
        (void)attn_note_check_abi(note, &err);
        (void)attn_note_value(note, "id", value, sizeof value);
        if (attn_elf_note(&bytes, small, sizeof small, &err) !=
            (length < sizeof small ? ATTN_OK : ATTN_E_ARG))
            abort();
    }
    return 0;
}
