/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/device.h - the device a backend runs on. */
#ifndef ATTN_PLUGIN_DEVICE_H
#define ATTN_PLUGIN_DEVICE_H

#include <attn/plugin.h>

typedef struct attn_found_device {
    attn_device device;
    char name[72]; /* "cpu", "NVIDIA H200", of several "NVIDIA H200 #1" */
    char arch[32]; /* "x86-64", "sm_90" */
} attn_found_device;

/* [main] The devices of the backend's type, at least one, in the service's
 * order; *found is the caller's to free. ATTN_E_NO_DEVICE with the service's
 * text when there is none; ATTN_E_REFUSED when the service fails, or for each
 * of them: one that fails beside others is left out, with a warning. */
attn_status attn_devices_find(const attn_plugin *plugin,
                              const attn_backend *backend,
                              attn_found_device **found, uint32_t *num_found,
                              attn_error *err);

/* [any] What a plugin said, made safe to print: status, and its message or
 * "no reason given", after `what`. */
attn_status attn_plugin_fault(attn_error *err, attn_status status,
                              const char *where, const char *what,
                              const attn_error *said);

#endif /* ATTN_PLUGIN_DEVICE_H */
