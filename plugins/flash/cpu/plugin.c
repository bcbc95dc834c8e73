/* SPDX-License-Identifier: Apache-2.0 */
#include "flash/cpu/flash.h"

#include "common/cpu/plugin.h"

#include <stdio.h>
#include <string.h>

static const attn_host *the_host;
static flash_options options;

const attn_host *
flash_host(void)
{
    return the_host;
}

const flash_options *
flash_get_options(void)
{
    return &options;
}

/* ------------------------------------------------------------------ claims */

static const char *const archs[] = {"*"};

static const attn_dim_claim dims[] = {
    {"head_dim", {8, FLASH_MAX_DIM, 8}, 0},
    {"head_dim_v", {8, FLASH_MAX_DIM, 8}, 0},
    {"block_size", {1, 65536, 1}, 0},
};

static const attn_dtype_claim dtypes[] = {
    {"q_dtype", ATTN_F32, 0},   {"q_dtype", ATTN_F16, 0},   {"q_dtype", ATTN_BF16, 0},
    {"out_dtype", ATTN_F32, 0}, {"out_dtype", ATTN_F16, 0}, {"out_dtype", ATTN_BF16, 0},
    {"kv_dtype", ATTN_F32, 0},  {"kv_dtype", ATTN_F16, 0},  {"kv_dtype", ATTN_BF16, 0},
    {"kv_dtype", ATTN_E4M3, 0}, {"kv_dtype", ATTN_E5M2, 0},
};

static const attn_caps caps = {
    .struct_size = sizeof caps,
    .capture = ATTN_CAPTURE_NEVER,
    .features = ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_PER_REQUEST_CAUSAL | ATTN_F_WINDOW |
                ATTN_F_SOFTCAP | ATTN_F_SINKS | ATTN_F_ALIBI | ATTN_F_PREFIX_RANGES | ATTN_F_CROSS |
                ATTN_F_LSE | ATTN_F_KV_SCALES,
    .properties = ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT,
    .archs = archs,
    .dims = dims,
    .dtypes = dtypes,
    .num_archs = 1,
    .num_dims = sizeof dims / sizeof *dims,
    .num_dtypes = sizeof dtypes / sizeof *dtypes,
};

attn_status
flash_check(const attn_backend *self, const char *arch, const attn_layer *layer,
            attn_reasons *reasons)
{
    (void)self, (void)arch;
    const attn_flash_layer *l = (const attn_flash_layer *)layer;
    attn_reasons count = {.struct_size = sizeof count};
    attn_reasons *r = reasons ? reasons : &count;
    char text[96];
    r->count = 0;
    if (!l->num_kv_heads || !l->num_heads || l->num_heads % l->num_kv_heads) {
        snprintf(text, sizeof text, "num_heads %u: must be a multiple of num_kv_heads %u",
                 l->num_heads, l->num_kv_heads);
        attn_reason_add(r, text);
    }
    cpu_check_dims(dims, sizeof dims / sizeof *dims,
                   (const uint32_t[]){l->head_dim, l->head_dim_v, l->block_size}, r);
    cpu_check_type("q_dtype", l->q_dtype, 0, r);
    cpu_check_type("kv_dtype", l->kv_dtype, 1, r);
    cpu_check_type("out_dtype", l->out_dtype, 0, r);
    if (!isfinite(l->scale)) {
        snprintf(text, sizeof text, "scale %g: must be finite", (double)l->scale);
        attn_reason_add(r, text);
    }
    return r->count ? ATTN_E_UNSUPPORTED : ATTN_OK;
}

static void
fill_cache(attn_cache_spec *cache, const char *name, const attn_flash_layer *l, uint32_t dim,
           uint32_t head_by_head)
{
    const int64_t size = l->block_size, heads = l->num_kv_heads;
    *cache = (attn_cache_spec){.dtype = l->kv_dtype,
                               .ndim = 3,
                               .shape = {size, heads, dim},
                               .strides = {heads * dim, dim, 1},
                               .alignment = FLASH_ALIGN};
    if (head_by_head) {
        cache->strides[0] = dim;
        cache->strides[1] = size * dim;
    }
    attn_text_copy(cache->name, sizeof cache->name, name);
    cache->bytes_per_block = (uint64_t)(size * heads) * dim * (l->kv_dtype.bits / 8);
}

attn_status
flash_kv_spec(const attn_backend *self, const attn_layer *layer, attn_kv_spec *spec)
{
    const attn_flash_layer *l = (const attn_flash_layer *)layer;
    const attn_status status = flash_check(self, NULL, layer, NULL);
    flash_shape shape;
    if (status)
        return status;
    flash_shape_take(&shape, l);
    const flash_kernel *kernel = flash_kernel_pick(options.isa, shape.q_type, shape.kv_type);
    flash_shape_plan(&shape, kernel, &options);
    spec->num_caches = 2;
    spec->block_sizes = (attn_range){1, 65536, 1};
    spec->preferred_block_size = flash_preferred_page(&shape, kernel, &options);
    fill_cache(&spec->caches[0], "k", l, l->head_dim, shape.head_by_head);
    fill_cache(&spec->caches[1], "v", l, l->head_dim_v, shape.head_by_head);
    return ATTN_OK;
}

static const attn_backend backend = {
    .struct_size = sizeof backend,
    .device_type = ATTN_DEVICE_CPU,
    .name = "flash.cpu",
    .summary = "paged softmax attention on the CPU: AVX2, AVX-512, AVX-512 BF16, AMX, plain C",
    .family = ATTN_FAMILY_FLASH,
    .op = &flash_op,
    .caps = (const attn_caps *const[]){&caps},
    .num_caps = 1,
};

/* ----------------------------------------------------------------- options */

#define OPTION_INT(n, v, l, h, t)                                                           \
    &(const attn_option)                                                                    \
    {                                                                                       \
        .struct_size = sizeof(attn_option), .type = ATTN_OPTION_INT, .name = n, .value = v, \
        .lo = l, .hi = h, .help = t                                                         \
    }

static const attn_option option_decode = {
    .struct_size = sizeof option_decode,
    .type = ATTN_OPTION_CHOICE,
    .name = "decode",
    .value = "auto",
    .choices = "auto|fetch|stream",
    .help =
        "long pages of bf16, head by head: asked of memory a tile ahead, or, heads of 64 and 128, "
        "left to the processor's own stream (auto: on AMD)"};

static const attn_option *const option_list[] = {
    &cpu_option_isa,
    &option_decode,
    OPTION_INT("query_rows", "192", 16, 4096,
               "rows (query tokens x heads of a KV head) computed on one packing of the keys"),
    OPTION_INT("split_keys", "1024", 64, 1048576, "least keys of a split of a decode request"),
    OPTION_INT("max_splits", "16", 1, FLASH_MAX_SPLITS, "most splits of a decode request"),
};

static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t num, attn_error *err)
{
    cpu_isa isa;
    const attn_status status = cpu_read_isa(values, num, &isa, err);
    if (status)
        return status;
    const char *decode = cpu_read_text(values, num, "decode", "auto");
    the_host = host;
    options = (flash_options){.isa = isa,
                              .query_rows = cpu_read_u32(values, num, "query_rows", 192),
                              .split_keys = cpu_read_u32(values, num, "split_keys", 1024),
                              .max_splits = cpu_read_u32(values, num, "max_splits", 16),
                              .streams = strcmp(decode, "auto") ? !strcmp(decode, "stream")
                                                                : cpu_is_amd()};
    return ATTN_OK;
}

static const attn_backend *const backends[] = {&backend};

CPU_PLUGIN("attn.flash.cpu", "flash.cpu", backends, option_list, init)
