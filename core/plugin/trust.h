/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/trust.h - may code from this path run in this process? */
#ifndef ATTN_PLUGIN_TRUST_H
#define ATTN_PLUGIN_TRUST_H

#include <attn/types.h>

/* [any] path: absolute and canonical. The file and each directory above it
 * belong to root or the effective user, and nobody else may write them; group
 * write is allowed to root's group and to the user's private group (same
 * number as the user). A sticky world-writable directory (/tmp) passes: the
 * entry below it is checked. ATTN_E_REFUSED names the component. */
attn_status attn_trust_check(const char *path, attn_error *err);

#endif /* ATTN_PLUGIN_TRUST_H */
