/* SPDX-License-Identifier: Apache-2.0 */
/* A flash backend with a device service, straight through the ABI, against fp64
 * from the definition. Takes the emulated plugin, or the one FLASH_TEST_PLUGIN
 * names. Poison: cache slots no sequence owns are NaN, table entries past a
 * sequence are 0x7FFFFFFF. */
#include <attn/plugin.h>

#include <check.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct spec {
    const char *name;
    int reqs, q[4], s[4];
    int heads, kv_heads, d, dv, block;
    int bf16, kv; /* kv: 0 as q, 1 e4m3, 2 e5m2 */
    int causal, left, right;
    float softcap;
    int sinks, slopes, ranges, per_request, cross, odd;
} spec;

/* clang-format off */
static const spec specs[] = {
    /* name, reqs, q, s, H, Hk, D, Dv, bs, bf, kv, ca, left, rt, cap, .. */
    {.name = "decode", 2, {1, 1}, {70, 9}, 8, 2, 128, 128, 16, 1, 0, 1, -1, -1,
     0},
    {.name = "decode split", 1, {1}, {600}, 4, 4, 64, 64, 32, 0, 0, 1, -1, -1,
     0},
    {.name = "decode shares", 2, {1, 1}, {900, 450}, 8, 8, 64, 64, 32, 1, 0, 1,
     -1, -1, 0},
    {.name = "decode shares e4m3", 3, {1, 2, 1}, {500, 70, 700}, 16, 8, 64, 64,
     16, 1, 1, 1, -1, -1, 0},
    {.name = "decode long tail",3, {1, 2, 1}, {333, 65, 1}, 8, 1, 80, 80, 8, 1,
     0, 1, -1, -1, 0},
    {.name = "prefill", 1, {100}, {100}, 2, 2, 64, 64, 16, 1, 0, 1, -1, -1, 0},
    {.name = "prefill gqa", 2, {40, 33}, {40, 90}, 8, 2, 128, 128, 16, 0, 0, 1,
     -1, -1, 0},
    {.name = "chunk split", 1, {20}, {700}, 2, 1, 64, 64, 64, 1, 0, 1, -1, -1,
     0},
    {.name = "mixed", 4, {1, 50, 1, 7}, {40, 50, 3, 99}, 4, 2, 96, 96, 4, 1, 0,
     1, -1, -1, 0},
    {.name = "full", 1, {70}, {130}, 2, 1, 64, 64, 1, 1, 0, 0, -1, -1, 0},
    {.name = "window", 2, {90, 1}, {200, 190}, 2, 1, 64, 64, 16, 1, 0, 1, 30,
     -1, 0},
    {.name = "window both", 1, {80}, {150}, 2, 2, 64, 64, 3, 0, 0, 0, 17, 5, 0},
    {.name = "softcap sinks", 2, {30, 1}, {60, 61}, 4, 2, 64, 64, 16, 1, 0, 1,
     -1, -1, 20, 1},
    {.name = "alibi", 2, {30, 1}, {60, 61}, 4, 2, 64, 64, 16, 1, 0, 1, -1, -1,
     0, 0, 1},
    {.name = "ranges", 2, {60, 1}, {90, 70}, 2, 1, 64, 64, 16, 1, 0, 1, 20, -1,
     0, 0, 0, 1},
    {.name = "per request", 3, {20, 1, 20}, {40, 33, 20}, 2, 1, 64, 64, 16, 1,
     0, 1, -1, -1, 0, 0, 0, 0, 1},
    {.name = "cross", 2, {40, 3}, {17, 50}, 2, 1, 64, 64, 16, 1, 0, 0, -1, -1,
     0, 0, 0, 0, 0, 1},
    {.name = "192/128", 2, {33, 1}, {66, 80}, 2, 2, 192, 128, 16, 1, 0, 1, -1,
     -1, 0},
    {.name = "192", 2, {33, 1}, {66, 80}, 2, 2, 192, 192, 16, 0, 0, 1, -1, -1,
     0},
    {.name = "256", 2, {33, 1}, {66, 180}, 2, 1, 256, 256, 16, 1, 0, 1, -1, -1,
     0},
    {.name = "e4m3", 2, {33, 1}, {66, 180}, 4, 2, 128, 128, 16, 1, 1, 1, -1,
     -1, 0},
    {.name = "e5m2", 2, {33, 1}, {66, 180}, 4, 2, 64, 64, 16, 0, 2, 1, -1, -1,
     0},
    {.name = "unaligned", 2, {33, 1}, {66, 80}, 2, 1, 72, 40, 5, 1, 0, 1, -1,
     -1, 0, 0, 0, 0, 0, 0, 1},
    {.name = "unaligned e4m3", 2, {33, 1}, {66, 80}, 2, 1, 64, 64, 5, 0, 1, 1,
     -1, -1, 0, 0, 0, 0, 0, 0, 1},
    {.name = "many heads", 1, {2}, {50}, 32, 1, 64, 64, 16, 1, 0, 1, -1, -1, 0},
};
/* clang-format on */

static const attn_plugin *plugin;
static const attn_device_service *dev;
static attn_device device;
static attn_stream stream;
static attn_error err = {.struct_size = sizeof(attn_error)};

#define OK(call)                                                     \
    ck_assert_msg((call) == ATTN_OK, "%s: %s: %s", #call, err.where, \
                  err.message)

/* ------------------------------------------------------------- numbers */

static float
bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static double
half_value(uint16_t h, int bf16)
{
    if (bf16)
        return (double)bits_float((uint32_t)h << 16);
    const int e = h >> 10 & 31, m = h & 1023;
    const double v = e == 31 ? (m ? NAN : INFINITY)
                     : e     ? ldexp(1024 + m, e - 25)
                             : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static double
byte_value(uint8_t c, int kv)
{
    const int bits = kv == 1 ? 3 : 2, bias = kv == 1 ? 7 : 15;
    const int e = (c & 127) >> bits, m = c & ((1 << bits) - 1);
    double v =
        e ? ldexp((1 << bits) + m, e - bias - bits) : ldexp(m, 1 - bias - bits);
    if (kv == 1 ? (c & 127) == 127 : e == 31)
        v = NAN;
    return c & 128 ? -v : v;
}

static uint64_t state = 88172645463325252ull;

static double
draw(void) /* in (-1, 1) */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-52 - 1;
}

static uint16_t
half_of(double v, int bf16)
{
    float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, 4);
    if (bf16)
        return (uint16_t)(u >> 16);
    if (fabsf(f) < 0x1p-14f)
        return (uint16_t)((u >> 16 & 0x8000) | (uint32_t)ldexp(fabs(v), 24));
    return (uint16_t)((u >> 16 & 0x8000) |
                      (((u & 0x7FFFFFFF) >> 13) - (112u << 10)));
}

/* ------------------------------------------------------- device memory */

typedef struct array {
    void *host;
    void *device;
    size_t bytes;
    int64_t shape[4], strides[4];
    attn_tensor t;
} array;

static array
array_new(attn_dtype type, int ndim, const int64_t *shape,
          const int64_t *strides, size_t shift)
{
    array a = {0};
    size_t count = 1;
    for (int i = 0; i < ndim; i++) {
        a.shape[i] = shape[i];
        a.strides[i] = strides[i];
        count += (size_t)((shape[i] > 0 ? shape[i] - 1 : 0) * strides[i]);
    }
    a.bytes = (count + shift) * type.bits / 8;
    a.host = calloc(1, a.bytes);
    OK(dev->alloc(device, ATTN_MEM_DEVICE, a.bytes, &a.device, &err));
    a.t = (attn_tensor){
        a.device, device, ndim, type, NULL, NULL, shift * type.bits / 8};
    return a;
}

static array
dense(attn_dtype type, int ndim, const int64_t *shape, int odd)
{
    int64_t strides[4];
    int64_t n = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = n;
        n *= shape[i];
        if (odd && i == ndim - 1)
            n += 1;
    }
    return array_new(type, ndim, shape, strides, odd ? 1 : 0);
}

static attn_tensor *
use(array *a) /* the struct may have moved since it was made */
{
    a->t.shape = a->shape;
    a->t.strides = a->strides;
    return &a->t;
}

static void
upload(array *a)
{
    OK(dev->copy(&stream, ATTN_COPY_TO_DEVICE, a->device, a->host, a->bytes,
                 &err));
    OK(dev->stream_synchronize(&stream, &err));
}

static void
download(array *a)
{
    OK(dev->copy(&stream, ATTN_COPY_TO_HOST, a->host, a->device, a->bytes,
                 &err));
    OK(dev->stream_synchronize(&stream, &err));
}

static void
array_drop(array *a)
{
    free(a->host);
    if (a->device)
        dev->free(device, ATTN_MEM_DEVICE, a->device);
}

static int64_t
at(const array *a, int64_t i, int64_t j, int64_t k, int64_t l)
{
    const int64_t x[4] = {i, j, k, l};
    int64_t n = (int64_t)(a->t.byte_offset * 8 / a->t.dtype.bits);
    for (int d = 0; d < a->t.ndim; d++)
        n += x[d] * a->strides[d];
    return n;
}

/* ------------------------------------------------------------- a problem */

typedef struct problem {
    const spec *c;
    int tokens, cols, blocks, start[5];
    attn_flash_layer layer;
    array q, k, v, new_k, new_v, out, lse, qsl, lens, table, slots, causal,
        ranges, sinks, slopes, k_scale, v_scale;
} problem;

static double
kv_value(const problem *p, const array *a, int64_t block, int64_t slot,
         int64_t h, int64_t d)
{
    const int64_t i = at(a, block, slot, h, d);
    if (p->c->kv)
        return byte_value(((uint8_t *)a->host)[i], p->c->kv);
    return half_value(((uint16_t *)a->host)[i], p->c->bf16);
}

static void
fill_cache(problem *p, array *a, int width)
{
    const spec *c = p->c;
    memset(a->host, 0xFF, a->bytes); /* NaN in every type here */
    for (int r = 0; r < c->reqs; r++)
        for (int j = 0; j < c->s[r]; j++)
            for (int h = 0; h < c->kv_heads; h++)
                for (int d = 0; d < width; d++) {
                    const int32_t b =
                        ((int32_t *)p->table.host)[r * p->cols + j / c->block];
                    const int64_t i = at(a, b, j % c->block, h, d);
                    if (c->kv)
                        ((uint8_t *)a->host)[i] =
                            (uint8_t)((uint32_t)(draw() < 0 ? 0x80 : 0) |
                                      (uint32_t)((c->kv == 1 ? 40 : 52) +
                                                 10 * draw()));
                    else
                        ((uint16_t *)a->host)[i] =
                            half_of(1.5 * draw(), c->bf16);
                }
    upload(a);
}

static void
fill_metadata(problem *p)
{
    const spec *c = p->c;
    int32_t *table = p->table.host, next = 0;
    for (int r = 0; r < c->reqs; r++) {
        ((int32_t *)p->qsl.host)[r] = p->start[r];
        ((int32_t *)p->lens.host)[r] = c->s[r];
        ((uint8_t *)p->causal.host)[r] = (uint8_t)(r % 2 == 0);
        for (int j = 0; j < p->cols;
             j++) /* pages backwards, one free page between requests */
            table[r * p->cols + j] =
                j * c->block < c->s[r] ? p->blocks - 1 - next++ : 0x7FFFFFFF;
        next++;
        int32_t *range = (int32_t *)p->ranges.host + 4 * r;
        range[0] = 5, range[1] = 70, range[2] = range[3] = -1;
        for (int t = 0; t < c->q[r] && !c->cross; t++) {
            const int pos = c->s[r] - c->q[r] + t;
            ((int64_t *)p->slots.host)[p->start[r] + t] =
                (int64_t)table[r * p->cols + pos / c->block] * c->block +
                pos % c->block;
        }
    }
    ((int32_t *)p->qsl.host)[c->reqs] = p->tokens;
    for (int h = 0; h < c->heads; h++) {
        ((float *)p->sinks.host)[h] = (float)draw();
        ((float *)p->slopes.host)[h] = 0.1f * (float)(h + 1);
    }
    for (int h = 0; h < c->kv_heads; h++) {
        ((float *)p->k_scale.host)[h] = 0.5f + 0.25f * (float)h;
        ((float *)p->v_scale.host)[h] = 2.0f - 0.25f * (float)h;
    }
    array *all[] = {&p->table, &p->qsl,   &p->lens,   &p->causal,  &p->ranges,
                    &p->slots, &p->sinks, &p->slopes, &p->k_scale, &p->v_scale};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        upload(all[i]);
}

static void
make_layer(problem *p)
{
    const spec *c = p->c;
    const attn_dtype half[2] = {ATTN_F16, ATTN_BF16},
                     fp8[3] = {ATTN_F16, ATTN_E4M3, ATTN_E5M2};
    p->layer = (attn_flash_layer){
        .head = {sizeof p->layer, 0, ATTN_FAMILY_FLASH, ATTN_F_LSE},
        .num_heads = (uint32_t)c->heads,
        .num_kv_heads = (uint32_t)c->kv_heads,
        .head_dim = (uint32_t)c->d,
        .head_dim_v = (uint32_t)c->dv,
        .block_size = (uint32_t)c->block,
        .causal = (uint32_t)c->causal,
        .q_dtype = half[c->bf16],
        .kv_dtype = c->kv ? fp8[c->kv] : half[c->bf16],
        .out_dtype = half[c->bf16],
        .scale = 1.0f / sqrtf((float)c->d),
        .softcap = c->softcap,
        .window_left = c->left,
        .window_right = c->right,
    };
}

static problem
problem_new(const spec *c)
{
    problem p = {.c = c};
    p.cols = 1;
    for (int r = 0; r < c->reqs; r++) {
        const int pages = (c->s[r] + c->block - 1) / c->block;
        p.start[r] = p.tokens;
        p.tokens += c->q[r];
        p.cols = pages + 1 > p.cols ? pages + 1 : p.cols;
        p.blocks += pages + 1;
    }
    make_layer(&p);
    const int64_t q[3] = {p.tokens, c->heads, c->d},
                  o[3] = {p.tokens, c->heads, c->dv};
    const int64_t k[4] = {p.blocks, c->block, c->kv_heads, c->d};
    const int64_t v[4] = {p.blocks, c->block, c->kv_heads, c->dv};
    const int64_t hk[1] = {c->kv_heads}, h[1] = {c->heads},
                  r1[1] = {c->reqs + 1}, r[1] = {c->reqs};
    const int64_t table[2] = {c->reqs, p.cols}, t[1] = {p.tokens},
                  g[3] = {c->reqs, 2, 2};
    const int64_t nk[3] = {p.tokens, c->kv_heads, c->d},
                  nv[3] = {p.tokens, c->kv_heads, c->dv};
    const attn_dtype f32 = ATTN_F32, i32 = ATTN_I32, i64 = ATTN_I64,
                     u8 = ATTN_U8;
    p.q = dense(p.layer.q_dtype, 3, q, c->odd);
    p.out = dense(p.layer.q_dtype, 3, o, c->odd);
    p.new_k = dense(p.layer.q_dtype, 3, nk, c->odd);
    p.new_v = dense(p.layer.q_dtype, 3, nv, c->odd);
    p.k = dense(p.layer.kv_dtype, 4, k, c->odd);
    p.v = dense(p.layer.kv_dtype, 4, v, c->odd);
    p.lse = dense(f32, 2, q, 0);
    p.qsl = dense(i32, 1, r1, 0);
    p.lens = dense(i32, 1, r, 0);
    p.table = dense(i32, 2, table, 0);
    p.slots = dense(i64, 1, t, 0);
    p.causal = dense(u8, 1, r, 0);
    p.ranges = dense(i32, 3, g, 0);
    p.sinks = dense(f32, 1, h, 0);
    p.slopes = dense(f32, 1, h, 0);
    p.k_scale = dense(f32, 1, hk, 0);
    p.v_scale = dense(f32, 1, hk, 0);
    for (size_t i = 0; i < p.q.bytes / 2; i++)
        ((uint16_t *)p.q.host)[i] = half_of(1.5 * draw(), c->bf16);
    upload(&p.q);
    fill_metadata(&p);
    fill_cache(&p, &p.k, c->d);
    fill_cache(&p, &p.v, c->dv);
    return p;
}

static void
problem_drop(problem *p)
{
    array *all[] = {&p->q,       &p->k,      &p->v,      &p->new_k, &p->new_v,
                    &p->out,     &p->lse,    &p->qsl,    &p->lens,  &p->table,
                    &p->slots,   &p->causal, &p->ranges, &p->sinks, &p->slopes,
                    &p->k_scale, &p->v_scale};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        array_drop(all[i]);
}

static int
visible(const problem *p, int r, int pos, int j)
{
    const spec *c = p->c;
    if (c->cross)
        return 1;
    const int causal = c->per_request ? r % 2 == 0 : c->causal;
    const int plain = (!causal || j <= pos) &&
                      (c->left < 0 || j >= pos - c->left) &&
                      (c->right < 0 || j <= pos + c->right);
    return plain || (c->ranges && pos >= 5 && pos <= 70 && j >= 5 && j <= 70);
}

/* One row from the definition: out[dv], returns lse. */
static double
reference_row(const problem *p, int r, int t, int h, double *out)
{
    const spec *c = p->c;
    const int kh = h / (c->heads / c->kv_heads), pos = c->s[r] - c->q[r] + t;
    const double ks = c->kv ? (double)((float *)p->k_scale.host)[kh] : 1;
    const double vs = c->kv ? (double)((float *)p->v_scale.host)[kh] : 1;
    double s[1024], max = -INFINITY, sum = 0;
    for (int j = 0; j < c->s[r]; j++) {
        const int32_t b =
            ((int32_t *)p->table.host)[r * p->cols + j / c->block];
        double x = 0;
        for (int d = 0; d < c->d; d++)
            x +=
                half_value(((uint16_t *)
                                p->q.host)[at(&p->q, p->start[r] + t, h, d, 0)],
                           c->bf16) *
                kv_value(p, &p->k, b, j % c->block, kh, d);
        x *= (double)p->layer.scale * ks;
        if (c->softcap > 0)
            x = (double)c->softcap * tanh(x / (double)c->softcap);
        if (c->slopes)
            x -= (double)((float *)p->slopes.host)[h] * abs(pos - j);
        s[j] = visible(p, r, pos, j) ? x : -INFINITY;
        max = fmax(max, s[j]);
    }
    for (int d = 0; d < c->dv; d++)
        out[d] = 0;
    if (isinf(max))
        return -INFINITY;
    for (int j = 0; j < c->s[r]; j++) {
        const int32_t b =
            ((int32_t *)p->table.host)[r * p->cols + j / c->block];
        const double w = exp(s[j] - max);
        sum += w;
        for (int d = 0; w > 0 && d < c->dv; d++)
            out[d] += w * vs * kv_value(p, &p->v, b, j % c->block, kh, d);
    }
    if (c->sinks)
        sum += exp((double)((float *)p->sinks.host)[h] - max);
    for (int d = 0; d < c->dv; d++)
        out[d] /= sum;
    return max + log(sum);
}

static void
compare(problem *p)
{
    const spec *c = p->c;
    download(&p->out);
    download(&p->lse);
    double off = 0, norm = 0, ref[256];
    for (int r = 0; r < c->reqs; r++)
        for (int t = 0; t < c->q[r]; t++)
            for (int h = 0; h < c->heads; h++) {
                const double lse = reference_row(p, r, t, h, ref);
                const double got =
                    (double)((float *)p->lse
                                 .host)[at(&p->lse, p->start[r] + t, h, 0, 0)];
                ck_assert_msg(
                    isinf(lse) ? got == lse : fabs(got - lse) < 2e-5,
                    "%s: lse of request %d token %d head %d: %g, not %g",
                    c->name, r, t, h, got, lse);
                for (int d = 0; d < c->dv; d++) {
                    const double x = half_value(
                        ((uint16_t *)p->out
                             .host)[at(&p->out, p->start[r] + t, h, d, 0)],
                        c->bf16);
                    ck_assert_msg(
                        fabs(x - ref[d]) < 0.03,
                        "%s: request %d token %d head %d [%d]: %g, not %g",
                        c->name, r, t, h, d, x, ref[d]);
                    off += (x - ref[d]) * (x - ref[d]);
                    norm += ref[d] * ref[d];
                }
            }
    const double relative = sqrt(off / norm), most = c->bf16 ? 4e-3 : 5e-4;
    ck_assert_msg(relative < most, "%s: relative error %g", c->name, relative);
}

/* ------------------------------------------------------------- running */

typedef struct run {
    attn_ctx *ctx;
    attn_builder *builder;
    attn_prepared *prepared;
    void *workspace, *layer_device, *layer_host;
} run;

static const attn_op *
op(void)
{
    return plugin->backends[0]->op;
}

static run
run_new(problem *p)
{
    const attn_limits limits = {
        sizeof limits, 8, 512, 512, 1024, 1024, 1, 2, ATTN_CAPTURE_ALWAYS, 0};
    run n = {0};
    attn_workspace need = {.struct_size = sizeof need};
    attn_binding memory = {.struct_size = sizeof memory};
    OK(plugin->open(device, &n.ctx, &err));
    OK(op()->builder_create(n.ctx, plugin->backends[0], &p->layer.head, &limits,
                            &n.builder, &err));
    OK(op()->workspace(n.builder, &need));
    OK(dev->alloc(device, ATTN_MEM_DEVICE, need.device_bytes, &n.workspace,
                  &err));
    OK(dev->fill(&stream, n.workspace, 0xFF, need.device_bytes, &err));
    memory.device = n.workspace;
    OK(op()->bind(n.builder, &memory, &err));
    OK(op()->layer_bytes(n.builder, &need));
    OK(dev->alloc(device, ATTN_MEM_DEVICE, need.device_bytes, &n.layer_device,
                  &err));
    n.layer_host = malloc(need.host_bytes);
    memory.host = n.layer_host;
    memory.device = n.layer_device;
    const attn_flash_constants constants = {{sizeof constants, 0},
                                            p->c->sinks ? use(&p->sinks) : NULL,
                                            p->c->slopes ? use(&p->slopes)
                                                         : NULL};
    OK(op()->layer_prepare(n.builder, &constants.head, &memory, &stream,
                           &n.prepared, &err));
    return n;
}

static void
run_drop(run *n)
{
    op()->builder_destroy(n->builder);
    plugin->close(n->ctx);
    dev->free(device, ATTN_MEM_DEVICE, n->workspace);
    dev->free(device, ATTN_MEM_DEVICE, n->layer_device);
    free(n->layer_host);
}

static void
build(run *n, problem *p)
{
    const spec *c = p->c;
    const attn_ext_prefix_ranges ranges = {
        {sizeof ranges, 0, ATTN_EXT_PREFIX_RANGES, NULL},
        2,
        0,
        p->ranges.host,
        use(&p->ranges)};
    attn_batch batch = {.struct_size = sizeof batch,
                        .flags = c->cross ? ATTN_BATCH_CROSS : 0,
                        .num_reqs = (uint32_t)c->reqs,
                        .num_tokens = (uint32_t)p->tokens,
                        .max_query_len = 512,
                        .max_seq_len = 1024,
                        .query_start_loc_device = use(&p->qsl),
                        .seq_lens_device = use(&p->lens),
                        .causal = c->per_request ? p->causal.host : NULL,
                        .causal_device =
                            c->per_request ? use(&p->causal) : NULL,
                        .ext = c->ranges ? &ranges.head : NULL};
    const attn_kv_group group = {.struct_size = sizeof group,
                                 .block_size = (uint32_t)c->block,
                                 .num_blocks = (uint32_t)p->blocks,
                                 .block_table_cols = (uint32_t)p->cols,
                                 .block_table_stride = p->cols,
                                 .block_table_device = use(&p->table),
                                 .slot_mapping_device = use(&p->slots)};
    OK(op()->build(n->builder, &batch, &group, &stream, &err));
}

static void
forward(run *n, problem *p)
{
    const attn_flash_forward args = {{sizeof args, 0},
                                     stream,
                                     n->prepared,
                                     use(&p->q),
                                     use(&p->k),
                                     use(&p->v),
                                     p->c->kv ? use(&p->k_scale) : NULL,
                                     p->c->kv ? use(&p->v_scale) : NULL,
                                     use(&p->out),
                                     use(&p->lse)};
    OK(op()->forward(n->builder, &args.head, &err));
}

static void
poison_outputs(problem *p)
{
    OK(dev->fill(&stream, p->out.device, 0xFF, p->out.bytes, &err));
    OK(dev->fill(&stream, p->lse.device, 0xFF, p->lse.bytes, &err));
}

START_TEST(numerics)
{
    problem p = problem_new(&specs[_i]);
    run n = run_new(&p);
    poison_outputs(&p);
    build(&n, &p);
    forward(&n, &p);
    forward(&n, &p); /* a second layer of the same step */
    compare(&p);
    run_drop(&n);
    problem_drop(&p);
}
END_TEST

/* A captured forward follows a later build: longer, other split, other pages.
 */
START_TEST(graph)
{
    static const spec first = {.name = "graph 1",
                               2,
                               {1, 20},
                               {30, 40},
                               4,
                               2,
                               64,
                               64,
                               16,
                               1,
                               0,
                               1,
                               -1,
                               -1};
    static const spec second = {.name = "graph 2",
                                2,
                                {20, 1},
                                {40, 400},
                                4,
                                2,
                                64,
                                64,
                                16,
                                1,
                                0,
                                1,
                                -1,
                                -1};
    problem a = problem_new(&first), b = problem_new(&second);
    ck_assert_int_eq(a.tokens, b.tokens);
    run n = run_new(&a);
    /* The second problem's data at the first one's addresses: one set of
     * buffers for both. */
    build(&n, &b);
    OK(dev->graph_begin(&stream, &err));
    forward(&n, &b);
    uint64_t recorded = 0;
    OK(dev->graph_end(&stream, &recorded, &err));
    poison_outputs(&b);
    OK(dev->graph_launch(recorded, &stream, &err));
    compare(&b);
    /* The same addresses, shorter sequences: the last 20 tokens of request 0
     * see less. */
    spec shorter = second;
    shorter.q[0] = 1;
    shorter.q[1] = 20;
    shorter.s[0] = 33;
    shorter.s[1] = 390;
    b.c = &shorter;
    b.start[1] = 1;
    ((int32_t *)b.qsl.host)[1] = 1;
    ((int32_t *)b.lens.host)[0] = 33;
    ((int32_t *)b.lens.host)[1] = 390;
    upload(&b.qsl);
    upload(&b.lens);
    build(&n, &b);
    poison_outputs(&b);
    OK(dev->graph_launch(recorded, &stream, &err));
    compare(&b);
    dev->graph_destroy(recorded);
    run_drop(&n);
    problem_drop(&a);
    problem_drop(&b);
}
END_TEST

/* New tokens through slot_mapping; slot -1 writes nothing. */
START_TEST(update)
{
    spec c = specs[_i];
    problem p = problem_new(&c);
    run n = run_new(&p);
    for (size_t i = 0; i < p.new_k.bytes / 2; i++)
        ((uint16_t *)p.new_k.host)[i] = half_of(1.5 * draw(), c.bf16);
    for (size_t i = 0; i < p.new_v.bytes / 2; i++)
        ((uint16_t *)p.new_v.host)[i] = half_of(1.5 * draw(), c.bf16);
    upload(&p.new_k);
    upload(&p.new_v);
    const int64_t skipped = ((int64_t *)p.slots.host)[0];
    ((int64_t *)p.slots.host)[0] = -1;
    upload(&p.slots);
    build(&n, &p);
    const attn_flash_update args = {{sizeof args, 0},
                                    stream,
                                    use(&p.new_k),
                                    use(&p.new_v),
                                    use(&p.k),
                                    use(&p.v),
                                    c.kv ? use(&p.k_scale) : NULL,
                                    c.kv ? use(&p.v_scale) : NULL};
    OK(op()->update_cache(n.builder, &args.head, &err));
    uint8_t *before = malloc(p.k.bytes);
    memcpy(before, p.k.host, p.k.bytes);
    download(&p.k);
    const int64_t unit = c.kv ? 1 : 2;
    for (int t = 0; t < p.tokens; t++)
        for (int h = 0; h < c.kv_heads; h++)
            for (int d = 0; d < c.d; d++) {
                const int64_t slot = t ? ((int64_t *)p.slots.host)[t] : skipped;
                const int64_t i =
                    at(&p.k, slot / c.block, slot % c.block, h, d);
                const uint16_t raw =
                    ((uint16_t *)p.new_k.host)[at(&p.new_k, t, h, d, 0)];
                if (t == 0)
                    ck_assert(!memcmp(before + i * unit,
                                      (uint8_t *)p.k.host + i * unit,
                                      (size_t)unit));
                else if (!c.kv)
                    ck_assert_int_eq(((uint16_t *)p.k.host)[i], raw);
                else {
                    const double want = half_value(raw, c.bf16) /
                                        (double)((float *)p.k_scale.host)[h];
                    const double got =
                        byte_value(((uint8_t *)p.k.host)[i], c.kv);
                    ck_assert_msg(fabs(got - want) <=
                                      fabs(want) / (c.kv == 1 ? 15 : 7) + 1e-2,
                                  "%g %g", got, want);
                }
            }
    free(before);
    run_drop(&n);
    problem_drop(&p);
}
END_TEST

static int
open_plugin(void)
{
    const char *path = getenv("FLASH_TEST_PLUGIN"),
               *top = getenv("top_builddir");
    char emulated[1024];
    snprintf(emulated, sizeof emulated, "%s/.libs/attn_flash_cuda_emu.so",
             top ? top : ".");
    void *so = dlopen(path ? path : emulated, RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        fprintf(stderr, "%s\n", dlerror());
        return EXIT_FAILURE;
    }
    attn_status (*entry)(attn_handshake *);
    *(void **)&entry = dlsym(so, "attn_plugin_entry");
    attn_handshake hs = {.magic = ATTN_MAGIC_ASK,
                         .size = sizeof hs,
                         .host_minor = ATTN_ABI_MINOR};
    if (!entry || entry(&hs) || !hs.accepted)
        return EXIT_FAILURE;
    plugin = hs.plugin;
    dev = plugin->get_extension(ATTN_DEVICE_SERVICE);
    attn_device_info info = {.struct_size = sizeof info};
    uint32_t count = 0;
    if (!dev || dev->count(&count, &err) || count == 0)
        return 77;
    if (dev->info(0, &info, &err) ||
        dev->stream_create(info.device, &stream, &err))
        return EXIT_FAILURE;
    device = info.device;
    printf("%s on %s\n", plugin->backends[0]->name, info.name);
    return EXIT_SUCCESS;
}

int
main(void)
{
    const int opened = open_plugin();
    if (opened != EXIT_SUCCESS)
        return opened;
    Suite *s = suite_create("flash on a device");
    TCase *c = tcase_create("flash");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, numerics, 0, (int)(sizeof specs / sizeof specs[0]));
    tcase_add_loop_test(c, update, 17, 20);
    tcase_add_loop_test(c, update, 0, 1);
    tcase_add_test(c, graph);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(
        r, CK_NOFORK); /* a CUDA context does not survive fork */
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    dev->stream_destroy(&stream);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
