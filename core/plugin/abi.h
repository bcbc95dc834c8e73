/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/abi.h - is what a plugin offers well formed?
 *
 * One abi_N.c per major the host speaks: it checks the tables of that major
 * and, once there are older ones, presents them as the newest. */
#ifndef ATTN_PLUGIN_ABI_H
#define ATTN_PLUGIN_ABI_H

#include <attn/plugin.h>

/* The majors this host speaks: every one since 1.0. */
#define ATTN_ABI_MAJOR_LO 1
#define ATTN_ABI_MAJOR_HI ATTN_ABI_MAJOR

/* [any] The table a plugin gave for `major`, checked whole: sizes, counts,
 * strings, pointers, reserved fields, feature bits, names, claims, and its
 * answers to extension ids. later: of a minor this host does not know, so
 * that claims of bits it does not know are no garbage. ATTN_E_REFUSED: one
 * exact reason. */
attn_status attn_abi_check(uint16_t major, uint32_t later, const void *table,
                           const attn_plugin **plugin, attn_error *err);

/* ------------------------------------------------- between the abi_1 files */

/* One string: not NULL, at most max bytes, at least one unless empty_ok, and
 * only printable bytes; with charset only those. */
typedef struct attn_abi_text {
    const char *where; /* "attn_plugin.id" */
    const char *charset;
    uint32_t max;
    uint32_t empty_ok;
} attn_abi_text;
attn_status attn_abi_text_check(const attn_abi_text *rule, const char *text,
                                attn_error *err);

attn_status attn_abi_size_check(const char *where, uint32_t size,
                                uint32_t least, attn_error *err);

/* One required function pointer of a table: its name and place. */
typedef struct attn_abi_slot {
    const char *name;
    size_t offset;
} attn_abi_slot;
attn_status attn_abi_slots_check(const char *where, const void *table,
                                 const attn_abi_slot *slots, size_t count,
                                 attn_error *err);

attn_status attn_abi_1_backend_check(uint32_t index, uint32_t later,
                                     const attn_backend *backend,
                                     attn_error *err);
attn_status attn_abi_1_options_check(const attn_plugin *plugin,
                                     attn_error *err);

#define ATTN_ABI_REFUSE(err, ...) \
    attn_error_set(err, ATTN_E_REFUSED, "plugin", __VA_ARGS__)

#endif /* ATTN_PLUGIN_ABI_H */
