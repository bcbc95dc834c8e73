/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu_plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gpu_plugin gpu = {.err = {.struct_size = sizeof(attn_error)}};

static const attn_plugin *
load(const char *path)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    attn_status (*entry)(attn_handshake *);
    *(void **)&entry = dlsym(so, "attn_plugin_entry");
    attn_handshake hs = {.magic = ATTN_MAGIC_ASK,
                         .size = sizeof hs,
                         .host_major_lo = ATTN_ABI_MAJOR,
                         .host_major_hi = ATTN_ABI_MAJOR,
                         .host_minor = ATTN_ABI_MINOR};
    if (!entry || entry(&hs) || !hs.accepted) {
        fprintf(stderr, "%s: no handshake\n", path);
        return NULL;
    }
    return hs.plugin;
}

int
gpu_open(const char *file)
{
    const char *top = getenv("top_builddir");
    char built[1024];
    snprintf(built, sizeof built, "%s/.libs/%s", top ? top : ".", file);
    gpu.plugin = load(strchr(file, '/') ? file : built);
    if (!gpu.plugin)
        return EXIT_FAILURE;
    gpu.op = gpu.plugin->backends[0]->op;
    gpu.service = gpu.plugin->get_extension(ATTN_DEVICE_SERVICE);
    attn_device_info info = {.struct_size = sizeof info};
    uint32_t count = 0;
    if (!gpu.service || gpu.service->count(&count, &gpu.err) || count == 0)
        return 77;
    if (gpu.service->info(0, &info, &gpu.err) ||
        gpu.service->stream_create(info.device, &gpu.stream, &gpu.err)) {
        fprintf(stderr, "%s: %s\n", file, gpu.err.message);
        return EXIT_FAILURE;
    }
    gpu.device = info.device;
    printf("%s on %s\n", gpu.plugin->backends[0]->name, info.name);
    return EXIT_SUCCESS;
}

void
gpu_close(void)
{
    gpu.service->stream_destroy(&gpu.stream);
}

static void *
device_bytes(size_t bytes)
{
    void *memory;
    GPU_OK(gpu.service->alloc(gpu.device, ATTN_MEM_DEVICE, bytes, &memory,
                              &gpu.err));
    GPU_OK(gpu.service->fill(&gpu.stream, memory, 0xFF, bytes, &gpu.err));
    return memory;
}

void
gpu_layer_make(gpu_layer *l, const attn_layer *layer, const attn_limits *limits,
               const attn_head *constants)
{
    attn_workspace need = {.struct_size = sizeof need};
    attn_binding memory = {.struct_size = sizeof memory};
    *l = (gpu_layer){0};
    GPU_OK(gpu.plugin->open(gpu.device, &l->ctx, &gpu.err));
    GPU_OK(gpu.op->builder_create(l->ctx, gpu.plugin->backends[0], layer,
                                  limits, &l->builder, &gpu.err));
    GPU_OK(gpu.op->workspace(l->builder, &need));
    memory.device = l->workspace = device_bytes(need.device_bytes);
    GPU_OK(gpu.op->bind(l->builder, &memory, &gpu.err));
    GPU_OK(gpu.op->layer_bytes(l->builder, &need));
    memory.device = l->layer_device = device_bytes(need.device_bytes);
    memory.host = l->layer_host = malloc(need.host_bytes + 1);
    GPU_OK(gpu.op->layer_prepare(l->builder, constants, &memory, &gpu.stream,
                                 &l->prepared, &gpu.err));
}

void
gpu_layer_drop(gpu_layer *l)
{
    gpu.op->builder_destroy(l->builder);
    gpu.plugin->close(l->ctx);
    gpu.service->free(gpu.device, ATTN_MEM_DEVICE, l->workspace);
    gpu.service->free(gpu.device, ATTN_MEM_DEVICE, l->layer_device);
    free(l->layer_host);
}
