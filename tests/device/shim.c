/* SPDX-License-Identifier: Apache-2.0 */
/* A flash plugin behind a handful of plain functions, for bench_torch.py: one
 * process then times it beside PyTorch's own kernels. Text of the last error:
 * shim_error(). */
#include <attn/plugin.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef struct shim {
    const attn_op *op;
    const attn_backend *backend;
    const attn_plugin *plugin;
    attn_ctx *ctx;
    attn_builder *builder;
    attn_prepared *prepared;
    attn_flash_layer layer;
    attn_stream stream;
    attn_workspace need, layer_need;
    void *host;
} shim;

static attn_error err = {.struct_size = sizeof(attn_error)};

ATTN_EXPORT const char *
shim_error(void)
{
    return err.message;
}

static const attn_plugin *
load(const char *path, const char *kernel)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    attn_status (*entry)(attn_handshake *) = NULL;
    if (!so) {
        attn_fail(&err, ATTN_E_IO, path, dlerror());
        return NULL;
    }
    *(void **)&entry = dlsym(so, "attn_plugin_entry");
    attn_handshake hs = {.magic = ATTN_MAGIC_ASK,
                         .size = sizeof hs,
                         .host_major_lo = ATTN_ABI_MAJOR,
                         .host_major_hi = ATTN_ABI_MAJOR,
                         .host_minor = ATTN_ABI_MINOR};
    if (!entry || entry(&hs) || !hs.accepted)
        return NULL;
    const attn_plugin *p = hs.plugin;
    const attn_key_value options[1] = {{"kernel", kernel}};
    return p->init(NULL, options, 1, &err) ? NULL : p;
}

/* dtype, kv: DLPack codes and bits. capture: ATTN_CAPTURE_*. NULL on failure.
 */
ATTN_EXPORT shim *
shim_open(const char *path, const char *kernel, int heads, int kv_heads, int d,
          int dv, int block, int code, int kv_code, int kv_bits, int causal,
          int window, float scale, int max_reqs, int max_tokens, int max_query,
          int max_seq, int capture, uint64_t stream)
{
    shim *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->plugin = load(path, kernel);
    if (!s->plugin)
        return free(s), NULL;
    s->backend = s->plugin->backends[0];
    s->op = s->backend->op;
    const attn_device device = {ATTN_DEVICE_CUDA, 0};
    const attn_dtype q = {(uint8_t)code, 16, 1},
                     kv = {(uint8_t)kv_code, (uint8_t)kv_bits, 1};
    s->stream = (attn_stream){stream, device, 0, 0};
    s->layer = (attn_flash_layer){
        .head = {sizeof s->layer, 0, ATTN_FAMILY_FLASH, 0},
        .num_heads = (uint32_t)heads,
        .num_kv_heads = (uint32_t)kv_heads,
        .head_dim = (uint32_t)d,
        .head_dim_v = (uint32_t)dv,
        .block_size = (uint32_t)block,
        .causal = (uint32_t)causal,
        .q_dtype = q,
        .kv_dtype = kv,
        .out_dtype = q,
        .scale = scale,
        .window_left = window,
        .window_right = -1,
    };
    const attn_limits limits = {.struct_size = sizeof limits,
                                .max_reqs = (uint32_t)max_reqs,
                                .max_tokens = (uint32_t)max_tokens,
                                .max_query_len = (uint32_t)max_query,
                                .max_seq_len = (uint32_t)max_seq,
                                .max_blocks_per_req =
                                    (uint32_t)((max_seq + block - 1) / block),
                                .num_threads = 1,
                                .steps_in_flight = 2,
                                .capture = (uint32_t)capture};
    s->need.struct_size = s->layer_need.struct_size = sizeof s->need;
    if (s->plugin->open(device, &s->ctx, &err) ||
        s->op->builder_create(s->ctx, s->backend, &s->layer.head, &limits,
                              &s->builder, &err) ||
        s->op->workspace(s->builder, &s->need) ||
        s->op->layer_bytes(s->builder, &s->layer_need))
        return free(s), NULL;
    return s;
}

ATTN_EXPORT uint64_t
shim_workspace_bytes(const shim *s)
{
    return s->need.device_bytes;
}

ATTN_EXPORT int
shim_bind(shim *s, void *workspace, void *layer_memory)
{
    s->host = calloc(1, s->layer_need.host_bytes + 64);
    const attn_binding memory = {.struct_size = sizeof memory,
                                 .device = workspace};
    const attn_binding layer = {
        .struct_size = sizeof layer, .host = s->host, .device = layer_memory};
    int status = s->op->bind(s->builder, &memory, &err);
    if (!status)
        status = s->op->layer_prepare(s->builder, NULL, &layer, &s->stream,
                                      &s->prepared, &err);
    return status;
}

static attn_tensor
tensor(const shim *s, void *data, attn_dtype type, int ndim, int64_t *shape,
       int64_t *strides)
{
    int64_t n = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = n;
        n *= shape[i];
    }
    return (attn_tensor){data, s->stream.device, ndim, type, shape, strides, 0};
}

/* Dense device arrays. */
ATTN_EXPORT int
shim_build(shim *s, int reqs, int tokens, int max_query, int max_seq,
           const int32_t *host_qsl, void *qsl, void *lens, void *table,
           int cols, int blocks)
{
    const attn_dtype i32 = ATTN_I32;
    int64_t r1[1] = {reqs + 1}, r[1] = {reqs}, t[2] = {reqs, cols}, s1[1],
            s2[1], s3[2];
    const attn_tensor tq = tensor(s, qsl, i32, 1, r1, s1),
                      tl = tensor(s, lens, i32, 1, r, s2),
                      tt = tensor(s, table, i32, 2, t, s3);
    const attn_batch batch = {.struct_size = sizeof batch,
                              .num_reqs = (uint32_t)reqs,
                              .num_tokens = (uint32_t)tokens,
                              .max_query_len = (uint32_t)max_query,
                              .max_seq_len = (uint32_t)max_seq,
                              .query_start_loc_state = ATTN_EXACT,
                              .query_start_loc = host_qsl,
                              .query_start_loc_device = &tq,
                              .seq_lens_device = &tl};
    const attn_kv_group group = {.struct_size = sizeof group,
                                 .block_size = s->layer.block_size,
                                 .num_blocks = (uint32_t)blocks,
                                 .block_table_cols = (uint32_t)cols,
                                 .block_table_stride = cols,
                                 .block_table_device = &tt};
    return s->op->build(s->builder, &batch, &group, &s->stream, &err);
}

ATTN_EXPORT int
shim_forward(shim *s, int tokens, int blocks, void *q, void *k, void *v,
             void *out, int capturing)
{
    const attn_flash_layer *l = &s->layer;
    int64_t sq[3] = {tokens, l->num_heads, l->head_dim},
            so[3] = {tokens, l->num_heads, l->head_dim_v};
    int64_t sk[4] = {blocks, l->block_size, l->num_kv_heads, l->head_dim},
            sv[4] = {blocks, l->block_size, l->num_kv_heads, l->head_dim_v};
    int64_t st[4][4];
    attn_tensor tq = tensor(s, q, l->q_dtype, 3, sq, st[0]),
                tk = tensor(s, k, l->kv_dtype, 4, sk, st[1]),
                tv = tensor(s, v, l->kv_dtype, 4, sv, st[2]),
                to = tensor(s, out, l->q_dtype, 3, so, st[3]);
    attn_flash_forward args = {.head = {sizeof args, 0},
                               .stream = s->stream,
                               .layer = s->prepared,
                               .q = &tq,
                               .k_cache = &tk,
                               .v_cache = &tv,
                               .out = &to};
    args.stream.capturing = (uint32_t)capturing;
    return s->op->forward(s->builder, &args.head, &err);
}

ATTN_EXPORT void
shim_close(shim *s)
{
    s->op->builder_destroy(s->builder);
    s->plugin->close(s->ctx);
    free(s->host);
    free(s);
}
