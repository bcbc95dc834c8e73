/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/sha256.h - SHA-256 (FIPS 180-4) of a file. */
#ifndef ATTN_PLUGIN_SHA256_H
#define ATTN_PLUGIN_SHA256_H

#include "plugin/bytes.h"

#define ATTN_SHA256_TEXT 65 /* 64 lower-case hexadecimal digits and a NUL */

/* [any] 0, or -1 when the file cannot be read to its end. */
int attn_sha256_hex(const attn_bytes *bytes, char hex[ATTN_SHA256_TEXT]);

#endif /* ATTN_PLUGIN_SHA256_H */
