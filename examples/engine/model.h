/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - a small decoder with random weights from a seed.
 *
 * Per layer: x += mixer(norm(x)); x += mlp(norm(x)). The mixer is softmax
 * attention (full, sliding window or chunk-local), latent attention, or a
 * Mamba-2 state-space layer. Everything is float32. */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define MAX_LAYERS 6

enum kind {
    KIND_FULL,
    KIND_SLIDING, /* window mask and sinks */
    KIND_LOCAL,   /* sees its own chunk of positions only */
    KIND_MLA,
    KIND_MAMBA,
    NUM_KINDS
};

struct shape {
    const char *name;
    uint32_t vocab, hidden, mlp;
    uint32_t heads, kv_heads, head_dim;
    uint32_t window, chunk;           /* of sliding and local layers */
    uint32_t nope, rope, v_dim, rank; /* of latent attention */
    uint32_t groups, state, conv;     /* of Mamba-2; P = head_dim */
    uint32_t num_layers;
    enum kind kinds[MAX_LAYERS];
};

/* Projections of a mixer, row-major [out, in]; NULL where the kind has none.
 * Softmax: wq wk wv wo sinks. MLA: wq [H*(nope+rope)], wk [rank+rope], w_uk,
 * w_uv, wo. Mamba: wq = in projection to z, xbc, dt; conv, a, d, dt_bias. */
struct weights {
    float *norm1, *norm2;
    float *wq, *wk, *wv, *wo;
    float *sinks;
    float *w_uk, *w_uv;
    float *conv_weight, *conv_bias, *a, *d, *dt_bias;
    float *gate, *up, *down;
};

struct model {
    struct shape shape;
    float *embed, *head, *norm;
    struct weights layers[MAX_LAYERS];
    float *memory; /* all of the above */
};

/* The shapes known by name; NULL ends. */
const struct shape *shape_at(size_t index);
const struct shape *shape_find(const char *name);

/* Channels of a Mamba convolution: H*P + 2*G*N. */
uint32_t shape_channels(const struct shape *shape);
/* Width of what wq yields for a layer of this kind. */
uint32_t shape_q_width(const struct shape *shape, enum kind kind);
/* Width of what the mixer yields before wo. */
uint32_t shape_out_width(const struct shape *shape, enum kind kind);

/* Weights depend on seed, layer and name only: a model of fewer layers made
 * from the same seed is the lower part of the larger one. NULL: no memory. */
struct model *model_create(const struct shape *shape, uint64_t seed);
void model_free(struct model *model);

/* y[t, out] = x[t, in] . w[out, in]^T, one row at a time. */
void linear(float *y, const float *x, const float *w, size_t rows, size_t out,
            size_t in);
/* y = x / rms(x) * weight, per row; x and y may be one. */
void rms_norm(float *y, const float *x, const float *weight, size_t rows,
              size_t width);
/* Rotates the first `width` numbers of one head for a position. */
void rotate(float *head, uint32_t width, int32_t position);
/* x += down(silu(gate(h)) * up(h)), h = norm2(x); scratch: 3 * rows * max. */
void mlp(const struct model *model, uint32_t layer, float *x, size_t rows,
         float *scratch);

#endif
