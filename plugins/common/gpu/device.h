/* SPDX-License-Identifier: Apache-2.0 */
/* device.h - the device side of a GPU plugin's host code: attn.device/1 and launches.
 *
 * One implementation a target: cuda/device.cpp, hip/device.cpp, emu/device.cpp. */
#ifndef ATTN_GPU_DEVICE_H
#define ATTN_GPU_DEVICE_H

#include <attn/plugin.h>

namespace gpu
{

/* The service this plugin offers, and the device type it serves. */
extern const attn_device_service service;
extern const int32_t device_type;

/* What a kernel's launch shape may depend on; constant for a device. */
struct Device {
    attn_device device;
    char arch[32]; /* "sm_90", "emu:sm_90a" */
    int multiprocessors;
    bool hopper; /* wgmma, TMA */
};
/* ATTN_E_NO_DEVICE, or ATTN_E_DEVICE when this build has no code for it. */
attn_status device_open(attn_device device, Device *out, attn_error *err);

/* Formats into err and returns status. */
attn_status failf(attn_error *err, attn_status status, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

} // namespace gpu

#endif /* ATTN_GPU_DEVICE_H */
