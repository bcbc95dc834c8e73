/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/base.h>

const char *
attn_version(void)
{
    return PACKAGE_VERSION;
}
