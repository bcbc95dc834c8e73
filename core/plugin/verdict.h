/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/verdict.h - remembering what the probe said of a file.
 *
 * One small file per library in $XDG_CACHE_HOME/attn (else /var/cache/attn
 * for root, else ~/.cache/attn), written by rename. Valid for one version of
 * the file, one ABI and one version of libattn. Nothing depends on it: what
 * cannot be read is unknown, what cannot be written is not remembered. */
#ifndef ATTN_PLUGIN_VERDICT_H
#define ATTN_PLUGIN_VERDICT_H

#include "plugin/file.h"

#define ATTN_VERDICT_UNKNOWN 0u
#define ATTN_VERDICT_GOOD 1u
#define ATTN_VERDICT_HARMFUL 2u

typedef struct attn_verdict {
    uint32_t kind; /* ATTN_VERDICT_* */
    int64_t when;  /* seconds since 1970 */
    char reason[304];
} attn_verdict;

/* [any] */
void attn_verdict_find(const attn_file *file, attn_verdict *verdict);
void attn_verdict_store(const attn_file *file, uint32_t kind,
                        const char *reason);

/* [any] Forgets one library's, or all (NULL). ATTN_E_IO when one cannot be
 * removed; none there is success. */
attn_status attn_verdict_forget(const char *path, attn_error *err);

#endif /* ATTN_PLUGIN_VERDICT_H */
