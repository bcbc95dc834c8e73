/* SPDX-License-Identifier: 0BSD */
/* attn/simple.h - for plugin authors, optional: the functions of a backend
 * that has nothing to say in them. Include it instead of attn/plugin.h; it
 * takes nothing from libattn at run time.
 *
 *   static const attn_op op = {
 *       ATTN_SIMPLE_OP, .builder_create = ..., .build = ..., .forward = ...,
 *       .update_cache = ..., .builder_destroy = ...};
 *   static const attn_backend backend = {
 *       ATTN_SIMPLE_BACKEND, .name = "x", .op = &op, ...};
 *   ATTN_SIMPLE_ENTRY(backend, "x", "org.example.x", "0.1.0", "0BSD")
 *
 * A flash backend on the CPU may take ATTN_SIMPLE_FLASH_OP and write only
 * forward. Who has a function of his own in place of one of these, or writes
 * C++, which has no such initialisers, names the functions without the macro.
 */
#ifndef ATTN_SIMPLE_H
#define ATTN_SIMPLE_H

#include <attn/plugin.h>

#include <stdlib.h>
#include <string.h>

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

/* ------------------------------------------- a flash backend on the CPU */

/* A builder that keeps what it is given. */
typedef struct attn_simple_flash {
    attn_flash_layer layer;
    attn_batch batch; /* of the step built last */
    attn_kv_group group;
} attn_simple_flash;

static inline const attn_simple_flash *
attn_simple_flash_of(const attn_builder *builder)
{
    return (const attn_simple_flash *)(const void *)builder;
}

/* First byte of the row at [i, j] of a tensor of three dimensions, or at
 * [i, j, k] of one of four. Nothing is checked. */
static inline void *
attn_simple_row(const attn_tensor *t, int64_t i, int64_t j, int64_t k)
{
    int64_t at = i * t->strides[0] + j * t->strides[1];
    if (t->ndim == 4)
        at += k * t->strides[2];
    return (char *)t->data + t->byte_offset + at * (t->dtype.bits / 8);
}

/* The row of a cache that holds position `position` < S_r of request r. */
static inline const void *
attn_simple_cached(const attn_simple_flash *s, const attn_tensor *cache,
                   uint32_t r, int64_t position, uint32_t kv_head)
{
    const attn_kv_group *g = &s->group;
    const int64_t block =
        g->block_table[r * g->block_table_stride + position / g->block_size];
    return attn_simple_row(cache, block, position % g->block_size, kv_head);
}

static inline attn_status
attn_simple_flash_create(attn_ctx *ctx, const attn_backend *self,
                         const attn_layer *layer, const attn_limits *limits,
                         attn_builder **builder, attn_error *err)
{
    attn_simple_flash *s = (attn_simple_flash *)calloc(1, sizeof *s);
    (void)ctx, (void)self, (void)limits;
    if (!s)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    attn_take(&s->layer, sizeof s->layer, layer);
    *builder = (attn_builder *)(void *)s;
    return ATTN_OK;
}

static inline void
attn_simple_flash_destroy(attn_builder *builder)
{
    free(builder);
}

static inline attn_status
attn_simple_flash_build(attn_builder *builder, const attn_batch *batch,
                        const attn_kv_group *group, const attn_stream *stream,
                        attn_error *err)
{
    attn_simple_flash *s = (attn_simple_flash *)(void *)builder;
    (void)stream, (void)err;
    attn_take(&s->batch, sizeof s->batch, batch);
    attn_take(&s->group, sizeof s->group, group);
    return ATTN_OK;
}

static inline void
attn_simple_store(const attn_kv_group *g, const attn_tensor *from,
                  const attn_tensor *to)
{
    const size_t size = (size_t)from->shape[2] * from->dtype.bits / 8;
    for (int64_t t = 0; t < from->shape[0]; t++)
        for (int64_t h = 0, slot = g->slot_mapping[t];
             slot >= 0 && h < from->shape[1]; h++)
            memcpy(attn_simple_row(to, slot / g->block_size,
                                   slot % g->block_size, h),
                   attn_simple_row(from, t, h, 0), size);
}

/* Copies rows: the claims give q_dtype and kv_dtype the same one type. */
static inline attn_status
attn_simple_flash_update(attn_builder *builder, const attn_head *args,
                         attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)(const void *)args;
    const attn_kv_group *group = &attn_simple_flash_of(builder)->group;
    if (!attn_dtype_eq(u->k->dtype, u->k_cache->dtype))
        return attn_fail(err, ATTN_E_UNSUPPORTED, "layer.kv_dtype",
                         "a cache of another type than k and v");
    attn_simple_store(group, u->k, u->k_cache);
    attn_simple_store(group, u->v, u->v_cache);
    return ATTN_OK;
}

/* --------------------------------------------------------------- the tables */

#define ATTN_SIMPLE_OP                                          \
    .struct_size = sizeof(attn_op), .check = attn_simple_check, \
    .workspace = attn_simple_need, .bind = attn_simple_bind,    \
    .layer_bytes = attn_simple_need,                            \
    .layer_prepare = attn_simple_layer_prepare

#define ATTN_SIMPLE_FLASH_OP                                      \
    ATTN_SIMPLE_OP, .builder_create = attn_simple_flash_create,   \
                    .builder_destroy = attn_simple_flash_destroy, \
                    .build = attn_simple_flash_build,             \
                    .update_cache = attn_simple_flash_update

/* Claims, each list with its length. */
#define ATTN_SIMPLE_LIST_(list, count, T, ...) \
    .list = (const T[]){__VA_ARGS__},          \
    .count = sizeof((const T[]){__VA_ARGS__}) / sizeof(T)
#define ATTN_SIMPLE_ARCHS(...) \
    ATTN_SIMPLE_LIST_(archs, num_archs, char *const, __VA_ARGS__)
#define ATTN_SIMPLE_DIMS(...) \
    ATTN_SIMPLE_LIST_(dims, num_dims, attn_dim_claim, __VA_ARGS__)
#define ATTN_SIMPLE_DTYPES(...) \
    ATTN_SIMPLE_LIST_(dtypes, num_dtypes, attn_dtype_claim, __VA_ARGS__)
#define ATTN_SIMPLE_CAPS(...) \
    ATTN_SIMPLE_LIST_(caps, num_caps, attn_caps *const, __VA_ARGS__)

#define ATTN_SIMPLE_BACKEND \
    .struct_size = sizeof(attn_backend), .device_type = ATTN_DEVICE_CPU

#define ATTN_SIMPLE_PLUGIN                                                \
    .struct_size = sizeof(attn_plugin),                                   \
    .get_extension = attn_simple_get_extension, .init = attn_simple_init, \
    .shutdown = attn_simple_shutdown, .open = attn_simple_open,           \
    .close = attn_simple_close

/* The table, the note and the entry of a plugin of one CPU backend. `name` is
 * that backend's name once more: the note cannot read it from the table. */
#define ATTN_SIMPLE_ENTRY(backend_, name_, id_, version_, license_)         \
    static const attn_backend *const attn_simple_backends[] = {&backend_};  \
    static const attn_plugin attn_simple_table = {ATTN_SIMPLE_PLUGIN,       \
                                                  .id = id_,                \
                                                  .version = version_,      \
                                                  .vendor = "",             \
                                                  .url = "",                \
                                                  .license = license_,      \
                                                  .backends =               \
                                                      attn_simple_backends, \
                                                  .num_backends = 1};       \
    ATTN_PLUGIN_NOTE(id_, version_, "cpu", name_);                          \
    ATTN_PLUGIN_ENTRY(attn_simple_table)

#ifdef __cplusplus
}
#endif

#endif /* ATTN_SIMPLE_H */
