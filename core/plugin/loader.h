/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/loader.h - from a checked file to a checked table.
 *
 * The same steps run in the probe child and then in the host. */
#ifndef ATTN_PLUGIN_LOADER_H
#define ATTN_PLUGIN_LOADER_H

#include <attn/plugin.h>

#include "plugin/file.h"

typedef attn_status (*attn_entry_function)(attn_handshake *hs);

/* [any] dlopen (now, local, never unloaded) and find attn_plugin_entry in the
 * file itself. ATTN_E_NO_DEVICE: a driver library it links to is absent.
 * ATTN_E_REFUSED: the loader's text, or another version of the file is
 * already loaded in this process. */
attn_status attn_loader_open(const attn_file *file, attn_entry_function *entry,
                             attn_error *err);

/* [any] A plugin serves one registry at a time. ATTN_E_REFUSED when another
 * has this loaded file. */
attn_status attn_loader_claim(const char *path, attn_error *err);
void attn_loader_release(const char *path);

/* [main] The handshake, in the caller's (zeroed) block, and the check of the
 * table. ATTN_E_REFUSED says which side wanted what. */
attn_status attn_loader_shake(attn_entry_function entry, const attn_host *host,
                              attn_handshake *hs, const attn_plugin **plugin,
                              attn_error *err);

/* [any] ATTN_E_REFUSED when the table is not what the note says: id, version,
 * and each backend named in its list. note: "" when there is none. */
attn_status attn_loader_compare(const attn_plugin *plugin, const char *note,
                                attn_error *err);

/* [any] The value of "key=" in a note; 1 when it is there. */
int attn_note_value(const char *note, const char *key, char *value,
                    size_t size);

/* [any] ATTN_E_REFUSED when the note names an ABI that this host does not
 * speak: known without running any of the plugin's code. */
attn_status attn_note_check_abi(const char *note, attn_error *err);

#endif /* ATTN_PLUGIN_LOADER_H */
