/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as attn.ini: refused with file and line, or every value stands
 * whole in the text at the line it names. */
#define _GNU_SOURCE
#include <attn/config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int good)
{
    if (!good)
        abort();
}

/* 1 when the line of this number holds text. */
static int
line_holds(const char *data, size_t size, uint32_t line, const char *text)
{
    const char *p = data, *end = data + size;
    for (uint32_t i = 1; i < line && p; i++) {
        p = memchr(p, '\n', (size_t)(end - p));
        p = p ? p + 1 : NULL;
    }
    if (!p)
        return 0;
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    size_t n = (size_t)((stop ? stop : end) - p);
    return memmem(p, n, text, strlen(text)) != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    attn_config *config;
    attn_error err = {.struct_size = sizeof err};
    attn_status s = attn_config_parse("f", text, size, &config, &err);
    if (s != ATTN_OK) {
        require(s == ATTN_E_CONFIG && strncmp(err.message, "f:", 2) == 0);
        return 0;
    }
    for (size_t i = 0; i < attn_config_count(config); i++) {
        const attn_config_value *v = attn_config_at(config, i);
        require(v->line == 0 || line_holds(text, size, v->line, v->value));
        require(attn_config_get(config, v->section, v->key) == v->value);
    }
    attn_config_free(config);
    return 0;
}
