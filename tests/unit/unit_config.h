/* SPDX-License-Identifier: Apache-2.0 */
/* unit_config.h - for tests that load a plugin where it was built: who may
 * write there is not what they are about. */
#ifndef ATTN_TESTS_UNIT_CONFIG_H
#define ATTN_TESTS_UNIT_CONFIG_H

#include <attn/config.h>

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

#endif /* ATTN_TESTS_UNIT_CONFIG_H */
