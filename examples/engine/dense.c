/* SPDX-License-Identifier: Apache-2.0 */
#include "dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDE 1024 /* the widest projection of any shape */

struct dense {
    const struct model *model;
    uint32_t max_len, len;
    /* Per layer: softmax [max_len, 2 * Hkv * D] keys then values; MLA
     * [max_len, rank + rope]; Mamba raw conv inputs, then the state. */
    float *rows[MAX_LAYERS];
    float *state[MAX_LAYERS];
};

static uint32_t
row_width(const struct shape *s, enum kind kind)
{
    if (kind == KIND_MLA)
        return s->rank + s->rope;
    if (kind == KIND_MAMBA)
        return shape_channels(s);
    return 2 * s->kv_heads * s->head_dim;
}

struct dense *
dense_create(const struct model *model, uint32_t max_len)
{
    const struct shape *s = &model->shape;
    struct dense *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->model = model;
    d->max_len = max_len;
    for (uint32_t i = 0; i < s->num_layers; i++) {
        d->rows[i] =
            calloc((size_t)max_len * row_width(s, s->kinds[i]), sizeof(float));
        d->state[i] =
            calloc((size_t)s->heads * s->head_dim * s->state, sizeof(float));
        if (!d->rows[i] || !d->state[i]) {
            dense_free(d);
            return NULL;
        }
    }
    return d;
}

void
dense_free(struct dense *d)
{
    for (uint32_t i = 0; d && i < MAX_LAYERS; i++) {
        free(d->rows[i]);
        free(d->state[i]);
    }
    free(d);
}

/* First position that a query at the end may see. */
static uint32_t
first_visible(const struct shape *s, enum kind kind, uint32_t position)
{
    if (kind == KIND_SLIDING && position > s->window)
        return position - s->window;
    if (kind == KIND_LOCAL)
        return position / s->chunk * s->chunk;
    return 0;
}

/* out[width] = softmax(scores) . values; sink is a score without value. */
static void
weigh(double *scores, uint32_t count, const double *sink, float *out,
      uint32_t width, double (*value)(const void *, uint32_t, uint32_t),
      const void *arg)
{
    double top = sink ? *sink : -INFINITY, sum = 0;
    for (uint32_t j = 0; j < count; j++)
        top = fmax(top, scores[j]);
    for (uint32_t j = 0; j < count; j++)
        sum += scores[j] = exp(scores[j] - top);
    if (sink)
        sum += exp(*sink - top);
    for (uint32_t i = 0; i < width; i++) {
        double acc = 0;
        for (uint32_t j = 0; j < count; j++)
            acc += scores[j] * value(arg, j, i);
        out[i] = (float)(acc / sum);
    }
}

struct value_rows {
    const float *first; /* element 0 of the first visible value row */
    size_t stride;
    const float *up; /* [v_dim, rank] of one head, or NULL */
    uint32_t rank;
};

static double
value_at(const void *arg, uint32_t j, uint32_t i)
{
    const struct value_rows *v = arg;
    const float *row = v->first + j * v->stride;
    double acc = 0;
    if (!v->up)
        return row[i];
    for (uint32_t c = 0; c < v->rank; c++)
        acc += (double)row[c] * v->up[i * v->rank + c];
    return acc;
}

static double
dot(const float *a, const float *b, uint32_t n)
{
    double acc = 0;
    for (uint32_t i = 0; i < n; i++)
        acc += (double)a[i] * b[i];
    return acc;
}

static void
softmax_layer(struct dense *d, uint32_t layer, const float *h, float *out)
{
    const struct shape *s = &d->model->shape;
    const struct weights *w = &d->model->layers[layer];
    uint32_t dim = s->head_dim, kv = s->kv_heads * dim, p = d->len;
    float q[WIDE], *row = d->rows[layer] + (size_t)p * 2 * kv;
    double scores[4096];
    linear(q, h, w->wq, 1, s->heads * dim, s->hidden);
    linear(row, h, w->wk, 1, kv, s->hidden);
    linear(row + kv, h, w->wv, 1, kv, s->hidden);
    for (uint32_t i = 0; i < s->heads; i++)
        rotate(q + i * dim, dim, (int32_t)p);
    for (uint32_t i = 0; i < s->kv_heads; i++)
        rotate(row + i * dim, dim, (int32_t)p);
    uint32_t lo = first_visible(s, s->kinds[layer], p);
    for (uint32_t i = 0; i < s->heads; i++) {
        uint32_t g = i / (s->heads / s->kv_heads);
        const float *base = d->rows[layer] + (size_t)lo * 2 * kv + g * dim;
        struct value_rows v = {base + kv, 2 * kv, NULL, 0};
        double sink = w->sinks ? w->sinks[i] : 0;
        for (uint32_t j = lo; j <= p; j++)
            scores[j - lo] =
                dot(q + i * dim, base + (size_t)(j - lo) * 2 * kv, dim) /
                sqrt(dim);
        weigh(scores, p - lo + 1, w->sinks ? &sink : NULL, out + i * dim, dim,
              value_at, &v);
    }
}

static void
latent_layer(struct dense *d, uint32_t layer, const float *h, float *out)
{
    const struct shape *s = &d->model->shape;
    const struct weights *w = &d->model->layers[layer];
    uint32_t dq = s->nope + s->rope, width = s->rank + s->rope, p = d->len;
    float q[WIDE], *row = d->rows[layer] + (size_t)p * width;
    double scores[4096];
    linear(q, h, w->wq, 1, s->heads * dq, s->hidden);
    linear(row, h, w->wk, 1, width, s->hidden);
    rotate(row + s->rank, s->rope, (int32_t)p);
    for (uint32_t i = 0; i < s->heads; i++) {
        const float *up = w->w_uk + (size_t)i * s->nope * s->rank;
        struct value_rows v = {d->rows[layer], width,
                               w->w_uv + (size_t)i * s->v_dim * s->rank,
                               s->rank};
        rotate(q + i * dq + s->nope, s->rope, (int32_t)p);
        for (uint32_t j = 0; j <= p; j++) {
            const float *key = d->rows[layer] + (size_t)j * width;
            double acc = dot(q + i * dq + s->nope, key + s->rank, s->rope);
            for (uint32_t n = 0; n < s->nope; n++)
                acc += q[i * dq + n] * dot(key, up + n * s->rank, s->rank);
            scores[j] = acc / sqrt(dq);
        }
        weigh(scores, p + 1, NULL, out + i * s->v_dim, s->v_dim, value_at, &v);
    }
}

static double
silu(double x)
{
    return x / (1 + exp(-x));
}

static void
convolve(const struct dense *d, uint32_t layer, double *xbc)
{
    const struct shape *s = &d->model->shape;
    const struct weights *w = &d->model->layers[layer];
    uint32_t channels = shape_channels(s);
    for (uint32_t c = 0; c < channels; c++) {
        double acc = w->conv_bias[c];
        for (uint32_t k = 0; k < s->conv; k++) {
            uint32_t back = s->conv - 1 - k;
            if (back <= d->len)
                acc += (double)w->conv_weight[c * s->conv + k] *
                       d->rows[layer][(size_t)(d->len - back) * channels + c];
        }
        xbc[c] = silu(acc);
    }
}

static void
mamba_layer(struct dense *d, uint32_t layer, const float *h, float *out)
{
    const struct shape *s = &d->model->shape;
    const struct weights *w = &d->model->layers[layer];
    uint32_t inner = s->heads * s->head_dim, channels = shape_channels(s);
    float in[WIDE], *raw = d->rows[layer] + (size_t)d->len * channels;
    double xbc[WIDE];
    linear(in, h, w->wq, 1, shape_q_width(s, KIND_MAMBA), s->hidden);
    memcpy(raw, in + inner, channels * sizeof *raw);
    convolve(d, layer, xbc);
    for (uint32_t i = 0; i < inner; i++) {
        uint32_t head = i / s->head_dim;
        uint32_t group = head / (s->heads / s->groups);
        double *b = xbc + inner + group * s->state;
        double *c = b + s->groups * s->state;
        double dt =
            log1p(exp((double)in[inner + channels + head] + w->dt_bias[head]));
        float *state = d->state[layer] + (size_t)i * s->state;
        double y = w->d[head] * xbc[i];
        for (uint32_t n = 0; n < s->state; n++) {
            state[n] =
                (float)(state[n] * exp(w->a[head] * dt) + dt * b[n] * xbc[i]);
            y += c[n] * state[n];
        }
        out[i] = (float)(y * silu(in[i]));
    }
}

int
dense_append(struct dense *d, int32_t token, float *logits)
{
    const struct model *m = d->model;
    const struct shape *s = &m->shape;
    float x[WIDE], h[WIDE], out[WIDE], scratch[3 * WIDE];
    if (d->len == d->max_len)
        return -1;
    memcpy(x, m->embed + (size_t)token * s->hidden, s->hidden * sizeof *x);
    for (uint32_t i = 0; i < s->num_layers; i++) {
        rms_norm(h, x, m->layers[i].norm1, 1, s->hidden);
        if (s->kinds[i] == KIND_MLA)
            latent_layer(d, i, h, out);
        else if (s->kinds[i] == KIND_MAMBA)
            mamba_layer(d, i, h, out);
        else
            softmax_layer(d, i, h, out);
        linear(h, out, m->layers[i].wo, 1, s->hidden,
               shape_out_width(s, s->kinds[i]));
        for (uint32_t j = 0; j < s->hidden; j++)
            x[j] += 0.5f * h[j];
        mlp(m, i, x, 1, scratch);
    }
    rms_norm(h, x, m->norm, 1, s->hidden);
    linear(logits, h, m->head, 1, s->vocab, s->hidden);
    d->len++;
    return 0;
}
