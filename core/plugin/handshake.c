/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "plugin/abi.h"
#include "plugin/loader.h"

#define REFUSE(err, ...) \
    attn_error_set(err, ATTN_E_REFUSED, "handshake", __VA_ARGS__)

/* What the host offers, as numbers that comparisons may meet. */
static const int major_lo = ATTN_ABI_MAJOR_LO, major_hi = ATTN_ABI_MAJOR_HI;

static void
fill(attn_handshake *hs, const attn_host *host)
{
    memset(hs, 0, sizeof *hs);
    hs->magic = ATTN_MAGIC_ASK;
    hs->size = sizeof *hs;
    hs->host_major_lo = ATTN_ABI_MAJOR_LO;
    hs->host_major_hi = ATTN_ABI_MAJOR_HI;
    hs->host_minor = ATTN_ABI_MINOR;
    hs->host = host;
}

/* Whose turn it is to change. */
static const char *
advice(const attn_handshake *hs)
{
    if (hs->plugin_major_lo > major_hi ||
        (hs->plugin_major_lo == major_hi && hs->need_minor > ATTN_ABI_MINOR))
        return " (upgrade libattn)";
    if (hs->plugin_major_hi < major_lo)
        return " (rebuild the plugin)";
    return "";
}

static attn_status
refused(const attn_handshake *hs, attn_status answer, attn_error *err)
{
    static const attn_abi_text rule = {"refusal", NULL, 200, 1};
    const char *says = hs->refusal;
    if (!says || attn_abi_text_check(&rule, says, NULL) != ATTN_OK)
        says = "(nothing)";
    return REFUSE(err,
                  "refused (status %d): plugin speaks ABI %u..%u.%u, host "
                  "%d..%d.%d; plugin says: %s%s",
                  answer, hs->plugin_major_lo, hs->plugin_major_hi,
                  hs->plugin_minor, ATTN_ABI_MAJOR_LO, ATTN_ABI_MAJOR_HI,
                  ATTN_ABI_MINOR, says, advice(hs));
}

static attn_status
check_minor(const attn_handshake *hs, attn_error *err)
{
    if (hs->chosen_major == major_hi && hs->need_minor > ATTN_ABI_MINOR)
        return REFUSE(err,
                      "plugin needs host ABI >= %u.%u, this host is %d.%d: "
                      "upgrade libattn",
                      hs->chosen_major, hs->need_minor, ATTN_ABI_MAJOR,
                      ATTN_ABI_MINOR);
    return ATTN_OK;
}

static int
reserved_used(const attn_handshake *hs)
{
    uint64_t bits = hs->reserved16[0] | (uint64_t)hs->reserved16[1];
    for (size_t i = 0; i < sizeof hs->reserved / sizeof hs->reserved[0]; i++)
        bits |= hs->reserved[i];
    return bits != 0;
}

static attn_status
check_answer(const attn_handshake *hs, attn_status answer, attn_error *err)
{
    if (hs->magic != ATTN_MAGIC_ACK)
        return REFUSE(err, "handshake not acknowledged (status %d)", answer);
    if (hs->accepted == 0 || answer != ATTN_OK)
        return refused(hs, answer, err);
    if (hs->accepted != 1)
        return REFUSE(err, "accepted is %u, need 0 or 1", hs->accepted);
    if (hs->chosen_major < major_lo || hs->chosen_major > major_hi)
        return REFUSE(err, "plugin chose ABI %u, host offered %d..%d",
                      hs->chosen_major, ATTN_ABI_MAJOR_LO, ATTN_ABI_MAJOR_HI);
    if (hs->chosen_major < hs->plugin_major_lo ||
        hs->chosen_major > hs->plugin_major_hi)
        return REFUSE(err, "plugin chose ABI %u, but speaks %u..%u",
                      hs->chosen_major, hs->plugin_major_lo,
                      hs->plugin_major_hi);
    if (reserved_used(hs))
        return REFUSE(err, "reserved fields of the handshake are not zero");
    if (!hs->plugin)
        return REFUSE(err, "accepted, but gives no plugin table");
    return check_minor(hs, err);
}

static uint32_t
is_later(const attn_handshake *hs)
{
    return hs->plugin_major_hi > major_hi ||
           (hs->plugin_major_hi == major_hi &&
            hs->plugin_minor > ATTN_ABI_MINOR);
}

attn_status
attn_loader_shake(attn_entry_function entry, const attn_host *host,
                  attn_handshake *hs, const attn_plugin **plugin,
                  attn_error *err)
{
    fill(hs, host);
    const attn_status answer = entry(hs);
    attn_status status = check_answer(hs, answer, err);
    if (status == ATTN_OK)
        status = attn_abi_check(hs->chosen_major, is_later(hs), hs->plugin,
                                plugin, err);
    return status;
}
