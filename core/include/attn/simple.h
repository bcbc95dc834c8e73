/* SPDX-License-Identifier: 0BSD */
/* attn/simple.h - for plugin authors, optional: the functions of a backend
 * that has nothing to say in them. Include it after attn/plugin.h; it takes
 * nothing from libattn at run time.
 *
 *   static const attn_op op = {
 *       ATTN_SIMPLE_OP, .builder_create = ..., .build = ..., .forward = ...,
 *       .update_cache = ..., .builder_destroy = ...};
 *   static const attn_plugin plugin = {ATTN_SIMPLE_PLUGIN, .id = ...};
 *
 * What is named again after the macro replaces it. */
#ifndef ATTN_SIMPLE_H
#define ATTN_SIMPLE_H

#include <attn/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The claims say it all. */
static inline attn_status
attn_simple_check(const attn_backend *self, const char *arch,
                  const attn_layer *layer, attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer, (void)reasons;
    return ATTN_OK;
}

/* No memory is needed; for workspace and layer_bytes. */
static inline attn_status
attn_simple_need(const attn_builder *builder, attn_workspace *need)
{
    const uint32_t size = need->struct_size;
    unsigned char *bytes = (unsigned char *)need;
    (void)builder;
    for (uint32_t i = 0; i < size && i < sizeof *need; i++)
        bytes[i] = 0;
    need->struct_size = size;
    return ATTN_OK;
}

static inline attn_status
attn_simple_bind(attn_builder *builder, const attn_binding *memory,
                 attn_error *err)
{
    (void)builder, (void)memory, (void)err;
    return ATTN_OK;
}

/* Constants are not used: the handle is the builder. */
static inline attn_status
attn_simple_layer_prepare(attn_builder *builder, const attn_head *constants,
                          const attn_binding *memory, const attn_stream *stream,
                          attn_prepared **layer, attn_error *err)
{
    (void)constants, (void)memory, (void)stream, (void)err;
    *layer = (attn_prepared *)builder;
    return ATTN_OK;
}

static inline const void *
attn_simple_get_extension(const char *id)
{
    (void)id;
    return NULL;
}

static inline attn_status
attn_simple_init(const attn_host *host, const attn_key_value *options,
                 uint32_t num_options, attn_error *err)
{
    (void)host, (void)options, (void)num_options, (void)err;
    return ATTN_OK;
}

static inline void
attn_simple_shutdown(void)
{
}

/* A context that holds nothing, for the CPU. */
static inline attn_status
attn_simple_open(attn_device device, attn_ctx **ctx, attn_error *err)
{
    static char nothing;
    if (device.type != ATTN_DEVICE_CPU)
        return attn_fail(err, ATTN_E_NO_DEVICE, "device", "only the CPU");
    *ctx = (attn_ctx *)(void *)&nothing;
    return ATTN_OK;
}

static inline void
attn_simple_close(attn_ctx *ctx)
{
    (void)ctx;
}

#define ATTN_SIMPLE_OP                                          \
    .struct_size = sizeof(attn_op), .check = attn_simple_check, \
    .workspace = attn_simple_need, .bind = attn_simple_bind,    \
    .layer_bytes = attn_simple_need,                            \
    .layer_prepare = attn_simple_layer_prepare

#define ATTN_SIMPLE_PLUGIN                                                \
    .struct_size = sizeof(attn_plugin),                                   \
    .get_extension = attn_simple_get_extension, .init = attn_simple_init, \
    .shutdown = attn_simple_shutdown, .open = attn_simple_open,           \
    .close = attn_simple_close

#ifdef __cplusplus
}
#endif

#endif /* ATTN_SIMPLE_H */
