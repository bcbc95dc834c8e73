/* SPDX-License-Identifier: 0BSD */
/* A whole plugin: paged attention in float32 on the CPU, slow and right. */
#include <attn/plugin.h>
#include <attn/simple.h>

#include <math.h>
#include <stdlib.h>

struct attn_builder {
    attn_flash_layer layer;
    attn_batch batch;
    attn_kv_group group;
};

/* Element 0 of the row at these indices; inner strides are 1. */
static float *
row(const attn_tensor *t, int64_t i, int64_t j, int64_t k)
{
    return (float *)((char *)t->data + t->byte_offset) + i * t->strides[0] +
           j * t->strides[1] + (t->ndim == 4 ? k * t->strides[2] : 0);
}

static attn_status
create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
       const attn_limits *limits, attn_builder **builder, attn_error *err)
{
    (void)ctx, (void)self, (void)limits;
    if (!(*builder = calloc(1, sizeof **builder)))
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    (*builder)->layer = *(const attn_flash_layer *)layer;
    return ATTN_OK;
}

static void
destroy(attn_builder *builder)
{
    free(builder);
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

static void
store(const attn_kv_group *g, const attn_tensor *from, const attn_tensor *to)
{
    for (int64_t t = 0; t < from->shape[0]; t++)
        for (int64_t h = 0; h < from->shape[1]; h++)
            for (int64_t d = 0, slot = g->slot_mapping[t];
                 slot >= 0 && d < from->shape[2]; d++)
                row(to, slot / g->block_size, slot % g->block_size, h)[d] =
                    row(from, t, h, 0)[d];
}

static attn_status
update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)args;
    (void)err;
    store(&b->group, u->k, u->k_cache);
    store(&b->group, u->v, u->v_cache);
    return ATTN_OK;
}

/* Query head h of token t, which sees the first `keys` keys of request r. */
static void
attend(const attn_builder *b, const attn_flash_forward *f, int64_t r, int64_t t,
       int64_t h, int64_t keys)
{
    const attn_flash_layer *l = &b->layer;
    const int64_t kv_head = h / (l->num_heads / l->num_kv_heads);
    const int32_t *blocks =
        b->group.block_table + r * b->group.block_table_stride;
    double max = -HUGE_VAL, sum = 0, acc[256] = {0};
    for (int64_t j = 0; j < keys; j++) {
        const int64_t in = j % b->group.block_size;
        const int64_t block = blocks[j / b->group.block_size];
        const float *k = row(f->k_cache, block, in, kv_head);
        const float *v = row(f->v_cache, block, in, kv_head);
        double s = 0;
        for (uint32_t d = 0; d < l->head_dim; d++)
            s += (double)row(f->q, t, h, 0)[d] * k[d];
        s *= l->scale;
        const double past = s > max ? exp(max - s) : 1;
        max = s > max ? s : max;
        const double p = exp(s - max);
        sum = sum * past + p;
        for (uint32_t d = 0; d < l->head_dim_v; d++)
            acc[d] = acc[d] * past + p * v[d];
    }
    for (uint32_t d = 0; d < l->head_dim_v; d++)
        row(f->out, t, h, 0)[d] = keys > 0 ? (float)(acc[d] / sum) : 0;
    if (f->lse)
        *row(f->lse, t, h, 0) = (float)(max + log(sum));
}

static attn_status
forward(attn_builder *b, const attn_head *args, attn_error *err)
{
    (void)err;
    for (int64_t r = 0; r < b->batch.num_reqs; r++) {
        const int64_t end = b->batch.query_start_loc[r + 1];
        const int64_t length = b->batch.seq_lens[r];
        for (int64_t t = b->batch.query_start_loc[r]; t < end; t++)
            for (int64_t h = 0; h < b->layer.num_heads; h++)
                attend(b, (const attn_flash_forward *)args, r, t, h,
                       b->layer.causal ? length - end + t + 1 : length);
    }
    return ATTN_OK;
}

static const attn_op op = {
    ATTN_SIMPLE_OP,
    .builder_create = create,
    .build = build,
    .forward = forward,
    .update_cache = update_cache,
    .builder_destroy = destroy,
};
static const char *const archs[] = {"*"};
static const attn_dim_claim dims[] = {{"head_dim", {1, 256, 1}, 0},
                                      {"head_dim_v", {1, 256, 1}, 0}};
static const attn_dtype_claim dtypes[] = {{"q_dtype", ATTN_F32, 0},
                                          {"kv_dtype", ATTN_F32, 0},
                                          {"out_dtype", ATTN_F32, 0}};
static const attn_caps caps = {
    .struct_size = sizeof caps,
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
static const attn_backend hello = {
    .struct_size = sizeof hello,
    .device_type = ATTN_DEVICE_CPU,
    .name = "hello",
    .summary = "the smallest whole backend: float32, one thread, slow",
    .family = ATTN_FAMILY_FLASH,
    .op = &op,
    .caps = all_caps,
    .num_caps = 1,
};
static const attn_backend *const backends[] = {&hello};
static const attn_plugin plugin = {
    ATTN_SIMPLE_PLUGIN,
    .id = "org.example.hello",
    .version = "0.1.0",
    .vendor = "example",
    .url = "",
    .license = "0BSD",
    .backends = backends,
    .num_backends = 1,
};

ATTN_PLUGIN_NOTE("org.example.hello", "0.1.0", "cpu", "hello");
ATTN_PLUGIN_ENTRY(plugin)
