/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_plugin.h - a plugin with a device service, straight through the ABI.
 *
 * No part of libattn is used: what fails here is the plugin's own fault. One
 * plugin is open at a time, on one stream of its first device; from one
 * thread, and from no forked child: a CUDA context does not survive fork. */
#ifndef GPU_PLUGIN_H
#define GPU_PLUGIN_H

#include <attn/plugin.h>

#include <check.h>

typedef struct gpu_plugin {
    const attn_plugin *plugin;
    const attn_device_service *service;
    const attn_op *op; /* of its first backend */
    attn_device device;
    attn_stream stream;
    attn_error err; /* of the last GPU_OK */
} gpu_plugin;

extern gpu_plugin gpu;

#define GPU_OK(call)                                                     \
    ck_assert_msg((call) == ATTN_OK, "%s: %s: %s", #call, gpu.err.where, \
                  gpu.err.message)

/* Opens the plugin of this path; one without a slash is that of the build
 * tree. EXIT_SUCCESS, 77 without a device, EXIT_FAILURE with the reason on
 * stderr. */
int gpu_open(const char *file);
void gpu_close(void);

/* A builder bound to device memory, with one layer prepared. */
typedef struct gpu_layer {
    attn_ctx *ctx;
    attn_builder *builder;
    attn_prepared *prepared;
    void *workspace, *layer_device, *layer_host;
} gpu_layer;

/* The workspace holds 0xFF bytes at first: NaN in every type. */
void gpu_layer_make(gpu_layer *l, const attn_layer *layer,
                    const attn_limits *limits, const attn_head *constants);
void gpu_layer_drop(gpu_layer *l);

#endif
