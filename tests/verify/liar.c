/* SPDX-License-Identifier: Apache-2.0 */
/* Attention that is right, until a defect is chosen by option.defect: then one
 * thing is wrong with it, and one rung of the ladder must say so. */
#include <attn/simple.h>

#include <math.h>
#include <sched.h>

typedef enum defect {
    NONE,
    WRITES_PAST,   /* out: 64 bytes past its end */
    WRITES_BEFORE, /* out: one element before */
    WRITES_TABLE,  /* changes the block table */
    READS_PAST,    /* a block-table entry past the sequence */
    READS_TAIL,    /* multiplies page tails by zero */
    WORKSPACE,     /* uses workspace it did not ask for */
    UNINITIALISED, /* trusts the workspace to be zero */
    NO_MASK,       /* ignores causality */
    OFF_BY_ONE,    /* the last key of long sequences is lost */
    ROUNDED,       /* sums in half precision */
    WRONG_LSE,     /* log2 */
    SINK_LOST,     /* claims sinks and ignores them */
    KEEPS_SINKS,   /* keeps the pointer given to layer_prepare */
    ALLOCATES,     /* in forward */
    LEAKS,         /* in builder_create */
    LEAKS_FILE,
    SHARED_SCRATCH, /* one static buffer for all builders */
    RANDOM,         /* another last bit each time, claimed deterministic */
    MATES,          /* the order of sums depends on the batch */
    REFUSES,        /* check says no to what is claimed */
    NO_REASON,      /* and does not say why */
    ACCEPTS,        /* check says yes, builder_create no */
    HANGS,
    EXITS,
    SKIPS_UPDATE,   /* update_cache does nothing */
    UPDATES_SKIPPED /* slot -1 is written to slot 0 */
} defect;

static const char CHOICES[] =
    "none|writes_past|writes_before|writes_table|reads_past|reads_tail|"
    "workspace|uninitialised|no_mask|off_by_one|rounded|wrong_lse|sink_lost|"
    "keeps_sinks|allocates|leaks|leaks_file|shared_scratch|random|mates|"
    "refuses|no_reason|accepts|hangs|exits|skips_update|updates_skipped";

static defect chosen;

struct attn_builder {
    attn_flash_layer layer;
    attn_batch batch;
    attn_kv_group group;
    uint32_t steps;
    float *workspace;
};

struct attn_prepared {
    const float *kept;
    uint32_t has_sinks;
    float sinks[256];
};

#define WORK_FLOATS 64

static attn_status
check(const attn_backend *self, const char *arch, const attn_layer *layer,
      attn_reasons *reasons)
{
    const attn_flash_layer *l = (const attn_flash_layer *)layer;
    (void)self, (void)arch;
    if (chosen == REFUSES && l->head_dim == 64) {
        attn_reason_add(reasons, "head_dim 64: supports all but 64");
        return ATTN_E_UNSUPPORTED;
    }
    if (chosen == NO_REASON && l->head_dim == 8) {
        attn_reason_add(reasons, "");
        return ATTN_E_UNSUPPORTED;
    }
    return ATTN_OK;
}

static void *volatile lost; /* so that no compiler undoes an allocation */

static attn_status
builder_create(attn_ctx *ctx, const attn_backend *self, const attn_layer *layer,
               const attn_limits *limits, attn_builder **builder,
               attn_error *err)
{
    const attn_flash_layer *l = (const attn_flash_layer *)layer;
    (void)ctx, (void)self, (void)limits;
    if (chosen == ACCEPTS && l->block_size == 5)
        return attn_fail(err, ATTN_E_UNSUPPORTED, "layer.block_size",
                         "not 5 after all");
    attn_builder *b = calloc(1, sizeof *b);
    if (!b)
        return attn_fail(err, ATTN_E_NOMEM, "builder", "out of memory");
    if (chosen == LEAKS)
        lost = malloc(40);
    if (chosen == LEAKS_FILE) {
        extern int open(const char *, int, ...);
        if (open("/dev/null", 0) < 0)
            abort();
    }
    b->layer = *l;
    *builder = b;
    return ATTN_OK;
}

static attn_status
workspace(const attn_builder *b, attn_workspace *need)
{
    (void)b;
    *need = (attn_workspace){.struct_size = sizeof *need,
                             .host_bytes = WORK_FLOATS * sizeof(float),
                             .host_align = 64};
    return ATTN_OK;
}

static attn_status
bind(attn_builder *b, const attn_binding *memory, attn_error *err)
{
    (void)err;
    b->workspace = memory->host;
    return ATTN_OK;
}

static attn_status
layer_bytes(const attn_builder *b, attn_workspace *need)
{
    (void)b;
    *need = (attn_workspace){.struct_size = sizeof *need,
                             .host_bytes = sizeof(struct attn_prepared),
                             .host_align = 16};
    return ATTN_OK;
}

static attn_status
layer_prepare(attn_builder *b, const attn_head *constants,
              const attn_binding *memory, const attn_stream *stream,
              attn_prepared **layer, attn_error *err)
{
    const attn_flash_constants *c = (const attn_flash_constants *)constants;
    attn_prepared *p = memory->host;
    (void)stream, (void)err;
    p->has_sinks = c->sinks && chosen != SINK_LOST;
    if (c->sinks) {
        p->kept = c->sinks->data;
        memcpy(p->sinks, c->sinks->data, b->layer.num_heads * sizeof(float));
    }
    *layer = p;
    return ATTN_OK;
}

static attn_status
build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
      const attn_stream *stream, attn_error *err)
{
    (void)stream, (void)err;
    b->batch = *batch;
    b->group = *group;
    b->steps++;
    return ATTN_OK;
}

static float *
at(const attn_tensor *t, int64_t i, int64_t j, int64_t k)
{
    return (float *)t->data + i * t->strides[0] + j * t->strides[1] +
           (t->ndim > 2 ? k * t->strides[2] : 0);
}

static void
put(const attn_tensor *from, const attn_tensor *to, int64_t token, int64_t slot,
    uint32_t block_size)
{
    for (int64_t h = 0; h < from->shape[1]; h++)
        memcpy(at(to, slot / block_size, slot % block_size, h),
               at(from, token, h, 0), (size_t)from->shape[2] * sizeof(float));
}

static attn_status
update_cache(attn_builder *b, const attn_head *args, attn_error *err)
{
    const attn_flash_update *u = (const attn_flash_update *)args;
    (void)err;
    for (int64_t t = 0; t < u->k->shape[0]; t++) {
        int64_t slot = b->group.slot_mapping[t];
        if (slot < 0 && chosen == UPDATES_SKIPPED)
            slot = 0;
        if (slot < 0 || chosen == SKIPS_UPDATE)
            continue;
        put(u->k, u->k_cache, t, slot, b->group.block_size);
        put(u->v, u->v_cache, t, slot, b->group.block_size);
    }
    return ATTN_OK;
}

static float shared[256];

/* Sums of one row over its keys, in double; `acc` has head_dim_v. */
typedef struct sums {
    double max, total;
    double *acc;
} sums;

static void
add_key(const attn_builder *b, const attn_flash_forward *f, const float *q,
        int64_t block, int64_t in, int64_t g, double weight, sums *s)
{
    const attn_flash_layer *l = &b->layer;
    const float *k = at(f->k_cache, block, in, g);
    const float *v = at(f->v_cache, block, in, g);
    double x = 0;
    for (uint32_t d = 0; d < l->head_dim; d++)
        x += (double)q[d] * (double)k[d];
    x *= (double)l->scale;
    const double top = x > s->max ? x : s->max;
    const double old = exp(s->max - top), p = weight * exp(x - top);
    s->max = top;
    s->total = s->total * old + p;
    for (uint32_t d = 0; d < l->head_dim_v; d++) {
        s->acc[d] = s->acc[d] * old + p * (double)v[d];
        if (chosen == ROUNDED)
            s->acc[d] = (double)(float)(s->acc[d] * 4096) / 4096;
        if (chosen == ROUNDED)
            s->acc[d] = rint(s->acc[d] * 1e5) / 1e5;
    }
}

static int64_t
keys_of(const attn_builder *b, int64_t r, int64_t pos)
{
    const int64_t all = b->batch.seq_lens[r];
    int64_t n = b->layer.causal && chosen != NO_MASK ? pos + 1 : all;
    if (chosen == OFF_BY_ONE && n > 64)
        n--;
    return n;
}

static void
row(attn_builder *b, const attn_flash_forward *f, int64_t r, int64_t t,
    int64_t pos, int64_t h)
{
    const attn_flash_layer *l = &b->layer;
    const uint32_t bs = b->group.block_size;
    const int32_t *table =
        b->group.block_table + r * b->group.block_table_stride;
    const int64_t n = keys_of(b, r, pos);
    const int64_t g = h / (l->num_heads / l->num_kv_heads);
    double acc[256] = {0};
    sums s = {-HUGE_VAL, 0, acc};
    const int backwards = chosen == MATES && b->batch.num_reqs > 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = backwards ? n - 1 - i : i;
        add_key(b, f, at(f->q, t, h, 0), table[j / bs], j % bs, g, 1, &s);
    }
    for (int64_t j = n; chosen == READS_TAIL && j % bs; j++)
        add_key(b, f, at(f->q, t, h, 0), table[j / bs], j % bs, g, 0, &s);
    if (f->layer->has_sinks)
        s.total += exp((double)(chosen == KEEPS_SINKS ? f->layer->kept
                                                      : f->layer->sinks)[h] -
                       s.max);
    float *out = at(f->out, t, h, 0);
    float *mine = chosen == SHARED_SCRATCH ? shared : out;
    for (uint32_t d = 0; d < l->head_dim_v; d++)
        mine[d] = n ? (float)(acc[d] / s.total) : 0;
    if (mine != out) {
        sched_yield(); /* the other builder's turn, also on a busy machine */
        memcpy(out, mine, l->head_dim_v * sizeof *out);
    }
    if (chosen == RANDOM && b->steps % 2)
        out[0] = nextafterf(out[0], HUGE_VALF);
    if (chosen == MATES)
        out[0] = b->batch.num_reqs > 1 ? nextafterf(out[0], HUGE_VALF) : out[0];
    if (chosen == UNINITIALISED)
        out[0] += b->workspace[1] * 1e-30f;
    if (f->lse)
        *at(f->lse, t, h, 0) = (float)((s.max + log(s.total)) *
                                       (chosen == WRONG_LSE ? 1.442695 : 1));
}

static void
misbehave(attn_builder *b, const attn_flash_forward *f)
{
    static volatile int32_t sink;
    const attn_tensor *o = f->out;
    const int64_t end = o->shape[0] * o->strides[0];
    const uint32_t s = b->batch.num_reqs ? (uint32_t)b->batch.seq_lens[0] : 0;
    if (chosen == WRITES_PAST)
        memset((float *)o->data + end, 0, 64);
    if (chosen == WRITES_BEFORE)
        ((float *)o->data)[-1] = 0;
    if (chosen == WRITES_TABLE)
        *(int32_t *)(uintptr_t)b->group.block_table = 0;
    if (chosen == WORKSPACE)
        b->workspace[WORK_FLOATS] = 1;
    if (chosen == READS_PAST && b->batch.num_reqs)
        sink =
            (int32_t)*at(f->k_cache,
                         b->group.block_table[s / b->group.block_size + 1 <
                                                      b->group.block_table_cols
                                                  ? s / b->group.block_size + 1
                                                  : s / b->group.block_size],
                         0, 0);
    if (chosen == ALLOCATES) {
        lost = malloc(64);
        free(lost);
    }
    while (chosen == HANGS)
        sink ^= 1;
    if (chosen == EXITS)
        exit(0);
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
    misbehave(b, f);
    return ATTN_OK;
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
                           .builder_destroy = attn_simple_flash_destroy};

static const attn_caps caps = {
    .struct_size = sizeof caps,
    .features = ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_SINKS | ATTN_F_LSE,
    .properties = ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT,
    ATTN_SIMPLE_ARCHS("*"),
    ATTN_SIMPLE_DIMS({"head_dim", {8, 128, 8}, 0},
                     {"head_dim_v", {8, 128, 8}, 0},
                     {"num_heads", {1, 256, 1}, 0}),
    ATTN_SIMPLE_DTYPES({"q_dtype", ATTN_F32, 0}, {"kv_dtype", ATTN_F32, 0},
                       {"out_dtype", ATTN_F32, 0})};
static const attn_backend backend = {
    ATTN_SIMPLE_BACKEND,         .name = "liar", .summary = "wrong in one way",
    .family = ATTN_FAMILY_FLASH, .op = &op,      ATTN_SIMPLE_CAPS(&caps)};
static const attn_backend *const backends[] = {&backend};
static const attn_option option = {.struct_size = sizeof option,
                                   .type = ATTN_OPTION_CHOICE,
                                   .name = "defect",
                                   .value = "none",
                                   .choices = CHOICES,
                                   .help = "what is wrong"};
static const attn_option *const options[] = {&option};

static attn_status
init(const attn_host *host, const attn_key_value *values, uint32_t n,
     attn_error *err)
{
    (void)host, (void)err;
    for (uint32_t i = 0; i < n; i++) {
        const char *c = CHOICES;
        const size_t len = strlen(values[i].value);
        chosen = NONE;
        while (strncmp(c, values[i].value, len) != 0 ||
               (c[len] && c[len] != '|')) {
            c = strchr(c, '|') + 1;
            chosen++;
        }
    }
    return ATTN_OK;
}

static const attn_plugin plugin = {.struct_size = sizeof plugin,
                                   .id = "org.libattn.tests.liar",
                                   .version = "0.1.0",
                                   .vendor = "libattn",
                                   .url = "",
                                   .license = "Apache-2.0",
                                   .backends = backends,
                                   .options = options,
                                   .num_backends = 1,
                                   .num_options = 1,
                                   .get_extension = attn_simple_get_extension,
                                   .init = init,
                                   .shutdown = attn_simple_shutdown,
                                   .open = attn_simple_open,
                                   .close = attn_simple_close};

ATTN_PLUGIN_NOTE("org.libattn.tests.liar", "0.1.0", "cpu", "liar")
ATTN_PLUGIN_ENTRY(plugin)
