/* SPDX-License-Identifier: Apache-2.0 */
/* bad.c - a plugin with one defect, given as C at one of these places:
 *   AT_LOAD    in a constructor            AT_ENTRY   first in the entry
 *   AT_TABLE   before the table is given   AT_ANSWER  after the answer
 *   AT_EXT     in get_extension(id)        AT_INIT    in init(host)
 *   AT_OPEN    in open(err)                NOTE       the note's arguments
 * See cases.txt. Without a defect it is a correct plugin that computes
 * nothing. */
#define _GNU_SOURCE
#include <attn/plugin.h>

#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned calls;

static inline void *
sleeper(void *arg)
{
    pause();
    return arg;
}

static inline void
start_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, sleeper, NULL);
}

static inline void
handler(int number)
{
    (void)number;
}

static inline void
close_low(void)
{
    printf("chatter on stdout\n");
    fflush(stdout);
    for (int fd = 0; fd < 100; fd++)
        close(fd);
}

static inline void
write_everywhere(void)
{
    for (int fd = 3; fd < 400; fd++)
        if (write(fd, "garbage", 7) < 0)
            continue;
}

static attn_status
check(const attn_backend *self, const char *arch, const attn_layer *layer,
      attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer;
    attn_reason_add(reasons, "num_heads 1: supports nothing");
    return ATTN_E_UNSUPPORTED;
}
static attn_status
builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
               const attn_limits *limits, attn_builder **builder,
               attn_error *err)
{
    (void)ctx, (void)self, (void)layer, (void)limits, (void)builder;
    return attn_fail(err, ATTN_E_UNSUPPORTED, "layer", "computes nothing");
}
static attn_status
need(const attn_builder *builder, attn_workspace *workspace)
{
    (void)builder, (void)workspace;
    return ATTN_E_INTERNAL;
}
static attn_status
bind(attn_builder *builder, const attn_binding *memory, attn_error *err)
{
    (void)builder, (void)memory, (void)err;
    return ATTN_E_INTERNAL;
}
static attn_status
prepare(attn_builder *builder, const attn_head *constants,
        const attn_binding *memory, const attn_stream *stream,
        attn_prepared **layer, attn_error *err)
{
    (void)builder, (void)constants, (void)memory, (void)stream, (void)layer;
    (void)err;
    return ATTN_E_INTERNAL;
}
static attn_status
build(attn_builder *builder, const attn_batch *batch,
      const attn_kv_group *group, const attn_stream *stream, attn_error *err)
{
    (void)builder, (void)batch, (void)group, (void)stream, (void)err;
    return ATTN_E_INTERNAL;
}
static attn_status
run(attn_builder *builder, const attn_head *args, attn_error *err)
{
    (void)builder, (void)args, (void)err;
    return ATTN_E_INTERNAL;
}
static void
destroy(attn_builder *builder)
{
    (void)builder;
}

static attn_op op = {
    .struct_size = sizeof op,
    .check = check,
    .builder_create = builder_create,
    .workspace = need,
    .bind = bind,
    .layer_bytes = need,
    .layer_prepare = prepare,
    .build = build,
    .update_cache = run,
    .forward = run,
    .builder_destroy = destroy,
};
static const char *archs[] = {"*"};
static attn_dim_claim dims[] = {{"head_dim", {64, 128, 64}, 0}};
static attn_dtype_claim dtypes[] = {{"q_dtype", ATTN_F32, 0}};
static attn_caps caps = {
    .struct_size = sizeof caps,
    .features = ATTN_F_CAUSAL,
    .archs = archs,
    .dims = dims,
    .dtypes = dtypes,
    .num_archs = 1,
    .num_dims = 1,
    .num_dtypes = 1,
};
static const attn_caps *all_caps[] = {&caps};
static attn_backend backend = {
    .struct_size = sizeof backend,
    .device_type = ATTN_DEVICE_CPU,
    .name = "bad",
    .summary = "one defect",
    .family = ATTN_FAMILY_FLASH,
    .op = &op,
    .caps = all_caps,
    .num_caps = 1,
};
static attn_backend second = {0};
static const attn_backend *backends[] = {&backend, &second};
static attn_option option = {
    .struct_size = sizeof option,
    .type = ATTN_OPTION_INT,
    .name = "depth",
    .value = "3",
    .lo = 1,
    .hi = 8,
    .help = "how bad",
};
static const attn_option *options[] = {&option, &option};
static attn_device_service service = {.struct_size = sizeof service};

static inline attn_status
no_device(uint32_t *count, attn_error *err)
{
    *count = 0;
    return attn_fail(err, ATTN_E_NO_DEVICE, "device", "no zoo device: empty");
}
static inline attn_status
broken_device(uint32_t *count, attn_error *err)
{
    (void)count;
    return attn_fail(err, ATTN_E_DEVICE, "device", "driver too\033[31m old");
}

/* Fills every slot of the service with something that is not NULL. */
static inline const void *
full_service(attn_status (*count)(uint32_t *count, attn_error *err))
{
    void (**slots)(void) = (void (**)(void))(void *)&service.count;
    for (size_t i = 0; i < (sizeof service - 8) / sizeof *slots; i++)
        slots[i] = abort;
    service.count = count;
    return &service;
}

static const void *
get_extension(const char *id)
{
    (void)id;
#ifdef AT_EXT
    AT_EXT
#endif
    return NULL;
}
static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t num_values,
     attn_error *err)
{
    (void)host, (void)values, (void)num_values, (void)err;
#ifdef AT_INIT
    AT_INIT
#endif
    return ATTN_OK;
}
static void
shutdown_plugin(void)
{
}
static attn_status
open_device(attn_device device, attn_ctx **ctx, attn_error *err)
{
    (void)device, (void)err;
#ifdef AT_OPEN
    AT_OPEN
#endif
    *ctx = (attn_ctx *)&calls;
    return ATTN_OK;
}
static void
close_device(attn_ctx *ctx)
{
    (void)ctx;
}

static attn_plugin plugin = {
    .struct_size = sizeof plugin,
    .id = "org.example.bad",
    .version = "1",
    .vendor = "zoo",
    .url = "",
    .license = "0BSD",
    .backends = backends,
    .options = options,
    .num_backends = 1,
    .num_options = 1,
    .get_extension = get_extension,
    .init = init,
    .shutdown = shutdown_plugin,
    .open = open_device,
    .close = close_device,
};

#ifdef NOTE
#define MAKE_NOTE(...) ATTN_PLUGIN_NOTE(__VA_ARGS__)
MAKE_NOTE(NOTE);
#else
ATTN_PLUGIN_NOTE("org.example.bad", "1", "cpu", "bad");
#endif

__attribute__((constructor)) static void at_load(void){
#ifdef AT_LOAD
    AT_LOAD
#endif
}

attn_status attn_plugin_entry(attn_handshake *hs);

attn_status
attn_plugin_entry(attn_handshake *hs)
{
    calls++;
    second = backend;
    second.name = "second";
#ifdef AT_ENTRY
    AT_ENTRY
#endif
#ifdef AT_TABLE
    AT_TABLE
#endif
    attn_status status = attn_handshake_answer(hs, &plugin);
#ifdef AT_ANSWER
    AT_ANSWER
#endif
    return status;
}
