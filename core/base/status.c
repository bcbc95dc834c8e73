/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/base.h>

static const char *const names[] = {
    [ATTN_OK] = "ok",
    [ATTN_E_ARG] = "invalid argument",
    [ATTN_E_UNSUPPORTED] = "unsupported",
    [ATTN_E_VERSION] = "version mismatch",
    [ATTN_E_NOMEM] = "out of memory",
    [ATTN_E_DEVICE] = "device fault",
    [ATTN_E_WORKSPACE] = "workspace missing or short",
    [ATTN_E_CAPTURE] = "not legal during capture",
    [ATTN_E_INTERNAL] = "internal error",
    [ATTN_E_NO_DEVICE] = "no device",
    [ATTN_E_CONFIG] = "configuration error",
    [ATTN_E_IO] = "input/output error",
    [ATTN_E_NOT_FOUND] = "not found",
    [ATTN_E_REFUSED] = "refused",
    [ATTN_E_FORMAT] = "malformed file",
};

const char *
attn_status_str(attn_status status)
{
    if (status < 0 || status >= (int32_t)(sizeof names / sizeof *names))
        return "unknown status";
    return names[status];
}
