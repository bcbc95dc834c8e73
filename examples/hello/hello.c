/* SPDX-License-Identifier: 0BSD */
/* A whole plugin: paged attention in float32 on the CPU, slow and right. */
#include <attn/simple.h>

#include <math.h>

/* Query head h of token t, which sees the first `keys` keys of request r. */
static void
attend(const attn_simple_flash *s, const attn_flash_forward *f, uint32_t r,
       uint32_t t, uint32_t h, int64_t keys)
{
    const attn_flash_layer *l = &s->layer;
    const uint32_t kv_head = h / (l->num_heads / l->num_kv_heads);
    const float *q = attn_simple_row(f->q, t, h, 0);
    float *out = attn_simple_row(f->out, t, h, 0);
    double max = -HUGE_VAL, sum = 0, acc[256] = {0};
    for (int64_t j = 0; j < keys; j++) {
        const float *k = attn_simple_cached(s, f->k_cache, r, j, kv_head);
        const float *v = attn_simple_cached(s, f->v_cache, r, j, kv_head);
        double score = 0;
        for (uint32_t d = 0; d < l->head_dim; d++)
            score += (double)q[d] * k[d];
        const double top = fmax(max, score * l->scale), past = exp(max - top);
        const double p = exp(score * l->scale - top);
        max = top;
        sum = sum * past + p;
        for (uint32_t d = 0; d < l->head_dim_v; d++)
            acc[d] = acc[d] * past + p * v[d];
    }
    for (uint32_t d = 0; d < l->head_dim_v; d++)
        out[d] = keys > 0 ? (float)(acc[d] / sum) : 0;
    if (f->lse)
        *(float *)attn_simple_row(f->lse, t, h, 0) = (float)(max + log(sum));
}

static attn_status
forward(attn_builder *builder, const attn_head *args, attn_error *err)
{
    const attn_simple_flash *s = attn_simple_flash_of(builder);
    const int32_t *start = s->batch.query_start_loc;
    (void)err;
    for (uint32_t r = 0; r < s->batch.num_reqs; r++)
        for (int32_t t = start[r]; t < start[r + 1]; t++)
            for (uint32_t h = 0; h < s->layer.num_heads; h++)
                attend(s, (const attn_flash_forward *)args, r, (uint32_t)t, h,
                       s->batch.seq_lens[r] -
                           (s->layer.causal ? start[r + 1] - t - 1 : 0));
    return ATTN_OK;
}

static const attn_op op = {ATTN_SIMPLE_FLASH_OP, .forward = forward};
static const attn_caps caps = {
    .struct_size = sizeof caps,
    .features = ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_LSE,
    .properties = ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT,
    ATTN_SIMPLE_ARCHS("*"),
    ATTN_SIMPLE_DIMS({"head_dim", {1, 256, 1}, 0},
                     {"head_dim_v", {1, 256, 1}, 0}),
    ATTN_SIMPLE_DTYPES({"q_dtype", ATTN_F32, 0}, {"kv_dtype", ATTN_F32, 0},
                       {"out_dtype", ATTN_F32, 0})};
static const attn_backend backend = {
    ATTN_SIMPLE_BACKEND,
    .name = "hello",
    .summary = "the smallest whole backend: float32, one thread, slow",
    .family = ATTN_FAMILY_FLASH,
    .op = &op,
    ATTN_SIMPLE_CAPS(&caps)};

ATTN_SIMPLE_ENTRY(backend, "hello", "org.example.hello", "0.1.0", "0BSD")
