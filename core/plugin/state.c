/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/registry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

int
attn_entry_is_on(const attn_entry *entry, const char *device)
{
    char *end;
    if (!device || entry->num_devices == 0)
        return 1;
    if (strcmp(entry->device, device) == 0)
        return 1;
    if (device[0] < '0' || device[0] > '9')
        return 0;
    errno = 0;
    const unsigned long number = strtoul(device, &end, 10);
    return !errno && !*end && number == entry->device_index;
}
