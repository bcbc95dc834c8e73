/* SPDX-License-Identifier: Apache-2.0 */
/* verify/hooks.h - counting what a loaded plugin asks of the C library. */
#ifndef ATTN_VERIFY_HOOKS_H
#define ATTN_VERIFY_HOOKS_H

#include <stdint.h>

/* [main] Redirects the plugin's own references to allocation, mapping and
 * thread creation to counters. The plugin is the object that `inside` lies
 * in. For good: only in a process that ends soon. 0 where this system's
 * objects cannot be patched. */
int attn_hooks_install(const void *inside);

/* [any] Calls since the last reset; *first is the name of the first. */
uint32_t attn_hooks_count(const char **first);
void attn_hooks_reset(void);

#endif
