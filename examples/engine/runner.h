/* SPDX-License-Identifier: Apache-2.0 */
/* runner.h - one model on libattn: groups, caches, and the way of a step.
 *
 * This is the part an engine author reads: everything the library is asked
 * stands in runner.c (set-up) and mixers.c (per layer). */
#ifndef ENGINE_RUNNER_H
#define ENGINE_RUNNER_H

#include "step.h"

/* How a chunk-local layer is run: slices of the sequence as requests of their
 * own, or each token alone under a window mask that ends at its chunk. */
enum local_mode { LOCAL_VIRTUAL, LOCAL_MASK };

enum share {
    TIME_METADATA,
    TIME_UPDATE,
    TIME_ATTENTION,
    TIME_REST,
    NUM_SHARES
};

/* The layers of one kind: they share a KV group, hence a builder. */
struct lane {
    attn_any_layer desc;
    attn_group *group;
    attn_group_layer *layers[MAX_LAYERS];
    float *caches[MAX_LAYERS][2]; /* K and V; latent; conv and SSM state */
};

struct local; /* of local.c */

struct runner {
    const struct model *model;
    attn_registry *registry;
    struct limits limits;
    enum local_mode local_mode;
    attn_session *session;
    struct lane lanes[NUM_KINDS];
    struct local *local;
    uint32_t skip_update; /* a fault: leaves out every n-th cache update */
    uint32_t num_updates;
    float *x, *h, *q, *k, *v, *out, *scratch; /* [max_tokens, WIDEST] */
    double seconds[NUM_SHARES];
};

struct runner_params {
    const struct model *model;
    attn_registry *registry;
    struct limits limits;
    enum local_mode local_mode;
};

/* Creates groups and caches; caches start as NaN, so that a page read before
 * it was written shows. */
attn_status runner_create(const struct runner_params *params,
                          struct runner **runner, attn_error *err);
void runner_destroy(struct runner *runner);
/* One step: logits [T, vocab] of every token. */
attn_status runner_forward(struct runner *runner, const struct view *view,
                           float *logits, attn_error *err);

/* A group of layers like `desc`, on the configured backend. */
attn_status runner_group(struct runner *runner, const attn_any_layer *desc,
                         uint32_t max_reqs, uint32_t max_columns,
                         attn_group **group, attn_error *err);
/* Adds every layer of this kind to a group, with its constants. */
attn_status runner_add_layers(struct runner *runner, enum kind kind,
                              attn_group *group, attn_group_layer **layers,
                              attn_error *err);

/* mixers.c */
/* The description that libattn needs of a kind of layer. */
attn_status mixer_describe(const struct runner *runner, enum kind kind,
                           attn_any_layer *desc, attn_error *err);
/* Once per step: every lane's metadata. */
attn_status mixer_build(struct runner *runner, const struct view *view,
                        attn_error *err);
/* runner->out[T, width] from the normed rows runner->h. */
attn_status mixer_forward(struct runner *runner, uint32_t layer,
                          const struct view *view, attn_error *err);

/* local.c: the two ways of a chunk-local layer. */
attn_status local_create(struct runner *runner, attn_error *err);
void local_destroy(struct runner *runner);
attn_status local_build(struct runner *runner, const struct view *view,
                        attn_error *err);
attn_status local_forward(struct runner *runner, uint32_t layer,
                          const attn_flash_forward *args, attn_error *err);

/* Monotonic seconds. */
double now_seconds(void);
/* Adds the time since *mark to a share and moves the mark. */
void runner_account(struct runner *runner, enum share share, double *mark);

/* A dense tensor over borrowed memory, row-major; up to 4 dimensions. */
struct tensor {
    attn_tensor view;
    int64_t shape[4], strides[4];
};
attn_tensor *tensor_set(struct tensor *tensor, const float *data, int ndim,
                        const int64_t *shape);

#endif
