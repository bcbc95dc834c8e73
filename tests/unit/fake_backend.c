/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_backend.h"

#include <stdlib.h>
#include <string.h>

fake_state fake;

struct attn_builder {
    int which; /* 0: fake.a, 1: fake.b */
    attn_binding memory;
    uint32_t num_reqs, num_tokens;
    int32_t *plan; /* in the workspace: seq_len and number of each token */
    int64_t *slots;
    attn_limits limits;
};

static attn_status
check(const attn_backend *self, const char *arch, const attn_layer *layer,
      attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer, (void)reasons;
    return ATTN_OK;
}

static attn_status
builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
               const attn_limits *limits, attn_builder **builder,
               attn_error *err)
{
    (void)ctx, (void)layer;
    attn_builder *b = calloc(1, sizeof *b);
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    b->which = self->name[5] == 'b';
    b->limits = *limits;
    *builder = b;
    return ATTN_OK;
}

static attn_status
workspace(const attn_builder *b, attn_workspace *need)
{
    need->host_bytes = b->limits.max_tokens * (2 * sizeof(int32_t) + 8ull);
    need->host_align = 64;
    if (fake.on_device) {
        need->device_bytes = 1000;
        need->device_align = 1024;
        need->pinned_bytes = 10;
        need->pinned_align = 8;
    }
    return ATTN_OK;
}

static attn_status
bind(attn_builder *b, const attn_binding *memory, attn_error *err)
{
    if (!memory->host || (uintptr_t)memory->host % 64 ||
        (fake.on_device && (uintptr_t)memory->device % 1024))
        return attn_fail(err, ATTN_E_WORKSPACE, "memory", "short");
    b->slots = memory->host;
    b->plan = (int32_t *)(b->slots + b->limits.max_tokens);
    return ATTN_OK;
}

static attn_status
layer_bytes(const attn_builder *b, attn_workspace *need)
{
    (void)b;
    need->host_bytes = 64;
    need->host_align = 8;
    return ATTN_OK;
}

static attn_status
layer_prepare(attn_builder *b, const attn_head *constants,
              const attn_binding *memory, const attn_stream *stream,
              attn_prepared **layer, attn_error *err)
{
    (void)constants, (void)stream, (void)err;
    memcpy(memory->host, &b->which, sizeof b->which);
    *layer = memory->host;
    return ATTN_OK;
}

static attn_status
build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
      const attn_stream *stream, attn_error *err)
{
    (void)stream;
    fake.builds++;
    if (fake.look)
        fake.look(b->which, batch, group);
    fake.reqs_of[b->which] = batch->num_reqs;
    fake.tokens_of[b->which] = batch->num_tokens;
    fake.first_start_of[b->which] = (uint32_t)batch->query_start_loc[0];
    if (fake.build_status != ATTN_OK)
        return fake.build_message
                   ? attn_fail(err, fake.build_status, "x", fake.build_message)
                   : fake.build_status;
    b->num_tokens = batch->num_tokens;
    for (uint32_t r = 0; r < batch->num_reqs; r++)
        for (int32_t t = batch->query_start_loc[r];
             t < batch->query_start_loc[r + 1]; t++) {
            b->plan[2 * t] = batch->seq_lens[r];
            b->plan[2 * t + 1] = t - batch->query_start_loc[r];
            b->slots[t] = group->slot_mapping ? group->slot_mapping[t] : -1;
        }
    return ATTN_OK;
}

static float *
row(const attn_tensor *t, int64_t i)
{
    return (float *)((char *)t->data + t->byte_offset) + i * t->strides[0];
}

static attn_status
update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)args;
    (void)err;
    fake.updates++;
    if (fake.family)
        return ATTN_OK;
    int64_t size = u->k_cache->shape[1];
    for (uint32_t t = 0; t < b->num_tokens; t++)
        if (b->slots[t] >= 0)
            row(u->k_cache,
                b->slots[t] /
                    size)[(b->slots[t] % size) * u->k_cache->strides[1]] =
                row(u->k, t)[0];
    return ATTN_OK;
}

static attn_status
forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_forward *f = (const attn_flash_forward *)args;
    int which;
    (void)err;
    fake.forwards++;
    if (fake.family)
        return ATTN_OK;
    memcpy(&which, f->layer, sizeof which);
    if (which != b->which || f->out->shape[0] != b->num_tokens ||
        f->q->shape[0] != b->num_tokens)
        return ATTN_E_INTERNAL;
    int64_t width = f->out->shape[1] * f->out->shape[2];
    for (uint32_t t = 0; t < b->num_tokens; t++)
        for (int64_t i = 0; i < width; i++)
            row(f->out, t)[i] =
                (float)(1000 * (which + 1) + 10 * b->plan[2 * t] +
                        b->plan[2 * t + 1]);
    return ATTN_OK;
}

static void
builder_destroy(attn_builder *b)
{
    free(b);
}

static const attn_op op = {.struct_size = sizeof op,
                           .check = check,
                           .builder_create = builder_create,
                           .workspace = workspace,
                           .bind = bind,
                           .layer_bytes = layer_bytes,
                           .layer_prepare = layer_prepare,
                           .build = build,
                           .update_cache = update_cache,
                           .forward = forward,
                           .builder_destroy = builder_destroy};

static const attn_caps caps = {.struct_size = sizeof caps,
                               .capture = ATTN_CAPTURE_ALWAYS,
                               .features = (1ull << 14) - 1};
static const attn_caps *const caps_list[] = {&caps};
static attn_backend backend_a = {.struct_size = sizeof backend_a,
                                 .name = "fake.a",
                                 .family = ATTN_FAMILY_FLASH,
                                 .op = &op,
                                 .caps = caps_list,
                                 .num_caps = 1};
static attn_backend backend_b = {.struct_size = sizeof backend_b,
                                 .name = "fake.b",
                                 .family = ATTN_FAMILY_FLASH,
                                 .op = &op,
                                 .caps = caps_list,
                                 .num_caps = 1};

/* --------------------------------------------------- a made-up device */

static attn_status
dev_alloc(attn_device device, uint32_t kind, uint64_t bytes, void **memory,
          attn_error *err)
{
    (void)kind;
    fake.last_device = device;
    uint64_t *p = malloc(bytes + 64);
    if (!p)
        return attn_fail(err, ATTN_E_NOMEM, "bytes", "device memory is full");
    *p = bytes;
    fake.live_device_bytes += bytes;
    *memory = (char *)p + 64;
    return ATTN_OK;
}

static void
dev_free(attn_device device, uint32_t kind, void *memory)
{
    (void)device, (void)kind;
    uint64_t *p = (uint64_t *)(void *)((char *)memory - 64);
    fake.live_device_bytes -= *p;
    free(p);
}

static attn_status
dev_copy(const attn_stream *stream, uint32_t direction, void *dst,
         const void *src, uint64_t bytes, attn_error *err)
{
    (void)stream, (void)direction, (void)err;
    memcpy(dst, src, bytes);
    fake.copies++;
    fake.last_source = src;
    return ATTN_OK;
}

static attn_status
dev_stream_create(attn_device device, attn_stream *stream, attn_error *err)
{
    (void)err;
    *stream = (attn_stream){.handle = 1, .device = device};
    return ATTN_OK;
}

static attn_status
dev_synchronize(const attn_stream *stream, attn_error *err)
{
    (void)stream, (void)err;
    return ATTN_OK;
}

static void
dev_stream_destroy(const attn_stream *stream)
{
    (void)stream;
}

static const attn_device_service service = {
    .struct_size = sizeof service,
    .alloc = dev_alloc,
    .free = dev_free,
    .copy = dev_copy,
    .stream_create = dev_stream_create,
    .stream_synchronize = dev_synchronize,
    .stream_destroy = dev_stream_destroy};

static const void *
get_extension(const char *id)
{
    return strcmp(id, ATTN_DEVICE_SERVICE) == 0 ? &service : NULL;
}

static const attn_plugin plugin = {.struct_size = sizeof plugin,
                                   .get_extension = get_extension};

/* ------------------------------------------------- in place of the loader */

#define ROW(n, b)                                                     \
    {                                                                 \
        .struct_size = sizeof(attn_entry), .state = ATTN_STATE_READY, \
        .name = n, .section = "-", .file = "/fake.so", .reason = "",  \
        .version = "", .family = ATTN_FAMILY_FLASH, .device = "cpu",  \
        .arch = "", .device_type = ATTN_DEVICE_CPU, .priority = 100,  \
        .plugin = &plugin, .backend = b                               \
    }
static attn_entry rows[] = {ROW("fake.a", &backend_a),
                            ROW("fake.b", &backend_b)};
static attn_config *config;
static attn_executor *executor;

attn_registry *
fake_registry(const char *ini)
{
    fake_registry_free();
    if (attn_config_parse("t.ini", ini, strlen(ini), &config, NULL) ||
        attn_executor_create(2, &executor, NULL))
        abort();
    backend_a.family = fake.family ? fake.family : ATTN_FAMILY_FLASH;
    backend_b.family = backend_a.family;
    for (int i = 0; i < 2; i++) {
        rows[i].family = backend_a.family;
        rows[i].device_type = fake.on_device || (fake.apart && i == 1)
                                  ? ATTN_DEVICE_EXT
                                  : ATTN_DEVICE_CPU;
    }
    for (uint32_t i = 0; fake.two_devices && i < 2; i++) {
        rows[i] = rows[0];
        rows[i].device_type = ATTN_DEVICE_EXT;
        rows[i].device_id = 3 + (int32_t)i;
        rows[i].device_index = i;
        rows[i].num_devices = 2;
    }
    return (attn_registry *)(void *)rows;
}

void
fake_registry_free(void)
{
    attn_config_free(config);
    attn_executor_destroy(executor);
    config = NULL;
    executor = NULL;
}

size_t
attn_registry_count(const attn_registry *registry)
{
    (void)registry;
    return 2;
}

const attn_entry *
attn_registry_at(const attn_registry *registry, size_t index)
{
    (void)registry;
    return index < 2 ? &rows[index] : NULL;
}

const attn_config *
attn_registry_config(const attn_registry *registry)
{
    (void)registry;
    return config;
}

const attn_executor *
attn_registry_executor(const attn_registry *registry)
{
    (void)registry;
    return executor;
}

attn_status
attn_registry_context(attn_registry *registry, const attn_entry *entry,
                      attn_ctx **ctx, attn_error *err)
{
    (void)registry, (void)entry, (void)err;
    *ctx = NULL;
    return ATTN_OK;
}
