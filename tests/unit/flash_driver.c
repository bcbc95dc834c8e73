/* SPDX-License-Identifier: Apache-2.0 */
#include "flash_driver.h"

#include "../../plugins/common/cpu/number.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

struct driver {
    const attn_plugin *plugin;
    attn_ctx *ctx;
};

struct flash_data {
    uint32_t tokens, cols, blocks;
    int32_t start[DRIVER_MAX_REQS + 1], lens[DRIVER_MAX_REQS];
    uint8_t causal[DRIVER_MAX_REQS];
    int32_t ranges[DRIVER_MAX_REQS][2][2];
    int32_t *table;
    void *q, *k, *v, *out;
    float *lse, *sinks, *slopes, *k_scale, *v_scale;
    float scale;
    int64_t kstride[4], vstride[4];
};

/* -------------------------------------------------------------- the host */

static void
host_log(const attn_host *host, int32_t level, const char *text)
{
    (void)host;
    fprintf(stderr, "plugin log %d: %s\n", level, text);
}

typedef struct loop {
    attn_task task;
    void *arg;
    uint32_t count, worker;
    uint32_t *next;
} loop;

static void *
loop_work(void *p)
{
    loop *l = p;
    for (;;) {
        const uint32_t i = __atomic_fetch_add(l->next, 1, __ATOMIC_RELAXED);
        if (i >= l->count)
            return NULL;
        l->task(l->arg, i, l->worker);
    }
}

static void
host_parallel_for(const attn_host *host, uint32_t num_tasks,
                  uint32_t max_workers, attn_task task, void *arg)
{
    (void)host;
    loop loops[8];
    pthread_t threads[8];
    uint32_t next = 0, n = max_workers < 8 ? max_workers : 8;
    for (uint32_t i = 0; i < n; i++)
        loops[i] = (loop){task, arg, num_tasks, i, &next};
    for (uint32_t i = 1; i < n; i++)
        pthread_create(&threads[i], NULL, loop_work, &loops[i]);
    loop_work(&loops[0]);
    for (uint32_t i = 1; i < n; i++)
        pthread_join(threads[i], NULL);
}

static const attn_host host = {.struct_size = sizeof host,
                               .name = "flash_driver",
                               .version = "0",
                               .log = host_log,
                               .parallel_for = host_parallel_for};

driver *
driver_open(const attn_key_value *options, uint32_t num_options)
{
    char path[4096];
    const char *top = getenv("top_builddir");
    snprintf(path, sizeof path, "%s/.libs/attn_flash_cpu.so", top ? top : ".");
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    attn_status (*entry)(attn_handshake *) =
        (attn_status(*)(attn_handshake *))dlsym(lib, "attn_plugin_entry");
    attn_handshake hs = {.magic = ATTN_MAGIC_ASK,
                         .size = sizeof hs,
                         .host_major_lo = ATTN_ABI_MAJOR,
                         .host_major_hi = ATTN_ABI_MAJOR,
                         .host_minor = ATTN_ABI_MINOR,
                         .host = &host};
    attn_error err = {.struct_size = sizeof err};
    if (entry(&hs) || !hs.accepted)
        return NULL;
    driver *d = calloc(1, sizeof *d);
    d->plugin = hs.plugin;
    const attn_device cpu = {ATTN_DEVICE_CPU, 0};
    if (d->plugin->init(&host, options, num_options, &err) ||
        d->plugin->open(cpu, &d->ctx, &err)) {
        fprintf(stderr, "%s: %s\n", err.where, err.message);
        free(d);
        return NULL;
    }
    return d;
}

void
driver_close(driver *d)
{
    d->plugin->close(d->ctx);
    d->plugin->shutdown();
    free(d);
}

/* -------------------------------------------------------------- the data */

static uint32_t
rnd(uint64_t *s)
{
    *s = *s * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t x = (uint32_t)(*s >> 33) ^ (uint32_t)(*s >> 45);
    return x;
}

/* About normal, deviation 1. */
static float
rnd_normal(uint64_t *s)
{
    float x = 0;
    for (int i = 0; i < 6; i++)
        x += (float)(rnd(s) & 0xffff) / 65536.0f - 0.5f;
    return x * 1.4142f;
}

static void
fill(void *p, cpu_type t, uint64_t at, uint32_t n, uint64_t *seed)
{
    for (uint32_t i = 0; i < n; i++)
        cpu_put(t, p, at + i, rnd_normal(seed));
}

static cpu_type
type_of(attn_dtype t)
{
    return cpu_type_of(t);
}

static void
set_strides(const flash_case *c, uint32_t dim, int64_t *stride)
{
    const int64_t size = c->block_size, heads = c->kv_heads, d = dim;
    stride[0] = size * heads * d;
    stride[1] = c->token_major ? heads * d : d;
    stride[2] = c->token_major ? d : size * d;
    stride[3] = 1;
}

static void
place_pages(const flash_case *c, flash_data *data)
{
    uint64_t seed = 77 + c->page_seed;
    int32_t *pages = malloc(sizeof *pages * data->blocks);
    for (uint32_t i = 0; i < data->blocks; i++)
        pages[i] = (int32_t)i;
    for (uint32_t i = data->blocks - 1; i > 0; i--) {
        const uint32_t j = rnd(&seed) % (i + 1);
        const int32_t swap = pages[i];
        pages[i] = pages[j];
        pages[j] = swap;
    }
    uint32_t next = 0;
    for (uint32_t r = 0; r < c->num_reqs; r++) {
        const uint32_t need =
            (c->seq_len[r] + c->block_size - 1) / c->block_size;
        for (uint32_t i = 0; i < data->cols; i++) {
            next += i && i < need && (!c->far || i + 1 == need);
            data->table[r * data->cols + i] =
                i < need ? pages[next] : 0x7fffffff;
        }
        next += need > 0;
    }
    free(pages);
}

static uint64_t
slot_at(const flash_case *c, const flash_data *data, uint32_t r, uint32_t p,
        const int64_t *stride, uint32_t head)
{
    const int64_t block = data->table[r * data->cols + p / c->block_size];
    return (uint64_t)(block * stride[0] +
                      (int64_t)(p % c->block_size) * stride[1] +
                      (int64_t)head * stride[2]);
}

static void
fill_request(const flash_case *c, flash_data *data, uint32_t r)
{
    uint64_t seed = 1000 + c->req_seed[r];
    for (uint32_t p = c->far ? c->seq_len[r] - c->block_size : 0;
         p < c->seq_len[r]; p++)
        for (uint32_t h = 0; h < c->kv_heads; h++) {
            fill(data->k, type_of(c->kv_type),
                 slot_at(c, data, r, p, data->kstride, h), c->dim, &seed);
            fill(data->v, type_of(c->kv_type),
                 slot_at(c, data, r, p, data->vstride, h), c->dim_v, &seed);
        }
    fill(data->q, type_of(c->q_type),
         (uint64_t)data->start[r] * c->heads * c->dim,
         c->query_len[r] * c->heads * c->dim, &seed);
    const int32_t third = (int32_t)c->seq_len[r] / 3;
    data->ranges[r][0][0] = data->ranges[r][0][1] = -1;
    data->ranges[r][1][0] = c->req_seed[r] % 3 ? third : -1;
    data->ranges[r][1][1] = c->req_seed[r] % 3 ? 2 * third : -1;
}

/* NaN in each of the types (all bits set), on large pages where there are any:
 * as an engine keeps its cache. */
static void *
cache_memory(uint64_t bytes)
{
    const size_t large = (size_t)2 << 20;
    const size_t size = (bytes + large - 1) / large * large;
    void *p = aligned_alloc(large, size);
    madvise(p, size, MADV_HUGEPAGE);
    return memset(p, 0xff, size);
}

flash_data *
flash_data_create(const flash_case *c)
{
    flash_data *data = calloc(1, sizeof *data);
    for (uint32_t r = 0; r < c->num_reqs; r++) {
        const uint32_t need =
            (c->seq_len[r] + c->block_size - 1) / c->block_size;
        data->start[r + 1] = data->start[r] + (int32_t)c->query_len[r];
        data->lens[r] = (int32_t)c->seq_len[r];
        data->causal[r] = c->req_seed[r] & 1;
        data->blocks += c->far ? 2 : need;
        data->cols = need + 1 > data->cols ? need + 1 : data->cols;
    }
    data->blocks += 3;
    data->tokens = (uint32_t)data->start[c->num_reqs];
    data->table = malloc(sizeof(int32_t) * data->cols * c->num_reqs);
    set_strides(c, c->dim, data->kstride);
    set_strides(c, c->dim_v, data->vstride);
    place_pages(c, data);
    const uint64_t kn = (uint64_t)data->kstride[0] * data->blocks;
    const uint64_t vn = (uint64_t)data->vstride[0] * data->blocks;
    const size_t size = cpu_type_size(type_of(c->kv_type));
    data->k = cache_memory(kn * size);
    data->v = cache_memory(vn * size);
    data->q = malloc((uint64_t)data->tokens * c->heads * c->dim * 4 + 4);
    data->out = malloc((uint64_t)data->tokens * c->heads * c->dim_v * 4 + 4);
    data->lse = malloc((uint64_t)data->tokens * c->heads * 4 + 4);
    data->sinks = malloc(c->heads * 4);
    data->slopes = malloc(c->heads * 4);
    data->k_scale = malloc(c->kv_heads * 4);
    data->v_scale = malloc(c->kv_heads * 4);
    data->scale = 1 / sqrtf((float)c->dim);
    uint64_t seed = 5;
    for (uint32_t h = 0; h < c->heads; h++) {
        data->sinks[h] = rnd_normal(&seed);
        data->slopes[h] = exp2f(-8.0f * (float)(h + 1) / (float)c->heads);
    }
    for (uint32_t h = 0; h < c->kv_heads; h++) {
        data->k_scale[h] = 0.5f + (float)h * 0.25f;
        data->v_scale[h] = 1.5f - (float)h * 0.0625f;
    }
    for (uint32_t r = 0; r < c->num_reqs; r++)
        fill_request(c, data, r);
    return data;
}

void
flash_data_free(flash_data *data)
{
    void *all[] = {data->table,   data->q,      data->k,     data->v,
                   data->out,     data->lse,    data->sinks, data->slopes,
                   data->k_scale, data->v_scale};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(data);
}

uint64_t
flash_data_out_count(const flash_data *data)
{
    return (uint64_t)data->tokens;
}

const void *
flash_data_out(const flash_data *data)
{
    return data->out;
}

const float *
flash_data_lse(const flash_data *data)
{
    return data->lse;
}

uint64_t
flash_data_token(const flash_data *data, uint32_t r)
{
    return (uint64_t)data->start[r];
}

/* --------------------------------------------------------------- the run */

static const attn_device cpu_device = {ATTN_DEVICE_CPU, 0};

typedef struct tensor {
    attn_tensor t;
    int64_t shape[4], strides[4];
} tensor;

static attn_tensor *
dense(tensor *t, void *data, attn_dtype type, int32_t n, int64_t a, int64_t b,
      int64_t c, int64_t d)
{
    const int64_t shape[4] = {a, b, c, d};
    t->t = (attn_tensor){data, cpu_device, n, type, t->shape, t->strides, 0};
    int64_t stride = 1;
    for (int i = n - 1; i >= 0; i--) {
        t->shape[i] = shape[i];
        t->strides[i] = stride;
        stride *= shape[i];
    }
    return &t->t;
}

static attn_tensor *
cache(tensor *t, const flash_case *c, const flash_data *data, void *p,
      uint32_t dim, const int64_t *strides)
{
    dense(t, p, c->kv_type, 4, data->blocks, c->block_size, c->kv_heads, dim);
    memcpy(t->strides, strides, sizeof t->strides);
    return &t->t;
}

typedef struct session {
    const attn_op *op;
    attn_builder *builder;
    void *memory, *constants;
    attn_prepared *layer;
    attn_ext_prefix_ranges ranges;
    attn_batch batch;
    attn_kv_group group;
    attn_stream stream;
    attn_error err;
} session;

static uint64_t
needs(const flash_case *c)
{
    uint64_t f = ATTN_F_LSE | ATTN_F_CAUSAL | ATTN_F_NONCAUSAL;
    f |= c->causal == 2 ? ATTN_F_PER_REQUEST_CAUSAL : 0;
    f |= c->window_left >= 0 || c->window_right >= 0 ? ATTN_F_WINDOW : 0;
    f |= c->softcap > 0 ? ATTN_F_SOFTCAP : 0;
    f |= c->sinks ? ATTN_F_SINKS : 0;
    f |= c->alibi ? ATTN_F_ALIBI : 0;
    f |= c->ranges ? ATTN_F_PREFIX_RANGES : 0;
    f |= c->cross ? ATTN_F_CROSS : 0;
    return f | (c->scales ? ATTN_F_KV_SCALES : 0);
}

static attn_status
start_builder(driver *d, const flash_case *c, flash_data *data, session *s)
{
    static const attn_dtype f32 = ATTN_F32;
    const attn_backend *backend = d->plugin->backends[0];
    const attn_flash_layer layer = {
        .head = {sizeof layer, 0, ATTN_FAMILY_FLASH, needs(c)},
        .num_heads = c->heads,
        .num_kv_heads = c->kv_heads,
        .head_dim = c->dim,
        .head_dim_v = c->dim_v,
        .block_size = c->block_size,
        .causal = c->causal == 1,
        .q_dtype = c->q_type,
        .kv_dtype = c->kv_type,
        .out_dtype = c->out_type,
        .scale = data->scale,
        .softcap = c->softcap,
        .window_left = c->window_left,
        .window_right = c->window_right};
    uint32_t longest = 1;
    for (uint32_t r = 0; r < c->num_reqs; r++)
        longest = c->seq_len[r] > longest ? c->seq_len[r] : longest;
    const attn_limits limits = {.struct_size = sizeof limits,
                                .max_reqs = c->num_reqs,
                                .max_tokens = data->tokens,
                                .max_query_len = data->tokens,
                                .max_seq_len = longest,
                                .max_blocks_per_req = data->cols,
                                .num_threads = c->threads,
                                .steps_in_flight = 1};
    attn_workspace need = {.struct_size = sizeof need};
    attn_binding memory = {.struct_size = sizeof memory};
    tensor sinks, slopes;
    s->op = backend->op;
    attn_status status = s->op->builder_create(d->ctx, backend, &layer.head,
                                               &limits, &s->builder, &s->err);
    if (status)
        return status;
    s->op->workspace(s->builder, &need);
    memory.host = s->memory =
        aligned_alloc(64, (need.host_bytes + 63) / 64 * 64);
    memset(memory.host, 0xff, need.host_bytes);
    status = s->op->bind(s->builder, &memory, &s->err);
    if (status)
        return status;
    s->op->layer_bytes(s->builder, &need);
    memory.host = s->constants =
        aligned_alloc(64, (need.host_bytes + 63) / 64 * 64);
    const attn_flash_constants constants = {
        .head = {sizeof constants, 0},
        .sinks = c->sinks
                     ? dense(&sinks, data->sinks, f32, 1, c->heads, 0, 0, 0)
                     : NULL,
        .alibi_slopes =
            c->alibi ? dense(&slopes, data->slopes, f32, 1, c->heads, 0, 0, 0)
                     : NULL};
    return s->op->layer_prepare(s->builder, &constants.head, &memory,
                                &s->stream, &s->layer, &s->err);
}

static attn_status
start_step(const flash_case *c, flash_data *data, session *s,
           const int64_t *slots)
{
    s->batch = (attn_batch){.struct_size = sizeof s->batch,
                            .flags = c->cross ? ATTN_BATCH_CROSS : 0,
                            .num_reqs = c->num_reqs,
                            .num_tokens = data->tokens,
                            .max_query_len = data->tokens,
                            .max_seq_len = INT32_MAX,
                            .query_start_loc_state = ATTN_EXACT,
                            .seq_lens_state = ATTN_EXACT,
                            .query_start_loc = data->start,
                            .seq_lens = data->lens,
                            .causal = c->causal == 2 ? data->causal : NULL};
    s->ranges = (attn_ext_prefix_ranges){
        .head = {sizeof s->ranges, 0, ATTN_EXT_PREFIX_RANGES, NULL},
        .max_ranges = 2,
        .ranges = &data->ranges[0][0][0]};
    if (c->ranges)
        s->batch.ext = &s->ranges.head;
    s->group = (attn_kv_group){.struct_size = sizeof s->group,
                               .block_size = c->block_size,
                               .num_blocks = data->blocks,
                               .block_table_cols = data->cols,
                               .block_table_stride = data->cols,
                               .block_table = data->table,
                               .slot_mapping = slots};
    return s->op->build(s->builder, &s->batch, &s->group, &s->stream, &s->err);
}

static void
stop_session(session *s)
{
    if (s->builder)
        s->op->builder_destroy(s->builder);
    free(s->memory);
    free(s->constants);
    if (s->err.status)
        fprintf(stderr, "%s: %s\n", s->err.where, s->err.message);
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

attn_status
driver_run(driver *d, const flash_case *c, flash_data *data, int times,
           double *seconds)
{
    static const attn_dtype f32 = ATTN_F32;
    session s = {.stream = {.device = cpu_device},
                 .err = {.struct_size = sizeof s.err}};
    tensor q, k, v, out, lse, ks, vs;
    const attn_flash_forward args = {
        .head = {sizeof args, 0},
        .stream = s.stream,
        .q =
            dense(&q, data->q, c->q_type, 3, data->tokens, c->heads, c->dim, 0),
        .k_cache = cache(&k, c, data, data->k, c->dim, data->kstride),
        .v_cache = cache(&v, c, data, data->v, c->dim_v, data->vstride),
        .k_scale = c->scales
                       ? dense(&ks, data->k_scale, f32, 1, c->kv_heads, 0, 0, 0)
                       : NULL,
        .v_scale = c->scales
                       ? dense(&vs, data->v_scale, f32, 1, c->kv_heads, 0, 0, 0)
                       : NULL,
        .out = dense(&out, data->out, c->out_type, 3, data->tokens, c->heads,
                     c->dim_v, 0),
        .lse = dense(&lse, data->lse, f32, 2, data->tokens, c->heads, 0, 0)};
    attn_flash_forward call = args;
    memset(data->out, 0xff,
           (uint64_t)data->tokens * c->heads * c->dim_v *
               (c->out_type.bits / 8));
    memset(data->lse, 0xff, (uint64_t)data->tokens * c->heads * 4);
    attn_status status = start_builder(d, c, data, &s);
    if (!status)
        status = start_step(c, data, &s, NULL);
    call.layer = s.layer;
    double best = 1e30;
    for (int i = 0; i < times && !status; i++) {
        const double start = now();
        status = s.op->forward(s.builder, &call.head, &s.err);
        const double spent = now() - start;
        best = spent < best ? spent : best;
    }
    if (seconds)
        *seconds = best;
    stop_session(&s);
    return status;
}

attn_status
driver_update(driver *d, const flash_case *c, flash_data *data, void *k,
              void *v, const int64_t *slots)
{
    static const attn_dtype f32 = ATTN_F32;
    session s = {.stream = {.device = cpu_device},
                 .err = {.struct_size = sizeof s.err}};
    tensor tk, tv, kc, vc, ks, vs;
    const attn_flash_update args = {
        .head = {sizeof args, 0},
        .stream = s.stream,
        .k = dense(&tk, k, c->q_type, 3, data->tokens, c->kv_heads, c->dim, 0),
        .v =
            dense(&tv, v, c->q_type, 3, data->tokens, c->kv_heads, c->dim_v, 0),
        .k_cache = cache(&kc, c, data, data->k, c->dim, data->kstride),
        .v_cache = cache(&vc, c, data, data->v, c->dim_v, data->vstride),
        .k_scale = c->scales
                       ? dense(&ks, data->k_scale, f32, 1, c->kv_heads, 0, 0, 0)
                       : NULL,
        .v_scale = c->scales
                       ? dense(&vs, data->v_scale, f32, 1, c->kv_heads, 0, 0, 0)
                       : NULL};
    attn_status status = start_builder(d, c, data, &s);
    if (!status)
        status = start_step(c, data, &s, slots);
    if (!status)
        status = s.op->update_cache(s.builder, &args.head, &s.err);
    stop_session(&s);
    return status;
}

uint64_t
flash_data_slot(const flash_case *c, const flash_data *data, uint32_t r,
                uint32_t p, int value, uint32_t head)
{
    return slot_at(c, data, r, p, value ? data->vstride : data->kstride, head);
}

int64_t
flash_data_slot_id(const flash_case *c, const flash_data *data, uint32_t r,
                   uint32_t p)
{
    return (int64_t)data->table[r * data->cols + p / c->block_size] *
               c->block_size +
           p % c->block_size;
}

const void *
flash_data_cache(const flash_data *data, int value)
{
    return value ? data->v : data->k;
}

/* --------------------------------------------------------- the reference */

/* Largest and mean error of one quantity. */
typedef struct error {
    double max, sum;
    uint64_t count, masks;
} error;

static void
add_error(error *e, double got, double want)
{
    e->count++;
    if (isnan(got) != isnan(want) || isinf(got) != isinf(want) ||
        (isinf(got) && (got > 0) != (want > 0))) {
        e->masks++;
        return;
    }
    if (!isfinite(want))
        return;
    const double d = fabs(got - want);
    e->max = d > e->max ? d : e->max;
    e->sum += d;
}

/* Half the distance between neighbours of this type at x. */
static double
half_ulp(cpu_type t, double x)
{
    int e;
    const int bits = t == CPU_F32   ? 24
                     : t == CPU_F16 ? 11
                                    : 8,
              least = t == CPU_F16 ? -13 : -125;
    frexp(x, &e);
    return ldexp(1, (e < least ? least : e) - bits - 1);
}

static int
sees(const flash_case *c, const flash_data *data, uint32_t r, int64_t p,
     int64_t j)
{
    if (c->cross)
        return 1;
    for (int n = 0; n < 2 && c->ranges; n++) {
        const int32_t *range = data->ranges[r][n];
        if (range[0] >= 0 && range[0] <= p && p <= range[1] && range[0] <= j &&
            j <= range[1])
            return 1;
    }
    const int causal = c->causal == 2 ? data->causal[r] : c->causal;
    return !(causal && j > p) &&
           !(c->window_left >= 0 && j < p - c->window_left) &&
           !(c->window_right >= 0 && j > p + c->window_right);
}

typedef struct reference {
    double out[256], lse;
    float plain[256], plain_lse;
} reference;

static double
score(const flash_case *c, const flash_data *data, const float *q,
      const float *k, uint32_t head, int64_t distance, float *plain)
{
    const float ks =
        c->scales ? data->k_scale[head * c->kv_heads / c->heads] : 1;
    double s = 0;
    float f = 0;
    for (uint32_t i = 0; i < c->dim; i++) {
        s += (double)q[i] * (double)k[i] * (double)ks;
        f += q[i] * (k[i] * ks);
    }
    s *= (double)data->scale;
    f *= data->scale;
    if (c->softcap > 0) {
        s = (double)c->softcap * tanh(s / (double)c->softcap);
        f = c->softcap * tanhf(f / c->softcap);
    }
    if (c->alibi) {
        s -= (double)data->slopes[head] * (double)llabs(distance);
        f -= data->slopes[head] * (float)llabs(distance);
    }
    *plain = f;
    return s;
}

static void
load_row(const void *p, cpu_type t, uint64_t at, uint32_t n, float *row)
{
    for (uint32_t i = 0; i < n; i++)
        row[i] = cpu_get(t, p, at + i);
}

static float
round_to(cpu_type t, float x)
{
    uint32_t bits;
    cpu_put(t, &bits, 0, x);
    return cpu_get(t, &bits, 0);
}

/* One row: the definition in f64, and the plain implementation in f32 that
 * rounds P. */
static void
compute(const flash_case *c, const flash_data *data, uint32_t r, uint32_t i,
        uint32_t head, reference *ref)
{
    const uint32_t keys = c->seq_len[r], kv = head * c->kv_heads / c->heads;
    const int64_t p = (int64_t)keys - c->query_len[r] + i;
    double *s = malloc(sizeof *s * (keys + 1)), max = -INFINITY, sum = 0;
    float *f = malloc(sizeof *f * (keys + 1)), fmaximum = -INFINITY, fsum = 0;
    float q[256], row[256];
    const float vs = c->scales ? data->v_scale[kv] : 1;
    load_row(data->q, type_of(c->q_type),
             ((uint64_t)(data->start[r] + (int32_t)i) * c->heads + head) *
                 c->dim,
             c->dim, q);
    for (uint32_t j = 0; j < keys; j++) {
        s[j] = -INFINITY;
        f[j] = -INFINITY;
        if (!sees(c, data, r, p, j))
            continue;
        load_row(data->k, type_of(c->kv_type),
                 slot_at(c, data, r, j, data->kstride, kv), c->dim, row);
        s[j] = score(c, data, q, row, head, p - j, &f[j]);
        max = s[j] > max ? s[j] : max;
        fmaximum = f[j] > fmaximum ? f[j] : fmaximum;
    }
    const int nothing = max == -INFINITY;
    if (c->sinks && !nothing) {
        max = data->sinks[head] > max ? data->sinks[head] : max;
        fmaximum = data->sinks[head] > fmaximum ? data->sinks[head] : fmaximum;
        sum = exp((double)data->sinks[head] - max);
        fsum = expf(data->sinks[head] - fmaximum);
    }
    memset(ref->out, 0, sizeof ref->out);
    memset(ref->plain, 0, sizeof ref->plain);
    for (uint32_t j = 0; j < keys; j++) {
        if (s[j] == -INFINITY)
            continue;
        const double w = exp(s[j] - max);
        const float e = expf(f[j] - fmaximum),
                    we = round_to(type_of(c->q_type), e);
        sum += w;
        fsum += e;
        load_row(data->v, type_of(c->kv_type),
                 slot_at(c, data, r, j, data->vstride, kv), c->dim_v, row);
        for (uint32_t n = 0; n < c->dim_v; n++) {
            ref->out[n] += w * (double)row[n] * (double)vs;
            ref->plain[n] += we * (row[n] * vs);
        }
    }
    for (uint32_t n = 0; n < c->dim_v && !nothing; n++) {
        ref->out[n] /= sum;
        ref->plain[n] = round_to(type_of(c->out_type), ref->plain[n] / fsum);
    }
    ref->lse = nothing ? -INFINITY : max + log(sum);
    ref->plain_lse = nothing ? -INFINITY : fmaximum + logf(fsum);
    free(s);
    free(f);
}

int
flash_data_check(const flash_case *c, const flash_data *data)
{
    error mine = {0}, plain = {0}, mine_lse = {0}, plain_lse = {0};
    double floor_max = 0, floor_sum = 0, largest_lse = 0;
    reference ref;
    for (uint32_t r = 0; r < c->num_reqs; r++)
        for (uint32_t i = 0; i < c->query_len[r]; i++)
            for (uint32_t h = 0; h < c->heads; h++) {
                compute(c, data, r, i, h, &ref);
                const uint64_t row =
                    (uint64_t)(data->start[r] + (int32_t)i) * c->heads + h;
                for (uint32_t n = 0; n < c->dim_v; n++) {
                    const double ulp =
                        half_ulp(type_of(c->out_type), ref.out[n]);
                    add_error(&mine,
                              (double)cpu_get(type_of(c->out_type), data->out,
                                              row * c->dim_v + n),
                              ref.out[n]);
                    add_error(&plain, (double)ref.plain[n], ref.out[n]);
                    floor_max = ulp > floor_max ? ulp : floor_max;
                    floor_sum += ulp / 2;
                }
                add_error(&mine_lse, (double)data->lse[row], ref.lse);
                add_error(&plain_lse, (double)ref.plain_lse, ref.lse);
                if (isfinite(ref.lse) && fabs(ref.lse) > largest_lse)
                    largest_lse = fabs(ref.lse);
            }
    const double max = c->once ? 1.001 * floor_max
                               : 2 * fmax(plain.max, floor_max),
                 sum = 1.5 * fmax(plain.sum, floor_sum);
    const double lse = fmax(fmax(1e-5, 2e-6 * largest_lse), 2 * plain_lse.max);
    if (mine.max <= max && mine.sum <= sum && !mine.masks &&
        mine_lse.max <= lse && !mine_lse.masks)
        return 1;
    fprintf(stderr,
            "out: max %.3g of %.3g, mean %.3g of %.3g, %llu masks differ; lse: "
            "max %.3g of %.3g, "
            "%llu masks differ\n",
            mine.max, max, mine.sum / (double)mine.count,
            sum / (double)mine.count, (unsigned long long)mine.masks,
            mine_lse.max, lse, (unsigned long long)mine_lse.masks);
    return 0;
}
