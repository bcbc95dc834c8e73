/* SPDX-License-Identifier: Apache-2.0 */
/* config/keys.h - every section and key of attn.ini, as data. */
#ifndef ATTN_CONFIG_KEYS_H
#define ATTN_CONFIG_KEYS_H

#include <stddef.h>

#include "base/error.h"

#define ATTN_KEY_TEXT 0u
#define ATTN_KEY_INT 1u      /* lo..hi */
#define ATTN_KEY_CHOICE 2u   /* one of choices */
#define ATTN_KEY_PATHS 3u    /* absolute directories, colon-separated */
#define ATTN_KEY_LOG 4u      /* a log filter */
#define ATTN_KEY_LIBRARY 5u  /* an absolute path or a bare file name */
#define ATTN_KEY_SHA256 6u   /* empty or 64 hexadecimal digits */
#define ATTN_KEY_BACKENDS 7u /* "auto", or backend names, comma-separated */
#define ATTN_KEY_TIME 8u     /* microseconds, above 0 */

typedef struct attn_key {
    const char *name;
    uint32_t type;     /* ATTN_KEY_* */
    const char *value; /* the default; NULL: none */
    const char *choices;
    int64_t lo, hi;
    const char *help;
} attn_key;

#define ATTN_SECTION_ATTN 0u
#define ATTN_SECTION_PLUGIN 1u  /* [plugin NAME] */
#define ATTN_SECTION_SELECT 2u  /* [select] */
#define ATTN_SECTION_LAYERS 3u  /* [select layers A-B] */
#define ATTN_SECTION_PROFILE 4u /* [profile NAME] */

/* [any] The table of a kind of section; *count its length. */
const attn_key *attn_key_table(uint32_t kind, size_t *count);

/* [any] The entry for a key of such a section. Plugin sections also take
 * option.NAME, profiles layer.FIELD and time_us.BACKEND, select sections
 * FAMILY_ID[.prefill|.decode] of families this library does not know (an id
 * holds a '/'). ATTN_E_ARG, "unknown key ...", with the nearest known one. */
attn_status attn_key_find(uint32_t kind, const char *name, const attn_key **key,
                          attn_error *err);

/* [any] Whether value is good for key. ATTN_E_ARG with the reason. */
attn_status attn_key_check(const attn_key *key, const char *value,
                           attn_error *err);

/* [any] 1 for a backend's name: [a-z0-9._-], 1..31 bytes. */
int attn_backend_name_valid(const char *name, size_t length);

#endif /* ATTN_CONFIG_KEYS_H */
