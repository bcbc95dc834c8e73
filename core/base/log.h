/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.h - writing to the log. Sink and filter: attn/base.h. */
#ifndef ATTN_BASE_LOG_H
#define ATTN_BASE_LOG_H

#include <attn/plugin.h>

#include "base/error.h"

/* Subsystems: "base", "batch", "config", "plugin", "select", "runtime",
 * "verify", "tools". Others take the general level. */

/* [any] 1 when a line of this level and subsystem would be shown. Cheap. */
int attn_log_wants(int32_t level, const char *subsystem);

/* [any] One line without newline, cut at 1000 bytes, control bytes shown as
 * '?'. level: ATTN_LOG_* of plugin.h; numbers above 6 count as warn. */
void attn_log_write(int32_t level, const char *subsystem, const char *fmt, ...)
    ATTN_PRINTF(3, 4);

/* [any] Whether attn_log_configure would take this filter. */
attn_status attn_log_check(const char *spec, attn_error *err);

/* [any] "warn"; misbehaving levels are "warn". */
const char *attn_log_level_str(int32_t level);

#endif /* ATTN_BASE_LOG_H */
