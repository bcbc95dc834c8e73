/* SPDX-License-Identifier: Apache-2.0 */
/* unit_config.h - for tests that load a plugin where it was built: who may
 * write there is not what they are about. */
#ifndef ATTN_TESTS_UNIT_CONFIG_H
#define ATTN_TESTS_UNIT_CONFIG_H

#include <attn/config.h>
#include <attn/registry.h>
#include <stdio.h>
#include <stdlib.h>

#include "unit.h"

static inline attn_config *
unit_trusting_config(void)
{
    static const char text[] = "[attn]\ntrust = off\n";
    attn_config *config = NULL;
    attn_error err;
    ck_assert_good(
        attn_config_parse("test", text, sizeof text - 1, &config, &err), err);
    return config;
}

/* A registry of one library of the build tree, with the configuration that it
 * uses. */
static inline attn_registry *
unit_registry_of(const char *library, attn_config **config)
{
    char path[4096];
    const char *top = getenv("top_builddir");
    attn_registry *registry = NULL;
    attn_error err = ATTN_ERROR_INIT;
    snprintf(path, sizeof path, "%s/.libs/%s", top ? top : ".", library);
    *config = unit_trusting_config();
    const attn_registry_params params = {
        .struct_size = sizeof params, .config = *config, .only_library = path};
    ck_assert_good(attn_registry_open(&params, &registry, &err), err);
    return registry;
}

#endif /* ATTN_TESTS_UNIT_CONFIG_H */
