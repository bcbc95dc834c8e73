/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins for the tests of attnctl, one source: a backend that is ready and
 * whose results are all zero; MOCK_OLD one that refuses the handshake;
 * MOCK_ABSENT one whose device is not there. */
#include <attn/simple.h>

#ifdef MOCK_ABSENT
#include "mock_device.h"
#define NAME "mock.absent"
#define DEVICE ATTN_DEVICE_CUDA
#define DEVICE_NAME "cuda"
#elif defined(MOCK_OLD)
#define NAME "mock.old"
#define DEVICE ATTN_DEVICE_CPU
#define DEVICE_NAME "cpu"
#else
#define NAME "mock.zero"
#define DEVICE ATTN_DEVICE_CPU
#define DEVICE_NAME "cpu"
#endif

static attn_status
check(const attn_backend *self, const char *arch, const attn_layer *layer,
      attn_reasons *reasons)
{
    const attn_flash_layer *l = (const attn_flash_layer *)layer;
    (void)self, (void)arch;
    if (l->num_heads % 2 == 0)
        return ATTN_OK;
    attn_reason_add(reasons, "num_heads is odd: supports even numbers");
    return ATTN_E_UNSUPPORTED;
}

static void
zero(const attn_tensor *t)
{
    size_t bytes = t->dtype.bits / 8;
    for (int i = 0; i < t->ndim; i++)
        bytes *= (size_t)t->shape[i];
    memset((char *)t->data + t->byte_offset, 0, bytes);
}

static attn_status
forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_forward *f = (const attn_flash_forward *)args;
    (void)b, (void)err;
    zero(f->out);
    if (f->lse)
        zero(f->lse);
    return ATTN_OK;
}

static attn_status
update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)args;
    (void)b, (void)err;
    zero(u->k_cache);
    zero(u->v_cache);
    return ATTN_OK;
}

static const attn_op op = {
    .struct_size = sizeof op,
    .check = check,
    .builder_create = attn_simple_flash_create,
    .workspace = attn_simple_need,
    .bind = attn_simple_bind,
    .layer_bytes = attn_simple_need,
    .layer_prepare = attn_simple_layer_prepare,
    .build = attn_simple_flash_build,
    .update_cache = update_cache,
    .forward = forward,
    .builder_destroy = attn_simple_flash_destroy,
};

static const attn_caps caps = {
    .struct_size = sizeof caps,
    .features = ATTN_F_CAUSAL | ATTN_F_LSE,
    .properties = ATTN_P_DETERMINISTIC,
    .max_seq_len = 65536,
    ATTN_SIMPLE_ARCHS("*"),
    ATTN_SIMPLE_DIMS({"head_dim", {32, 128, 32}, 0},
                     {"head_dim", {256, 256, 0}, 0},
                     {"block_size", {1, 64, 1}, 0}),
    ATTN_SIMPLE_DTYPES({"q_dtype", ATTN_F32, 0}, {"q_dtype", ATTN_BF16, 0}),
};
static const attn_backend backend = {
    .struct_size = sizeof backend,
    .device_type = DEVICE,
    .name = NAME,
    .summary = "writes zeros, for the tests of attnctl",
    .family = ATTN_FAMILY_FLASH,
    .op = &op,
    ATTN_SIMPLE_CAPS(&caps),
};
static const attn_backend *const backends[] = {&backend};

static const attn_option splits = {.struct_size = sizeof splits,
                                   .type = ATTN_OPTION_INT,
                                   .name = "splits",
                                   .value = "4",
                                   .lo = 1,
                                   .hi = 64,
                                   .help = "pieces of a long sequence"};
static const attn_option mode = {.struct_size = sizeof mode,
                                 .type = ATTN_OPTION_CHOICE,
                                 .name = "mode",
                                 .value = "auto",
                                 .choices = "auto|fast|exact",
                                 .help = "how to compute"};
static const attn_option *const options[] = {&splits, &mode};

static const void *
get_extension(const char *id)
{
#ifdef MOCK_ABSENT
    return strcmp(id, ATTN_DEVICE_SERVICE) ? NULL : &mock_service;
#else
    (void)id;
    return NULL;
#endif
}

static attn_status
open_device(attn_device device, attn_ctx **ctx, attn_error *err)
{
    (void)device, (void)err;
    *ctx = (attn_ctx *)(uintptr_t)&backend;
    return ATTN_OK;
}

static const attn_plugin plugin = {
    .struct_size = sizeof plugin,
    .id = "org.libattn.test." NAME,
    .version = "1.2.3",
    .vendor = "tests of attnctl",
    .url = "https://example.org/",
    .license = "Apache-2.0",
    .backends = backends,
    .options = options,
    .num_backends = 1,
    .num_options = 2,
    .get_extension = get_extension,
    .init = attn_simple_init,
    .shutdown = attn_simple_shutdown,
    .open = open_device,
    .close = attn_simple_close,
};

ATTN_PLUGIN_NOTE("org.libattn.test." NAME, "1.2.3", DEVICE_NAME, NAME)

#ifdef MOCK_OLD
attn_status
attn_plugin_entry(attn_handshake *hs)
{
    hs->magic = ATTN_MAGIC_ACK;
    hs->plugin_major_lo = hs->plugin_major_hi = 7;
    hs->plugin_minor = 1;
    hs->refusal = plugin.version[0] ? "built for ABI 7.1" : NULL;
    return ATTN_E_VERSION;
}
#else
ATTN_PLUGIN_ENTRY(plugin)
#endif
