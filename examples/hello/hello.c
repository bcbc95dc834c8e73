/* SPDX-License-Identifier: 0BSD */
/* A whole plugin: paged attention in float32 on the CPU, slow and right. */
#include <attn/plugin.h>

#include <math.h>
#include <stdlib.h>

struct attn_builder {
    attn_flash_layer layer;
    attn_batch batch;
    attn_kv_group group;
};

#define F32(t, at) (((float *)((char *)(t)->data + (t)->byte_offset))[at])

static attn_status
check(const attn_backend *self, const char *arch, const attn_layer *layer,
      attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer, (void)reasons;
    return ATTN_OK; /* the claims below say it all */
}

static attn_status
builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
               const attn_limits *limits, attn_builder **builder,
               attn_error *err)
{
    attn_builder *b = calloc(1, sizeof *b);
    (void)ctx, (void)self, (void)limits;
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    b->layer = *(const attn_flash_layer *)layer;
    *builder = b;
    return ATTN_OK;
}

static attn_status
no_memory(const attn_builder *builder, attn_workspace *need)
{
    (void)builder;
    *need = (attn_workspace){.struct_size = sizeof *need};
    return ATTN_OK;
}

static attn_status
bind(attn_builder *builder, const attn_binding *memory, attn_error *err)
{
    (void)builder, (void)memory, (void)err;
    return ATTN_OK;
}

static attn_status
layer_prepare(attn_builder *builder, const attn_head *constants,
              const attn_binding *memory, const attn_stream *stream,
              attn_prepared **layer, attn_error *err)
{
    (void)constants, (void)memory, (void)stream, (void)err;
    *layer = (attn_prepared *)builder; /* nothing to pack */
    return ATTN_OK;
}

static attn_status
build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
      const attn_stream *stream, attn_error *err)
{
    (void)stream, (void)err;
    b->batch = *batch;
    b->group = *group;
    return ATTN_OK;
}

static attn_status
update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)args;
    const attn_tensor *from[2] = {u->k, u->v},
                      *to[2] = {u->k_cache, u->v_cache};
    (void)err;
    for (int w = 0; w < 2; w++)
        for (int64_t t = 0; t < from[w]->shape[0]; t++) {
            const int64_t slot = b->group.slot_mapping[t];
            const int64_t at = slot / b->group.block_size * to[w]->strides[0] +
                               slot % b->group.block_size * to[w]->strides[1];
            for (int64_t h = 0; slot >= 0 && h < from[w]->shape[1]; h++)
                for (int64_t d = 0; d < from[w]->shape[2]; d++)
                    F32(to[w], at + h * to[w]->strides[2] + d) =
                        F32(from[w], t * from[w]->strides[0] +
                                         h * from[w]->strides[1] + d);
        }
    return ATTN_OK;
}

/* One query row: token t of request r at position `at`, head h. */
static void
row(const attn_builder *b, const attn_flash_forward *f, int64_t r, int64_t t,
    int64_t at, int64_t h)
{
    const attn_flash_layer *l = &b->layer;
    const int64_t kv_head = h / (l->num_heads / l->num_kv_heads);
    const int64_t keys = l->causal ? at + 1 : b->batch.seq_lens[r];
    const int32_t *blocks =
        b->group.block_table + r * b->group.block_table_stride;
    double max = -HUGE_VAL, sum = 0, acc[256] = {0};
    for (int64_t j = 0; j < keys; j++) {
        const int64_t in = j % b->group.block_size;
        const int64_t block = blocks[j / b->group.block_size];
        const int64_t k = block * f->k_cache->strides[0] +
                          in * f->k_cache->strides[1] +
                          kv_head * f->k_cache->strides[2];
        const int64_t v = block * f->v_cache->strides[0] +
                          in * f->v_cache->strides[1] +
                          kv_head * f->v_cache->strides[2];
        double s = 0;
        for (int64_t d = 0; d < l->head_dim; d++)
            s += (double)F32(f->q,
                             t * f->q->strides[0] + h * f->q->strides[1] + d) *
                 F32(f->k_cache, k + d);
        s *= l->scale;
        const double old = s > max ? exp(max - s) : 1; /* rescales the past */
        max = s > max ? s : max;
        const double p = exp(s - max);
        sum = sum * old + p;
        for (int64_t d = 0; d < l->head_dim_v; d++)
            acc[d] = acc[d] * old + p * F32(f->v_cache, v + d);
    }
    for (int64_t d = 0; d < l->head_dim_v; d++)
        F32(f->out, t * f->out->strides[0] + h * f->out->strides[1] + d) =
            keys > 0 ? (float)(acc[d] / sum) : 0;
    if (f->lse)
        F32(f->lse, t * f->lse->strides[0] + h * f->lse->strides[1]) =
            (float)(max + log(sum));
}

static attn_status
forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_forward *f = (const attn_flash_forward *)args;
    (void)err;
    for (int64_t r = 0; r < b->batch.num_reqs; r++) {
        const int64_t first = b->batch.query_start_loc[r];
        const int64_t end = b->batch.query_start_loc[r + 1];
        for (int64_t t = first; t < end; t++)
            for (int64_t h = 0; h < b->layer.num_heads; h++)
                row(b, f, r, t, b->batch.seq_lens[r] - end + t, h);
    }
    return ATTN_OK;
}

static void
builder_destroy(attn_builder *builder)
{
    free(builder);
}

static const attn_op op = {
    .struct_size = sizeof op,
    .check = check,
    .builder_create = builder_create,
    .workspace = no_memory,
    .bind = bind,
    .layer_bytes = no_memory,
    .layer_prepare = layer_prepare,
    .build = build,
    .update_cache = update_cache,
    .forward = forward,
    .builder_destroy = builder_destroy,
};

static const char *const archs[] = {"*"};
static const attn_dim_claim dims[] = {
    {"head_dim", {1, 256, 1}, 0},
    {"head_dim_v", {1, 256, 1}, 0},
};
static const attn_dtype_claim dtypes[] = {
    {"q_dtype", ATTN_F32, 0},
    {"kv_dtype", ATTN_F32, 0},
    {"out_dtype", ATTN_F32, 0},
};
static const attn_caps caps = {
    .struct_size = sizeof caps,
    .capture = ATTN_CAPTURE_NEVER,
    .features = ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_LSE,
    .properties = ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT,
    .archs = archs,
    .dims = dims,
    .dtypes = dtypes,
    .num_archs = 1,
    .num_dims = 2,
    .num_dtypes = 3,
};
static const attn_caps *const all_caps[] = {&caps};
static const attn_backend backend = {
    .struct_size = sizeof backend,
    .device_type = ATTN_DEVICE_CPU,
    .name = "hello",
    .summary = "the smallest whole backend: float32, one thread, slow",
    .family = ATTN_FAMILY_FLASH,
    .op = &op,
    .caps = all_caps,
    .num_caps = 1,
};
static const attn_backend *const backends[] = {&backend};

static const void *
get_extension(const char *id)
{
    (void)id;
    return NULL;
}

static attn_status
init(const attn_host *host, const attn_key_value *options, uint32_t num_options,
     attn_error *err)
{
    (void)host, (void)options, (void)num_options, (void)err;
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
    *ctx = (attn_ctx *)&backend; /* nothing to keep */
    return ATTN_OK;
}

static void
close_device(attn_ctx *ctx)
{
    (void)ctx;
}

static const attn_plugin plugin = {
    .struct_size = sizeof plugin,
    .id = "org.example.hello",
    .version = "0.1.0",
    .vendor = "example",
    .url = "",
    .license = "0BSD",
    .backends = backends,
    .num_backends = 1,
    .get_extension = get_extension,
    .init = init,
    .shutdown = shutdown_plugin,
    .open = open_device,
    .close = close_device,
};

ATTN_PLUGIN_NOTE("org.example.hello", "0.1.0", "cpu", "hello");
ATTN_PLUGIN_ENTRY(plugin)
