/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <attn/base.h>

#include "base/error.h"
#include "base/log.h"

#define MAX_DEVICES 1024u

#if defined(__x86_64__)
#define CPU_ARCH "x86-64"
#elif defined(__aarch64__)
#define CPU_ARCH "aarch64"
#else
#define CPU_ARCH "cpu"
#endif

attn_status
attn_plugin_fault(attn_error *err, attn_status status, const char *where,
                  const char *what, const attn_error *said)
{
    const size_t length = strnlen(said->message, sizeof said->message);
    return attn_error_set(err, status, where, "%s: %.*s (%s)", what,
                          (int)(length ? length : 15),
                          length ? said->message : "no reason given",
                          attn_status_str(said->status));
}

static void
copy_clean(char *to, size_t size, const char *from, size_t room)
{
    size_t i = 0;
    for (; i + 1 < size && i < room && from[i]; i++)
        to[i] =
            (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? '?' : from[i];
    to[i] = 0;
}

/* ATTN_E_NOT_FOUND without a message: not of this type. */
static attn_status
look_at(const attn_device_service *service, uint32_t index, int32_t type,
        attn_found_device *found, attn_error *err)
{
    attn_error said = ATTN_ERROR_INIT;
    attn_device_info info = {.struct_size = sizeof info};
    said.status = service->info(index, &info, &said);
    if (said.status != ATTN_OK)
        return attn_plugin_fault(err, ATTN_E_REFUSED, "device",
                                 "device service: info", &said);
    if (info.device.type != type)
        return ATTN_E_NOT_FOUND;
    found->device = info.device;
    copy_clean(found->name, sizeof found->name, info.name, sizeof info.name);
    copy_clean(found->arch, sizeof found->arch, info.arch, sizeof info.arch);
    return ATTN_OK;
}

static attn_status
count_devices(const attn_device_service *service, uint32_t *count,
              attn_error *err)
{
    attn_error said = ATTN_ERROR_INIT;
    *count = 0;
    said.status = service->count(count, &said);
    if (said.status == ATTN_E_NO_DEVICE)
        return attn_error_set(err, ATTN_E_NO_DEVICE, "device", "%.*s",
                              (int)strnlen(said.message, sizeof said.message),
                              said.message[0] ? said.message : "no device");
    if (said.status != ATTN_OK || *count > MAX_DEVICES)
        return attn_plugin_fault(err, ATTN_E_REFUSED, "device",
                                 "device service: count", &said);
    return ATTN_OK;
}

static void
number_names(attn_found_device *devices, uint32_t count)
{
    for (uint32_t i = 0; count > 1 && i < count; i++) {
        char *name = devices[i].name;
        const size_t used = strlen(name);
        snprintf(name + used, sizeof devices[i].name - used, " #%u", i);
    }
}

/* Those of the type, of all that the service counts. One that does not answer
 * is left out, unless there is no other: an error, as no row tells of it. */
static attn_status
collect(const attn_device_service *service, uint32_t count, int32_t type,
        attn_found_device *devices, uint32_t *num_found, attn_error *err)
{
    uint32_t n = 0;
    attn_error why = ATTN_ERROR_INIT;
    for (uint32_t i = 0; i < count; i++) {
        const attn_status status = look_at(service, i, type, &devices[n], &why);
        n += status == ATTN_OK;
        if (status != ATTN_OK && status != ATTN_E_NOT_FOUND)
            attn_log_write(ATTN_LOG_ERROR, "plugin",
                           "device %u is left out: %s", i, why.message);
    }
    if (n == 0 && why.status != ATTN_OK)
        return attn_error_set(err, why.status, "device", "%s", why.message);
    if (n == 0)
        return attn_error_set(err, ATTN_E_NO_DEVICE, "device",
                              "no device of type %d among %u", type, count);
    number_names(devices, n);
    *num_found = n;
    return ATTN_OK;
}

attn_status
attn_devices_find(const attn_plugin *plugin, const attn_backend *backend,
                  attn_found_device **found, uint32_t *num_found,
                  attn_error *err)
{
    const int on_cpu = backend->device_type == ATTN_DEVICE_CPU;
    const attn_device_service *service =
        on_cpu ? NULL : plugin->get_extension(ATTN_DEVICE_SERVICE);
    uint32_t count = 1;
    attn_status status = on_cpu ? ATTN_OK : count_devices(service, &count, err);
    if (status != ATTN_OK)
        return status;
    attn_found_device *devices = calloc(count + 1, sizeof *devices);
    if (!devices)
        return attn_error_nomem(err, "device", (count + 1) * sizeof *devices);
    if (on_cpu) {
        devices[0] = (attn_found_device){{ATTN_DEVICE_CPU, 0}, "cpu", CPU_ARCH};
        *num_found = 1;
    } else {
        status = collect(service, count, backend->device_type, devices,
                         num_found, err);
    }
    if (status == ATTN_OK)
        *found = devices;
    else
        free(devices);
    return status;
}
