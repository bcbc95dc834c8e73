// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/builder.h"

#include "common/gpu/on_device.h"

#include <cstdio>
#include <cstring>
#include <new>

#if defined(ATTN_FLASH_ROCM) && defined(ATTN_FLASH_EMU)
#define FLASH_NAME "rocm_aiter.flash-emu"
#define FLASH_ID "org.libattn.rocm_aiter.flash-emu"
#define FLASH_DEVICE "emu:gfx942"
#define FLASH_DEVICE_TYPE ATTN_DEVICE_EXT
#define FLASH_SUMMARY "paged softmax attention: the MI300X kernels on an emulated GPU"
#elif defined(ATTN_FLASH_ROCM)
#define FLASH_NAME "rocm_aiter.flash"
#define FLASH_ID "org.libattn.rocm_aiter.flash"
#define FLASH_DEVICE "rocm"
#define FLASH_DEVICE_TYPE ATTN_DEVICE_ROCM
#define FLASH_SUMMARY "paged softmax attention on AMD Instinct MI300X, gfx942"
#elif defined(ATTN_FLASH_EMU)
#define FLASH_NAME "flash.cuda-emu"
#define FLASH_ID "org.libattn.flash.cuda-emu"
#define FLASH_DEVICE "emu:sm_90a"
#define FLASH_DEVICE_TYPE ATTN_DEVICE_EXT
#define FLASH_SUMMARY "paged softmax attention: the CUDA kernels on an emulated GPU"
#else
#define FLASH_NAME "flash.cuda"
#define FLASH_ID "org.libattn.flash.cuda"
#define FLASH_DEVICE "cuda"
#define FLASH_DEVICE_TYPE ATTN_DEVICE_CUDA
#define FLASH_SUMMARY "paged softmax attention on NVIDIA GPUs, sm_80 and later"
#endif

namespace flash
{

static void
refuse(attn_reasons *reasons, attn_status *status, const char *text)
{
    *status = ATTN_E_UNSUPPORTED;
    attn_reason_add(reasons, text);
}

static bool
is(attn_dtype t, uint8_t code, uint8_t bits)
{
    return t.code == code && t.bits == bits && t.lanes == 1;
}

attn_status
check_layer(const attn_backend *, const char *, const attn_layer *layer, attn_reasons *reasons)
{
    const attn_flash_layer *l = reinterpret_cast<const attn_flash_layer *>(layer);
    attn_status status = ATTN_OK;
    char text[160];
    const bool bf16 = is(l->q_dtype, ATTN_CODE_BFLOAT, 16);
    if (!bf16 && !is(l->q_dtype, ATTN_CODE_FLOAT, 16)) {
        const bool ieee = l->q_dtype.code == ATTN_CODE_FLOAT;
        snprintf(text, sizeof text, "q_dtype %s%u: supports bf16, f16", ieee ? "f" : "of bits ",
                 l->q_dtype.bits);
        refuse(reasons, &status, text);
    }
    const bool fp8 = l->kv_dtype.bits == 8 && (l->kv_dtype.code == ATTN_CODE_FP8_E4M3FN ||
                                               l->kv_dtype.code == ATTN_CODE_FP8_E5M2);
    if (!fp8 && !attn_dtype_eq(l->kv_dtype, l->q_dtype))
        refuse(reasons, &status, "kv_dtype: supports that of q, e4m3, e5m2");
    if (!attn_dtype_eq(l->out_dtype, l->q_dtype))
        refuse(reasons, &status, "out_dtype: supports that of q");
    if (!l->num_kv_heads || l->num_heads % l->num_kv_heads) {
        snprintf(text, sizeof text, "num_heads %u: supports multiples of num_kv_heads %u",
                 l->num_heads, l->num_kv_heads);
        refuse(reasons, &status, text);
    }
    if (!instance_find(bf16, int(l->head_dim), int(l->head_dim_v))) {
        snprintf(text, sizeof text, "head_dim %u, head_dim_v %u: supports up to 256", l->head_dim,
                 l->head_dim_v);
        refuse(reasons, &status, text);
    }
    return status;
}

#if defined(ATTN_FLASH_ROCM) && !defined(ATTN_FLASH_EMU)
static const char *const archs[] = {"gfx942"};
#else
static const char *const archs[] = {"*"};
#endif
static const attn_dim_claim dims[] = {
    {"head_dim", {8, 256, 8}, 0},
    {"head_dim_v", {8, 256, 8}, 0},
    {"block_size", {1, 65536, 1}, 0},
};
static const attn_dtype_claim dtypes[] = {
    {"q_dtype", ATTN_BF16, 0},   {"q_dtype", ATTN_F16, 0},   {"kv_dtype", ATTN_BF16, 0},
    {"kv_dtype", ATTN_F16, 0},   {"kv_dtype", ATTN_E4M3, 0}, {"kv_dtype", ATTN_E5M2, 0},
    {"out_dtype", ATTN_BF16, 0}, {"out_dtype", ATTN_F16, 0},
};
static const attn_caps caps = {
    sizeof(attn_caps),
    ATTN_CAPTURE_ALWAYS,
    ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_PER_REQUEST_CAUSAL | ATTN_F_WINDOW | ATTN_F_SOFTCAP |
        ATTN_F_SINKS | ATTN_F_ALIBI | ATTN_F_PREFIX_RANGES | ATTN_F_CROSS | ATTN_F_LSE |
        ATTN_F_KV_SCALES,
    ATTN_P_DETERMINISTIC,
    0,
    archs,
    dims,
    dtypes,
    sizeof archs / sizeof archs[0],
    sizeof dims / sizeof dims[0],
    sizeof dtypes / sizeof dtypes[0],
    0,
    {0, 0, 0, 0},
};
static const attn_caps *const caps_list[] = {&caps};

static const attn_backend backend = {
    sizeof(attn_backend),
    FLASH_DEVICE_TYPE,
    FLASH_NAME,
    FLASH_SUMMARY,
    ATTN_FAMILY_FLASH,
    &op,
    caps_list,
    1,
    0,
};
static const attn_backend *const backends[] = {&backend};

static const attn_option split_kv = {
    sizeof(attn_option),
    ATTN_OPTION_CHOICE,
    "split_kv",
    "auto",
    "auto|off",
    0,
    0,
    "spread the keys of one tile over several blocks when there are few tiles",
};
static const attn_option kernel = {
    sizeof(attn_option),
    ATTN_OPTION_CHOICE,
    "kernel",
    "auto",
    "auto|general",
    0,
    0,
    "general: only the kernel that runs on every GPU, also where a faster one fits",
};
static const attn_option *const option_list[] = {&split_kv, &kernel};

static const void *
get_extension(const char *id)
{
    return strcmp(id, ATTN_DEVICE_SERVICE) == 0 ? &gpu::service : nullptr;
}

static attn_status
init(const attn_host *, const attn_key_value *values, uint32_t count, attn_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *key = values[i].key, *value = values[i].value;
        if (strcmp(key, "split_kv") == 0)
            options.split_kv = strcmp(value, "off") != 0;
        else if (strcmp(key, "kernel") == 0)
            options.general_only = strcmp(value, "general") == 0;
        else
            return gpu::failf(err, ATTN_E_ARG, key, "no such option");
    }
    return ATTN_OK;
}

static void
shutdown()
{
}

/* A Hopper GPU that was given the code of sm_80 has none of the kernels of sm_90a. */
static attn_status
look_at_code(gpu::Device *device, attn_error *err)
{
    int arch = 0;
    const gpu::OnDevice here(device->device.id);
    const attn_status status = load_support(&arch, err);
    device->hopper &= arch == 90;
    return status;
}

static attn_status
open(attn_device device, attn_ctx **ctx, attn_error *err)
{
    attn_ctx *c = new (std::nothrow) attn_ctx();
    if (!c)
        return attn_fail(err, ATTN_E_NOMEM, "ctx", "out of memory");
    attn_status status = gpu::device_open(device, &c->device, err);
    if (!status)
        status = look_at_code(&c->device, err);
    if (status) {
        delete c;
        return status;
    }
    *ctx = c;
    return ATTN_OK;
}

static void
close(attn_ctx *ctx)
{
    delete ctx;
}

static const attn_plugin plugin = {
    sizeof(attn_plugin),
    0,
    FLASH_ID,
    ATTN_PACKAGE_VERSION,
    "libattn",
    "",
    "Apache-2.0",
    backends,
    option_list,
    1,
    1,
    get_extension,
    init,
    shutdown,
    open,
    close,
};

} // namespace flash

ATTN_PLUGIN_NOTE(FLASH_ID, ATTN_PACKAGE_VERSION, FLASH_DEVICE, FLASH_NAME)

extern "C" {
ATTN_PLUGIN_ENTRY(flash::plugin)
}
