/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BASE                                                           \
    .vocab = 96, .hidden = 64, .mlp = 96, .heads = 4, .kv_heads = 2,   \
    .head_dim = 16, .window = 20, .chunk = 16, .nope = 16, .rope = 16, \
    .v_dim = 16, .rank = 32, .groups = 2, .state = 16, .conv = 4

static const struct shape shapes[] = {
    {.name = "llama",
     BASE,
     .num_layers = 3,
     .kinds = {KIND_FULL, KIND_FULL, KIND_FULL}},
    {.name = "mixed",
     BASE,
     .num_layers = 4,
     .kinds = {KIND_FULL, KIND_SLIDING, KIND_LOCAL, KIND_FULL}},
    {.name = "mla",
     BASE,
     .num_layers = 3,
     .kinds = {KIND_MLA, KIND_MLA, KIND_MLA}},
    {.name = "mamba",
     BASE,
     .num_layers = 3,
     .kinds = {KIND_MAMBA, KIND_MAMBA, KIND_MAMBA}},
    {.name = "hybrid",
     BASE,
     .num_layers = 4,
     .kinds = {KIND_MAMBA, KIND_FULL, KIND_MAMBA, KIND_SLIDING}},
};

const struct shape *
shape_at(size_t index)
{
    return index < sizeof shapes / sizeof *shapes ? &shapes[index] : NULL;
}

const struct shape *
shape_find(const char *name)
{
    for (size_t i = 0; shape_at(i); i++)
        if (!strcmp(shapes[i].name, name))
            return &shapes[i];
    return NULL;
}

uint32_t
shape_channels(const struct shape *s)
{
    return s->heads * s->head_dim + 2 * s->groups * s->state;
}

uint32_t
shape_q_width(const struct shape *s, enum kind kind)
{
    if (kind == KIND_MLA)
        return s->heads * (s->nope + s->rope);
    if (kind == KIND_MAMBA)
        return s->heads * s->head_dim + shape_channels(s) + s->heads;
    return s->heads * s->head_dim;
}

uint32_t
shape_out_width(const struct shape *s, enum kind kind)
{
    return s->heads * (kind == KIND_MLA ? s->v_dim : s->head_dim);
}

/* ------------------------------------------------------------ the weights */

static uint64_t
mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* One pass counts floats (memory NULL), a second fills them. */
struct arena {
    float *memory;
    size_t used;
    uint64_t seed;
};

static float *
take(struct arena *arena, uint64_t tag, size_t count, float centre,
     float spread)
{
    float *out = NULL;
    if (arena->memory) {
        out = arena->memory + arena->used;
        for (size_t i = 0; i < count; i++) {
            uint64_t bits = mix(arena->seed + mix(tag * 1000003u + i));
            float unit = (float)(bits >> 40) / 8388608.0f - 1.0f;
            out[i] = centre + spread * unit;
        }
    }
    arena->used += count;
    return out;
}

static float *
matrix(struct arena *arena, uint64_t tag, size_t out, size_t in)
{
    return take(arena, tag, out * in, 0, sqrtf(3.0f / (float)in));
}

static void
fill_mixer(struct arena *a, const struct shape *s, enum kind kind,
           struct weights *w, uint64_t tag)
{
    uint32_t kv = s->kv_heads * s->head_dim;
    w->wq = matrix(a, tag + 2, shape_q_width(s, kind), s->hidden);
    w->wo = matrix(a, tag + 3, s->hidden, shape_out_width(s, kind));
    if (kind == KIND_MLA) {
        w->wk = matrix(a, tag + 4, s->rank + s->rope, s->hidden);
        w->w_uk = matrix(a, tag + 5, s->heads * s->nope, s->rank);
        w->w_uv = matrix(a, tag + 6, s->heads * s->v_dim, s->rank);
    } else if (kind == KIND_MAMBA) {
        w->conv_weight = matrix(a, tag + 7, shape_channels(s), s->conv);
        w->conv_bias = take(a, tag + 8, shape_channels(s), 0, 0.1f);
        w->a = take(a, tag + 9, s->heads, -1.0f, 0.5f);
        w->d = take(a, tag + 10, s->heads, 1.0f, 0.2f);
        w->dt_bias = take(a, tag + 11, s->heads, -1.0f, 0.5f);
    } else {
        w->wk = matrix(a, tag + 4, kv, s->hidden);
        w->wv = matrix(a, tag + 5, kv, s->hidden);
        if (kind == KIND_SLIDING)
            w->sinks = take(a, tag + 6, s->heads, 0, 1.0f);
    }
}

static void
fill(struct arena *a, struct model *m)
{
    const struct shape *s = &m->shape;
    m->embed = take(a, 1, (size_t)s->vocab * s->hidden, 0, 1.7f);
    m->head = matrix(a, 2, s->vocab, s->hidden);
    m->norm = take(a, 3, s->hidden, 1.0f, 0.1f);
    for (uint32_t i = 0; i < s->num_layers; i++) {
        struct weights *w = &m->layers[i];
        uint64_t tag = 100 * (i + 1);
        w->norm1 = take(a, tag, s->hidden, 1.0f, 0.1f);
        w->norm2 = take(a, tag + 1, s->hidden, 1.0f, 0.1f);
        fill_mixer(a, s, s->kinds[i], w, tag);
        w->gate = matrix(a, tag + 20, s->mlp, s->hidden);
        w->up = matrix(a, tag + 21, s->mlp, s->hidden);
        w->down = matrix(a, tag + 22, s->hidden, s->mlp);
    }
}

struct model *
model_create(const struct shape *shape, uint64_t seed)
{
    struct model *m = calloc(1, sizeof *m);
    struct arena arena = {.seed = mix(seed + 1)};
    if (!m)
        return NULL;
    m->shape = *shape;
    fill(&arena, m);
    arena.memory = m->memory = malloc(arena.used * sizeof(float));
    if (!m->memory) {
        free(m);
        return NULL;
    }
    arena.used = 0;
    fill(&arena, m);
    return m;
}

void
model_free(struct model *m)
{
    if (m)
        free(m->memory);
    free(m);
}

/* --------------------------------------------------------- the arithmetic */

void
linear(float *y, const float *x, const float *w, size_t rows, size_t out,
       size_t in)
{
    for (size_t t = 0; t < rows; t++)
        for (size_t o = 0; o < out; o++) {
            float lanes[8] = {0};
            for (size_t i = 0; i < in; i += 8)
                for (size_t l = 0; l < 8; l++)
                    lanes[l] += x[t * in + i + l] * w[o * in + i + l];
            y[t * out + o] = ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
                             ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
        }
}

void
rms_norm(float *y, const float *x, const float *weight, size_t rows,
         size_t width)
{
    for (size_t t = 0; t < rows; t++) {
        float sum = 0;
        for (size_t i = 0; i < width; i++)
            sum += x[t * width + i] * x[t * width + i];
        float scale = 1.0f / sqrtf(sum / (float)width + 1e-6f);
        for (size_t i = 0; i < width; i++)
            y[t * width + i] = x[t * width + i] * scale * weight[i];
    }
}

void
rotate(float *head, uint32_t width, int32_t position)
{
    uint32_t half = width / 2;
    for (uint32_t i = 0; i < half; i++) {
        float rate = powf(10000.0f, -(float)i / (float)half);
        float angle = (float)position * rate;
        float c = cosf(angle), s = sinf(angle);
        float a = head[i], b = head[i + half];
        head[i] = a * c - b * s;
        head[i + half] = a * s + b * c;
    }
}

void
mlp(const struct model *m, uint32_t layer, float *x, size_t rows,
    float *scratch)
{
    const struct shape *s = &m->shape;
    const struct weights *w = &m->layers[layer];
    size_t wide = s->mlp > s->hidden ? s->mlp : s->hidden;
    float *h = scratch, *g = h + rows * wide, *u = g + rows * wide;
    rms_norm(h, x, w->norm2, rows, s->hidden);
    linear(g, h, w->gate, rows, s->mlp, s->hidden);
    linear(u, h, w->up, rows, s->mlp, s->hidden);
    for (size_t i = 0; i < rows * s->mlp; i++)
        g[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
    linear(h, g, w->down, rows, s->hidden, s->mlp);
    for (size_t i = 0; i < rows * s->hidden; i++)
        x[i] += 0.5f * h[i];
}
