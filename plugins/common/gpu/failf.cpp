// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/device.h"

#include <cstdarg>
#include <cstdio>

namespace gpu
{

attn_status
failf(attn_error *err, attn_status status, const char *where, const char *format, ...)
{
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return attn_fail(err, status, where, text);
}

} // namespace gpu
