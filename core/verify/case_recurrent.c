/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/case.h"

#include <stdlib.h>
#include <string.h>

#define DRAFTS 3u
#define INTERVAL 16u

static const attn_dtype I32 = ATTN_I32, U8 = ATTN_U8, FLOAT32 = ATTN_F32;

/* What both families have, under one set of names. */
typedef struct shape {
    int64_t units, rows, states, channels, width, checkpoint;
    attn_dtype x, conv, ssm;
    uint32_t drafts, num_checkpoints, slots;
    uint32_t *order;
} shape;

static shape
shape_of(const attn_layer *layer)
{
    shape s = {0};
    if (!strcmp(layer->family, ATTN_FAMILY_MAMBA2)) {
        const attn_mamba2_layer *l = (const attn_mamba2_layer *)layer;
        s = (shape){.units = l->num_heads,
                    .rows = l->head_dim,
                    .states = l->state_dim,
                    .channels = (int64_t)l->num_heads * l->head_dim +
                                2 * (int64_t)l->num_groups * l->state_dim,
                    .width = l->conv_width,
                    .x = l->x_dtype,
                    .conv = l->conv_state_dtype,
                    .ssm = l->ssm_state_dtype};
    } else {
        const attn_mamba1_layer *l = (const attn_mamba1_layer *)layer;
        s = (shape){.units = l->num_channels,
                    .rows = 1,
                    .states = l->state_dim,
                    .channels = l->num_channels,
                    .width = l->conv_width,
                    .x = l->x_dtype,
                    .conv = l->conv_state_dtype,
                    .ssm = l->ssm_state_dtype};
    }
    return s;
}

static uint32_t
context(const attn_case *c, uint32_t r)
{
    return r < c->in->num_reqs
               ? c->in->requests[r].seq_len - c->in->requests[r].query_len
               : 0;
}

/* Checkpoints that fall into the step of request r. */
static uint32_t
checkpoints_of(const attn_case *c, uint32_t r)
{
    return r < c->in->num_reqs ? c->in->requests[r].seq_len / INTERVAL -
                                     context(c, r) / INTERVAL
                               : 0;
}

static void
count_slots(attn_case *c, shape *s)
{
    const uint64_t f = c->in->layer->features;
    s->drafts = f & ATTN_F_DRAFTS ? DRAFTS : 0;
    for (uint32_t r = 0; f & ATTN_F_CHECKPOINTS && r < c->in->num_reqs; r++)
        if (checkpoints_of(c, r) > s->num_checkpoints)
            s->num_checkpoints = checkpoints_of(c, r);
    if (f & ATTN_F_CHECKPOINTS && !s->num_checkpoints)
        s->num_checkpoints = 1;
    s->slots = c->in->num_reqs * (1 + s->drafts + s->num_checkpoints) + 3;
    s->order = attn_case_shuffle(c, s->slots,
                                 (c->in->flags & ATTN_CASE_IN_ORDER) != 0);
}

static void
add_states(attn_case *c, shape *s)
{
    const uint32_t cols = 1 + s->drafts;
    uint32_t at = 0;
    int32_t *index =
        cols > 1 ? ATTN_CASE_ADD(c, "state_indices", I32, c->num_reqs, cols)
                 : ATTN_CASE_ADD(c, "state_indices", I32, c->num_reqs);
    uint8_t *initial = ATTN_CASE_ADD(c, "has_initial_state", U8, c->num_reqs);
    int32_t *accepted =
        s->drafts ? ATTN_CASE_ADD(c, "num_accepted_tokens", I32, c->num_reqs)
                  : NULL;
    if (c->status)
        return;
    for (uint32_t r = 0; r < c->num_reqs; r++) {
        for (uint32_t k = 0; k < cols; k++)
            index[r * cols + k] =
                r < c->in->num_reqs ? (int32_t)s->order[at++] : -1;
        initial[r] = context(c, r) > 0;
        if (accepted)
            accepted[r] =
                initial[r] ? 1 + (int32_t)attn_random_below(&c->rng, cols) : 1;
    }
    if (!s->num_checkpoints)
        return;
    int32_t *slots = ATTN_CASE_ADD(c, "checkpoint_slots", I32, c->num_reqs,
                                   s->num_checkpoints);
    int32_t *every = ATTN_CASE_ADD(c, "checkpoint_interval", I32, 1);
    if (c->status)
        return;
    *every = INTERVAL;
    for (uint32_t r = 0; r < c->num_reqs; r++)
        for (uint32_t k = 0; k < s->num_checkpoints; k++)
            slots[r * s->num_checkpoints + k] =
                k < checkpoints_of(c, r) && attn_random_below(&c->rng, 4)
                    ? (int32_t)s->order[at++]
                    : -1;
}

/* Only states that a request starts from hold numbers. */
static void
fill_states(attn_case *c, const shape *s)
{
    const size_t ssm = (size_t)(s->units * s->rows * s->states);
    const size_t conv = (size_t)(s->channels * (s->width - 1));
    const uint32_t cols = 1 + s->drafts;
    if (s->rows > 1)
        ATTN_CASE_ADD(c, "ssm_state", s->ssm, s->slots, s->units, s->rows,
                      s->states);
    else
        ATTN_CASE_ADD(c, "ssm_state", s->ssm, s->slots, s->units, s->states);
    ATTN_CASE_ADD(c, "conv_state", s->conv, s->slots, s->channels,
                  s->width - 1);
    attn_case_poison(c, "ssm_state", 0, s->slots * ssm);
    attn_case_poison(c, "conv_state", 0, s->slots * conv);
    if (c->status)
        return;
    const int32_t *index = attn_call_find(c->call, "state_indices")->data;
    const attn_call_tensor *accepted =
        attn_call_find(c->call, "num_accepted_tokens");
    for (uint32_t r = 0; r < c->in->num_reqs; r++) {
        const uint32_t col =
            accepted ? (uint32_t)((const int32_t *)accepted->data)[r] - 1 : 0;
        const size_t slot = (size_t)index[r * cols + col];
        if (!context(c, r))
            continue;
        attn_case_fill(c, "ssm_state", slot * ssm, ssm, 0, 0.5);
        attn_case_fill(c, "conv_state", slot * conv, conv, 0, 1);
    }
}

static void
fill_tokens(attn_case *c, const char *name, int64_t row, double deviation)
{
    const size_t n = (size_t)row;
    attn_case_fill(c, name, 0, c->real_tokens * n, 0, deviation);
    attn_case_poison(c, name, c->real_tokens * n,
                     (c->num_tokens - c->real_tokens) * n);
}

static void
add_tokens(attn_case *c, const shape *s)
{
    const int mamba2 = s->rows > 1;
    const char *in = mamba2 ? "xbc" : "x";
    ATTN_CASE_ADD(c, in, s->x, c->num_tokens, s->channels);
    fill_tokens(c, in, s->channels, 1);
    ATTN_CASE_ADD(c, "dt", s->x, c->num_tokens, s->units);
    fill_tokens(c, "dt", s->units, 0.5);
    if (!mamba2) {
        ATTN_CASE_ADD(c, "b", s->x, c->num_tokens, s->states);
        ATTN_CASE_ADD(c, "c", s->x, c->num_tokens, s->states);
        fill_tokens(c, "b", s->states, 1);
        fill_tokens(c, "c", s->states, 1);
    }
    if (!(c->in->layer->features & ATTN_F_GATE))
        return;
    if (mamba2)
        ATTN_CASE_ADD(c, "z", s->x, c->num_tokens, s->units, s->rows);
    else
        ATTN_CASE_ADD(c, "z", s->x, c->num_tokens, s->units);
    fill_tokens(c, "z", s->units * s->rows, 1);
}

static void
add_constants(attn_case *c, const shape *s)
{
    const int mamba2 = s->rows > 1;
    ATTN_CASE_ADD(c, "conv_weight", s->x, s->channels, s->width);
    attn_case_fill(c, "conv_weight", 0, (size_t)(s->channels * s->width), 0,
                   0.5);
    ATTN_CASE_ADD(c, "conv_bias", s->x, s->channels);
    attn_case_fill(c, "conv_bias", 0, (size_t)s->channels, 0, 0.2);
    float *a = mamba2 ? ATTN_CASE_ADD(c, "a", FLOAT32, s->units)
                      : ATTN_CASE_ADD(c, "a", FLOAT32, s->units, s->states);
    const int64_t n = mamba2 ? s->units : s->units * s->states;
    for (int64_t i = 0; a && i < n; i++)
        a[i] = -(float)(mamba2 ? 1 : 1 + i % s->states) *
               (0.25f + (float)attn_random_below(&c->rng, 1024) / 256.0f);
    ATTN_CASE_ADD(c, "d", FLOAT32, s->units);
    attn_case_fill(c, "d", 0, (size_t)s->units, 0, 1);
    ATTN_CASE_ADD(c, "dt_bias", FLOAT32, s->units);
    attn_case_fill(c, "dt_bias", 0, (size_t)s->units, -2.5, 0.7);
}

void
attn_case_recurrent(attn_case *c)
{
    shape s = shape_of(c->in->layer);
    attn_case_lengths(c);
    count_slots(c, &s);
    add_states(c, &s);
    fill_states(c, &s);
    add_tokens(c, &s);
    add_constants(c, &s);
    free(s.order);
}
