/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/abi.h"

#include <string.h>

#include <attn/abi_layout.h>

#include "base/error.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

attn_status
attn_abi_size_check(const char *where, uint32_t size, uint32_t least,
                    attn_error *err)
{
    if (size >= least && size <= ATTN_STRUCT_SIZE_MAX)
        return ATTN_OK;
    return ATTN_ABI_REFUSE(err, "%s.struct_size %u, need %u..%u", where, size,
                           least, ATTN_STRUCT_SIZE_MAX);
}

attn_status
attn_abi_text_check(const attn_abi_text *rule, const char *text,
                    attn_error *err)
{
    if (!text)
        return ATTN_ABI_REFUSE(err, "%s is NULL", rule->where);
    const size_t length = strnlen(text, rule->max + 1u);
    if (length > rule->max)
        return ATTN_ABI_REFUSE(err, "%s is longer than %u bytes", rule->where,
                               rule->max);
    if (length == 0 && !rule->empty_ok)
        return ATTN_ABI_REFUSE(err, "%s is empty", rule->where);
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f ||
            (rule->charset && !strchr(rule->charset, c)))
            return ATTN_ABI_REFUSE(err,
                                   "%s '%s': byte 0x%02x at %zu is not "
                                   "allowed",
                                   rule->where, text, c, i);
    }
    return ATTN_OK;
}

attn_status
attn_abi_slots_check(const char *where, const void *table,
                     const attn_abi_slot *slots, size_t count, attn_error *err)
{
    for (size_t i = 0; i < count; i++) {
        void (*function)(void);
        memcpy(&function, (const char *)table + slots[i].offset,
               sizeof function);
        if (!function)
            return ATTN_ABI_REFUSE(err, "%s: required function %s is NULL",
                                   where, slots[i].name);
    }
    return ATTN_OK;
}

/* ----------------------------------------------------------------- plugin */

static attn_status
check_texts(const attn_plugin *p, attn_error *err)
{
    static const attn_abi_text rules[] = {
        {"attn_plugin.id", NULL, 63, 0},
        {"attn_plugin.version", NULL, 31, 0},
        {"attn_plugin.vendor", NULL, 127, 1},
        {"attn_plugin.url", NULL, 255, 1},
        {"attn_plugin.license", NULL, 127, 1},
    };
    const char *const texts[] = {p->id, p->version, p->vendor, p->url,
                                 p->license};
    attn_status status = ATTN_OK;
    for (size_t i = 0; status == ATTN_OK && i < COUNT(rules); i++)
        status = attn_abi_text_check(&rules[i], texts[i], err);
    return status;
}

static attn_status
check_functions(const attn_plugin *p, attn_error *err)
{
    static const attn_abi_slot slots[] = {
        {"get_extension", offsetof(attn_plugin, get_extension)},
        {"init", offsetof(attn_plugin, init)},
        {"shutdown", offsetof(attn_plugin, shutdown)},
        {"open", offsetof(attn_plugin, open)},
        {"close", offsetof(attn_plugin, close)},
    };
    return attn_abi_slots_check("attn_plugin", p, slots, COUNT(slots), err);
}

static attn_status
check_backends(const attn_plugin *p, uint32_t later, attn_error *err)
{
    if (p->num_backends < 1 || p->num_backends > 64)
        return ATTN_ABI_REFUSE(err, "attn_plugin.num_backends %u, need 1..64",
                               p->num_backends);
    if (!p->backends)
        return ATTN_ABI_REFUSE(err, "attn_plugin.backends is NULL");
    for (uint32_t i = 0; i < p->num_backends; i++) {
        attn_status status =
            attn_abi_1_backend_check(i, later, p->backends[i], err);
        if (status != ATTN_OK)
            return status;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(p->backends[i]->name, p->backends[j]->name) == 0)
                return ATTN_ABI_REFUSE(err,
                                       "backends %u and %u are both named "
                                       "'%s'",
                                       j, i, p->backends[i]->name);
    }
    return ATTN_OK;
}

/* ------------------------------------------------------------- extensions */

static attn_status
check_device_service(const void *service, attn_error *err)
{
#define SLOT(f)                              \
    {                                        \
#f, offsetof(attn_device_service, f) \
    }
    static const attn_abi_slot slots[] = {
        SLOT(count),          SLOT(info),          SLOT(memory_info),
        SLOT(alloc),          SLOT(free),          SLOT(copy),
        SLOT(fill),           SLOT(stream_create), SLOT(stream_synchronize),
        SLOT(stream_destroy), SLOT(event_create),  SLOT(event_record),
        SLOT(event_wait),     SLOT(event_elapsed), SLOT(event_destroy),
        SLOT(graph_begin),    SLOT(graph_end),     SLOT(graph_launch),
        SLOT(graph_destroy),
    };
#undef SLOT
    const attn_device_service *s = service;
    attn_status status = attn_abi_size_check(
        ATTN_DEVICE_SERVICE, s->struct_size, ATTN_DEVICE_SERVICE_SIZE_1_0, err);
    if (status == ATTN_OK && s->reserved != 0)
        status = ATTN_ABI_REFUSE(err, "%s.reserved is %u, not 0",
                                 ATTN_DEVICE_SERVICE, s->reserved);
    if (status == ATTN_OK)
        status = attn_abi_slots_check(ATTN_DEVICE_SERVICE, s, slots,
                                      COUNT(slots), err);
    return status;
}

static attn_status
check_extensions(const attn_plugin *p, attn_error *err)
{
    static const char *const strangers[] = {"", "attn.no.such/1",
                                            ATTN_DEVICE_SERVICE "0",
                                            "attn.device", "attn.op.flash/1 "};
    for (size_t i = 0; i < COUNT(strangers); i++)
        if (p->get_extension(strangers[i]))
            return ATTN_ABI_REFUSE(err,
                                   "get_extension answers the unknown id "
                                   "'%s'",
                                   strangers[i]);
    const void *service = p->get_extension(ATTN_DEVICE_SERVICE);
    if (service)
        return check_device_service(service, err);
    for (uint32_t i = 0; i < p->num_backends; i++)
        if (p->backends[i]->device_type != ATTN_DEVICE_CPU)
            return ATTN_ABI_REFUSE(err,
                                   "backend %s runs on device type %d, but "
                                   "the plugin offers no %s",
                                   p->backends[i]->name,
                                   p->backends[i]->device_type,
                                   ATTN_DEVICE_SERVICE);
    return ATTN_OK;
}

static attn_status
check_1(const attn_plugin *p, uint32_t later, attn_error *err)
{
    attn_status status = attn_abi_size_check("attn_plugin", p->struct_size,
                                             ATTN_PLUGIN_SIZE_1_0, err);
    if (status == ATTN_OK && p->flags != 0)
        status = ATTN_ABI_REFUSE(err, "attn_plugin.flags has unknown bits 0x%x",
                                 p->flags);
    if (status == ATTN_OK)
        status = check_texts(p, err);
    if (status == ATTN_OK)
        status = check_functions(p, err);
    if (status == ATTN_OK)
        status = check_backends(p, later, err);
    if (status == ATTN_OK)
        status = attn_abi_1_options_check(p, err);
    if (status == ATTN_OK)
        status = check_extensions(p, err);
    return status;
}

attn_status
attn_abi_check(uint16_t major, uint32_t later, const void *table,
               const attn_plugin **plugin, attn_error *err)
{
    if (major != 1)
        return ATTN_ABI_REFUSE(err, "this host has no adapter for ABI %u",
                               major);
    attn_status status = check_1(table, later, err);
    if (status == ATTN_OK)
        *plugin = table;
    return status;
}
