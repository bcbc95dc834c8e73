/* SPDX-License-Identifier: Apache-2.0 */
/* attn/base.h - versions, names and the log of libattn. */
#ifndef ATTN_BASE_H
#define ATTN_BASE_H

#include <attn/api.h>
#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* [any] "0.1.0". Static. */
ATTN_API const char *attn_version(void);

/* [any] "unsupported" for ATTN_E_UNSUPPORTED; "unknown status" for a number
 * that is none. Static. */
ATTN_API const char *attn_status_str(attn_status status);

/* [any] "bf16", "f32", "f16", "f64", "e4m3", "e5m2", "i32", "i64", "u8"; "?"
 * for others. Static. */
ATTN_API const char *attn_dtype_str(attn_dtype dtype);

/* [any] The inverse. ATTN_E_ARG names the text and lists what is known. */
ATTN_API attn_status attn_dtype_parse(const char *text, attn_dtype *dtype,
                                      attn_error *err);

/* Receives each line that passes the filter. level: ATTN_LOG_*. May be called
 * from any thread; must not call libattn. */
typedef void (*attn_log_sink)(void *arg, int32_t level, const char *subsystem,
                              const char *text);

/* [main] Where log lines go; NULL: stderr, which is the default. */
ATTN_API void attn_log_set_sink(attn_log_sink sink, void *arg);

/* [main] Filter: "warn", or with subsystems "warn,plugin:debug". Levels:
 * error warn info debug trace. The default is warn; ATTN_LOG and [attn] log
 * end here. ATTN_E_ARG names the bad word; the old filter then stays. */
ATTN_API attn_status attn_log_configure(const char *spec, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_BASE_H */
