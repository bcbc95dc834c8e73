/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/problem.h"

#include <attn/base.h>

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

#define ANY (-1)

static const attn_dtype I32 = ATTN_I32, I64 = ATTN_I64, U8 = ATTN_U8,
                        FLOAT32 = ATTN_F32;

static int
is_float(attn_dtype t)
{
    return t.code != ATTN_CODE_INT && t.code != ATTN_CODE_UINT;
}

/* One expectation of the call: a tensor, its shape (ANY fits all), its type
 * (NULL: any float), whether it must be there. */
static attn_status
expect(const attn_call *call, const char *name, int required,
       const attn_dtype *dtype, uint32_t ndim, const int64_t *shape,
       const attn_call_tensor **out, attn_error *err)
{
    const attn_call_tensor *t = attn_call_find(call, name);
    *out = t;
    if (!t)
        return required ? attn_error_set(err, ATTN_E_FORMAT, name,
                                         "tensor '%s' is missing", name)
                        : ATTN_OK;
    if (dtype ? !attn_dtype_eq(*dtype, t->dtype) : !is_float(t->dtype))
        return attn_error_set(err, ATTN_E_FORMAT, name,
                              "tensor '%s' has dtype %s, not %s", name,
                              attn_dtype_str(t->dtype),
                              dtype ? attn_dtype_str(*dtype) : "a float");
    if (t->ndim != ndim)
        return attn_error_set(err, ATTN_E_FORMAT, name,
                              "tensor '%s' has %u dimensions, not %u", name,
                              t->ndim, ndim);
    for (uint32_t i = 0; i < ndim; i++)
        if (shape[i] != ANY && t->shape[i] != shape[i])
            return attn_error_set(
                err, ATTN_E_FORMAT, name,
                "tensor '%s' has %lld at dimension %u, the layer needs %lld",
                name, (long long)t->shape[i], i, (long long)shape[i]);
    return ATTN_OK;
}

#define SHAPE(...)                                                  \
    (uint32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
        (const int64_t[])                                           \
    {                                                               \
        __VA_ARGS__                                                 \
    }
#define TRY(call)              \
    do {                       \
        attn_status s_ = call; \
        if (s_)                \
            return s_;         \
    } while (0)

static attn_status
read_lengths(attn_problem *p, attn_error *err)
{
    const attn_call_tensor *t;
    TRY(expect(p->call, "query_start_loc", 1, &I32, SHAPE(ANY), &t, err));
    if (t->shape[0] < 1 || t->shape[0] > ATTN_PROBLEM_MAX_REQS)
        return attn_error_set(err, ATTN_E_FORMAT, t->name,
                              "query_start_loc has %lld entries: 1 to %u",
                              (long long)t->shape[0], ATTN_PROBLEM_MAX_REQS);
    p->num_reqs = (uint32_t)t->shape[0] - 1;
    p->query_start_loc = t->data;
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        const int32_t a = p->query_start_loc[r], b = p->query_start_loc[r + 1];
        if (a < 0 || b < a || (r == 0 && a != 0))
            return attn_error_set(err, ATTN_E_FORMAT, t->name,
                                  "query_start_loc[%u..] = %d, %d", r, a, b);
        if ((uint32_t)(b - a) > p->max_query_len)
            p->max_query_len = (uint32_t)(b - a);
    }
    if ((uint32_t)p->query_start_loc[p->num_reqs] > p->num_tokens)
        return attn_error_set(err, ATTN_E_FORMAT, t->name,
                              "query_start_loc ends at %d, tokens are %u",
                              p->query_start_loc[p->num_reqs], p->num_tokens);
    return ATTN_OK;
}

static attn_status
read_seq_lens(attn_problem *p, int required, attn_error *err)
{
    const attn_call_tensor *t;
    const int cross = (p->layer->features & ATTN_F_CROSS) != 0;
    TRY(expect(p->call, "seq_lens", required, &I32, SHAPE(p->num_reqs), &t,
               err));
    p->seq_lens = t ? t->data : NULL;
    for (uint32_t r = 0; t && r < p->num_reqs; r++) {
        const int32_t s = p->seq_lens[r], q = (int32_t)attn_problem_query(p, r);
        if (s < 0 || (!cross && s < q))
            return attn_error_set(err, ATTN_E_FORMAT, "seq_lens",
                                  "seq_lens[%u] = %d, query length %d", r, s,
                                  q);
        if ((uint32_t)s > p->max_seq_len)
            p->max_seq_len = (uint32_t)s;
    }
    return ATTN_OK;
}

static attn_status
read_table(attn_problem *p, uint32_t block_size, int64_t num_blocks,
           attn_error *err)
{
    const attn_call_tensor *t;
    TRY(expect(p->call, "block_table", 1, &I32, SHAPE(p->num_reqs, ANY), &t,
               err));
    p->block_table = t->data;
    p->cols = (uint32_t)t->shape[1];
    p->block_size = block_size;
    p->num_blocks = (uint32_t)num_blocks;
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        const uint32_t s = (uint32_t)p->seq_lens[r];
        const uint32_t n = s / block_size + (s % block_size != 0);
        if (n > p->cols)
            return attn_error_set(err, ATTN_E_FORMAT, "block_table",
                                  "request %u needs %u blocks, the table "
                                  "has %u columns",
                                  r, n, p->cols);
        for (uint32_t c = 0; c < n; c++) {
            const int32_t b = p->block_table[(size_t)r * p->cols + c];
            if (b < 0 || b >= num_blocks)
                return attn_error_set(
                    err, ATTN_E_FORMAT, "block_table",
                    "block_table[%u][%u] = %d, the cache has %lld blocks", r, c,
                    b, (long long)num_blocks);
        }
    }
    return ATTN_OK;
}

static attn_status
read_slots(attn_problem *p, int required, attn_error *err)
{
    const attn_call_tensor *t;
    TRY(expect(p->call, "slot_mapping", required, &I64, SHAPE(p->num_tokens),
               &t, err));
    p->slot_mapping = t ? t->data : NULL;
    const int64_t limit = (int64_t)p->num_blocks * p->block_size;
    for (uint32_t i = 0; t && i < p->num_tokens; i++)
        if (p->slot_mapping[i] < -1 || p->slot_mapping[i] >= limit)
            return attn_error_set(err, ATTN_E_FORMAT, "slot_mapping",
                                  "slot_mapping[%u] = %lld, slots are %lld", i,
                                  (long long)p->slot_mapping[i],
                                  (long long)limit);
    return ATTN_OK;
}

static attn_status
read_masks(attn_problem *p, attn_error *err)
{
    const attn_call_tensor *t;
    TRY(expect(p->call, "causal", 0, &U8, SHAPE(p->num_reqs), &t, err));
    p->causal = t ? t->data : NULL;
    TRY(expect(p->call, "prefix_ranges", 0, &I32, SHAPE(p->num_reqs, ANY, 2),
               &t, err));
    p->ranges = t ? t->data : NULL;
    p->max_ranges = t ? (uint32_t)t->shape[1] : 0;
    return ATTN_OK;
}

static attn_status
read_flash(attn_problem *p, attn_error *err)
{
    const attn_flash_layer *l = attn_problem_flash(p);
    const attn_call *c = p->call;
    const attn_call_tensor *t, *v;
    if (!l->num_kv_heads || l->num_heads % l->num_kv_heads || !l->block_size)
        return attn_error_set(err, ATTN_E_FORMAT, "layer",
                              "%u heads on %u kv heads, block_size %u",
                              l->num_heads, l->num_kv_heads, l->block_size);
    TRY(expect(c, "q", 1, &l->q_dtype, SHAPE(ANY, l->num_heads, l->head_dim),
               &t, err));
    p->num_tokens = (uint32_t)t->shape[0];
    TRY(read_lengths(p, err));
    TRY(read_seq_lens(p, 1, err));
    TRY(expect(c, "k_cache", 1, &l->kv_dtype,
               SHAPE(ANY, l->block_size, l->num_kv_heads, l->head_dim), &t,
               err));
    TRY(expect(
        c, "v_cache", 1, &l->kv_dtype,
        SHAPE(t->shape[0], l->block_size, l->num_kv_heads, l->head_dim_v), &v,
        err));
    TRY(read_table(p, l->block_size, t->shape[0], err));
    TRY(expect(c, "sinks", 0, NULL, SHAPE(l->num_heads), &t, err));
    TRY(expect(c, "alibi_slopes", 0, &FLOAT32, SHAPE(l->num_heads), &t, err));
    TRY(expect(c, "k_scale", 0, &FLOAT32, SHAPE(l->num_kv_heads), &t, err));
    TRY(expect(c, "v_scale", 0, &FLOAT32, SHAPE(l->num_kv_heads), &t, err));
    TRY(expect(c, "k", 0, &l->q_dtype,
               SHAPE(p->num_tokens, l->num_kv_heads, l->head_dim), &t, err));
    TRY(expect(c, "v", t != NULL, &l->q_dtype,
               SHAPE(p->num_tokens, l->num_kv_heads, l->head_dim_v), &v, err));
    p->has_new = t && v;
    TRY(read_slots(p, (int)p->has_new, err));
    return read_masks(p, err);
}

static attn_status
read_mla(attn_problem *p, attn_error *err)
{
    const attn_mla_layer *l = attn_problem_mla(p);
    const attn_call *c = p->call;
    const int64_t width = (int64_t)l->kv_lora_rank + l->qk_rope_head_dim;
    const attn_call_tensor *t, *v;
    if (!l->block_size)
        return attn_error_set(err, ATTN_E_FORMAT, "layer", "block_size 0");
    TRY(expect(c, "q_nope", 1, &l->q_dtype,
               SHAPE(ANY, l->num_heads, l->qk_nope_head_dim), &t, err));
    p->num_tokens = (uint32_t)t->shape[0];
    TRY(expect(c, "q_pe", 1, &l->q_dtype,
               SHAPE(p->num_tokens, l->num_heads, l->qk_rope_head_dim), &t,
               err));
    TRY(read_lengths(p, err));
    TRY(read_seq_lens(p, 1, err));
    TRY(expect(c, "w_uk", 1, &l->weight_dtype,
               SHAPE(l->num_heads, l->qk_nope_head_dim, l->kv_lora_rank), &t,
               err));
    TRY(expect(c, "w_uv", 1, &l->weight_dtype,
               SHAPE(l->num_heads, l->v_head_dim, l->kv_lora_rank), &t, err));
    TRY(expect(c, "kv_cache", 1, &l->kv_dtype, SHAPE(ANY, l->block_size, width),
               &t, err));
    TRY(read_table(p, l->block_size, t->shape[0], err));
    TRY(expect(c, "kv_scale", 0, &FLOAT32, SHAPE(1), &t, err));
    TRY(expect(c, "latent", 0, &l->q_dtype,
               SHAPE(p->num_tokens, l->kv_lora_rank), &t, err));
    TRY(expect(c, "k_pe", t != NULL, &l->q_dtype,
               SHAPE(p->num_tokens, l->qk_rope_head_dim), &v, err));
    p->has_new = t && v;
    TRY(read_slots(p, (int)p->has_new, err));
    return read_masks(p, err);
}

static attn_status
check_slot(const attn_problem *p, const char *what, uint32_t r, int32_t slot,
           attn_error *err)
{
    if (slot >= -1 && slot < (int64_t)p->num_blocks)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_FORMAT, what,
                          "request %u has slot %d, states are %u", r, slot,
                          p->num_blocks);
}

static attn_status
read_states(attn_problem *p, attn_error *err)
{
    const attn_call_tensor *t = attn_call_find(p->call, "state_indices");
    const int wide = t && t->ndim == 2;
    TRY(expect(p->call, "state_indices", 1, &I32, (wide ? 2u : 1u),
               ((const int64_t[]){p->num_reqs, ANY}), &t, err));
    p->block_table = t->data;
    p->cols = wide ? (uint32_t)t->shape[1] : 1;
    if (!p->cols)
        return attn_error_set(err, ATTN_E_FORMAT, "state_indices",
                              "no columns");
    for (uint32_t i = 0; i < p->num_reqs * p->cols; i++)
        TRY(check_slot(p, "state_indices", i / p->cols, p->block_table[i],
                       err));
    TRY(expect(p->call, "num_accepted_tokens", 0, &I32, SHAPE(p->num_reqs), &t,
               err));
    p->num_accepted = t ? t->data : NULL;
    for (uint32_t r = 0; t && r < p->num_reqs; r++)
        if (p->num_accepted[r] < 1 || (uint32_t)p->num_accepted[r] > p->cols)
            return attn_error_set(err, ATTN_E_FORMAT, t->name,
                                  "request %u accepted %d of %u", r,
                                  p->num_accepted[r], p->cols);
    return ATTN_OK;
}

static attn_status
read_checkpoints(attn_problem *p, attn_error *err)
{
    const attn_call_tensor *t, *interval;
    TRY(expect(p->call, "checkpoint_slots", 0, &I32, SHAPE(p->num_reqs, ANY),
               &t, err));
    if (!t)
        return ATTN_OK;
    p->checkpoints = t->data;
    p->max_checkpoints = (uint32_t)t->shape[1];
    TRY(expect(p->call, "checkpoint_interval", 1, &I32, SHAPE(1), &interval,
               err));
    if (*(const int32_t *)interval->data < 1)
        return attn_error_set(err, ATTN_E_FORMAT, "checkpoint_interval",
                              "checkpoint_interval is not positive");
    p->checkpoint_interval = (uint32_t) * (const int32_t *)interval->data;
    for (uint32_t i = 0; i < p->num_reqs * p->max_checkpoints; i++)
        TRY(check_slot(p, "checkpoint_slots", i / p->max_checkpoints,
                       p->checkpoints[i], err));
    return ATTN_OK;
}

/* A recorded Mamba call has no seq_lens: any length with a context does. */
static attn_status
derive_seq_lens(attn_problem *p, uint32_t extra, attn_error *err)
{
    p->owned = malloc((p->num_reqs + 1) * sizeof *p->owned);
    if (!p->owned)
        return attn_error_nomem(err, "seq_lens", p->num_reqs * sizeof(int32_t));
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        const uint32_t q = attn_problem_query(p, r);
        const uint32_t s =
            q + (p->has_initial && p->has_initial[r] ? extra : 0);
        p->owned[r] = (int32_t)s;
        p->max_seq_len = s > p->max_seq_len ? s : p->max_seq_len;
    }
    p->seq_lens = p->owned;
    return ATTN_OK;
}

static attn_status
read_recurrent(attn_problem *p, uint32_t extra, attn_error *err)
{
    const attn_call_tensor *t;
    TRY(read_lengths(p, err));
    TRY(expect(p->call, "has_initial_state", 0, &U8, SHAPE(p->num_reqs), &t,
               err));
    p->has_initial = t ? t->data : NULL;
    TRY(read_seq_lens(p, 0, err));
    if (!p->seq_lens)
        TRY(derive_seq_lens(p, extra, err));
    TRY(read_states(p, err));
    return read_checkpoints(p, err);
}

static attn_status
read_mamba2(attn_problem *p, attn_error *err)
{
    const attn_mamba2_layer *l = attn_problem_mamba2(p);
    const attn_call *c = p->call;
    const attn_call_tensor *t;
    const int64_t h = l->num_heads, d = l->head_dim, n = l->state_dim;
    const int64_t channels = h * d + 2 * (int64_t)l->num_groups * n;
    const attn_dtype *x = &l->x_dtype;
    if (!l->num_groups || l->num_heads % l->num_groups || l->conv_width < 1)
        return attn_error_set(err, ATTN_E_FORMAT, "layer",
                              "%u heads in %u groups", l->num_heads,
                              l->num_groups);
    TRY(expect(c, "xbc", 1, x, SHAPE(ANY, channels), &t, err));
    p->num_tokens = (uint32_t)t->shape[0];
    TRY(expect(c, "dt", 1, x, SHAPE(p->num_tokens, h), &t, err));
    TRY(expect(c, "z", 0, x, SHAPE(p->num_tokens, h, d), &t, err));
    TRY(expect(c, "conv_weight", 1, x, SHAPE(channels, l->conv_width), &t,
               err));
    TRY(expect(c, "conv_bias", 0, x, SHAPE(channels), &t, err));
    TRY(expect(c, "a", 1, &FLOAT32, SHAPE(h), &t, err));
    TRY(expect(c, "d", 0, &FLOAT32, SHAPE(h), &t, err));
    TRY(expect(c, "dt_bias", 0, &FLOAT32, SHAPE(h), &t, err));
    TRY(expect(c, "ssm_state", 1, &l->ssm_state_dtype, SHAPE(ANY, h, d, n), &t,
               err));
    p->num_blocks = (uint32_t)t->shape[0];
    TRY(expect(c, "conv_state", 1, &l->conv_state_dtype,
               SHAPE(t->shape[0], channels, l->conv_width - 1), &t, err));
    return read_recurrent(p, l->chunk_size ? l->chunk_size : 1, err);
}

static attn_status
read_mamba1(attn_problem *p, attn_error *err)
{
    const attn_mamba1_layer *l = attn_problem_mamba1(p);
    const attn_call *c = p->call;
    const attn_call_tensor *t;
    const int64_t channels = l->num_channels, n = l->state_dim;
    const attn_dtype *x = &l->x_dtype;
    if (l->conv_width < 1)
        return attn_error_set(err, ATTN_E_FORMAT, "layer", "conv_width 0");
    TRY(expect(c, "x", 1, x, SHAPE(ANY, channels), &t, err));
    p->num_tokens = (uint32_t)t->shape[0];
    TRY(expect(c, "dt", 1, x, SHAPE(p->num_tokens, channels), &t, err));
    TRY(expect(c, "b", 1, x, SHAPE(p->num_tokens, n), &t, err));
    TRY(expect(c, "c", 1, x, SHAPE(p->num_tokens, n), &t, err));
    TRY(expect(c, "z", 0, x, SHAPE(p->num_tokens, channels), &t, err));
    TRY(expect(c, "conv_weight", 1, x, SHAPE(channels, l->conv_width), &t,
               err));
    TRY(expect(c, "conv_bias", 0, x, SHAPE(channels), &t, err));
    TRY(expect(c, "a", 1, &FLOAT32, SHAPE(channels, n), &t, err));
    TRY(expect(c, "d", 0, &FLOAT32, SHAPE(channels), &t, err));
    TRY(expect(c, "dt_bias", 0, &FLOAT32, SHAPE(channels), &t, err));
    TRY(expect(c, "ssm_state", 1, &l->ssm_state_dtype, SHAPE(ANY, channels, n),
               &t, err));
    p->num_blocks = (uint32_t)t->shape[0];
    TRY(expect(c, "conv_state", 1, &l->conv_state_dtype,
               SHAPE(t->shape[0], channels, l->conv_width - 1), &t, err));
    return read_recurrent(p, 1, err);
}

static const struct {
    const char *family;
    attn_kind kind;
    uint32_t layer_size;
    attn_status (*read)(attn_problem *p, attn_error *err);
} FAMILIES[] = {
    {ATTN_FAMILY_FLASH, ATTN_KIND_FLASH, ATTN_FLASH_LAYER_SIZE_1_0, read_flash},
    {ATTN_FAMILY_MLA, ATTN_KIND_MLA, ATTN_MLA_LAYER_SIZE_1_0, read_mla},
    {ATTN_FAMILY_MAMBA2, ATTN_KIND_MAMBA2, ATTN_MAMBA2_LAYER_SIZE_1_0,
     read_mamba2},
    {ATTN_FAMILY_MAMBA1, ATTN_KIND_MAMBA1, ATTN_MAMBA1_LAYER_SIZE_1_0,
     read_mamba1},
};

attn_status
attn_problem_read(attn_problem *p, const attn_call *call, attn_error *err)
{
    memset(p, 0, sizeof *p);
    p->call = call;
    p->layer = attn_call_layer(call);
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
        if (strcmp(p->layer->family, FAMILIES[i].family) != 0)
            continue;
        if (p->layer->struct_size < FAMILIES[i].layer_size)
            return attn_error_set(
                err, ATTN_E_ARG, "layer", "struct_size %u, the family has %u",
                p->layer->struct_size, FAMILIES[i].layer_size);
        p->kind = FAMILIES[i].kind;
        attn_status s = FAMILIES[i].read(p, err);
        if (s)
            attn_problem_clear(p);
        return s;
    }
    return attn_error_set(err, ATTN_E_UNSUPPORTED, "layer.family",
                          "no definition of family '%s' here",
                          p->layer->family);
}

void
attn_problem_clear(attn_problem *p)
{
    free(p->owned);
    memset(p, 0, sizeof *p);
}
