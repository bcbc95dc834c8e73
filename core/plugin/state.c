/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/registry.h>

const char *
attn_state_str(uint32_t state)
{
    static const char *const names[] = {
        [ATTN_STATE_READY] = "ready",
        [ATTN_STATE_SKIPPED] = "skipped",
        [ATTN_STATE_REFUSED] = "refused",
        [ATTN_STATE_QUARANTINED] = "quarantined",
        [ATTN_STATE_SHADOWED] = "shadowed",
        [ATTN_STATE_DISABLED] = "disabled",
    };
    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}
