/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/derive.h"

#include <string.h>

#include "base/error.h"

/* What the first dimension of a tensor counts. */
typedef enum axis { TOKENS, REQUESTS, BLOCKS, SAME, STARTS } axis_kind;

static const struct {
    const char *name;
    axis_kind axis;
} TENSORS[] = {
    {"q", TOKENS},
    {"q_nope", TOKENS},
    {"q_pe", TOKENS},
    {"k", TOKENS},
    {"v", TOKENS},
    {"latent", TOKENS},
    {"k_pe", TOKENS},
    {"slot_mapping", TOKENS},
    {"xbc", TOKENS},
    {"x", TOKENS},
    {"dt", TOKENS},
    {"b", TOKENS},
    {"c", TOKENS},
    {"z", TOKENS},
    {"seq_lens", REQUESTS},
    {"causal", REQUESTS},
    {"prefix_ranges", REQUESTS},
    {"block_table", REQUESTS},
    {"state_indices", REQUESTS},
    {"has_initial_state", REQUESTS},
    {"num_accepted_tokens", REQUESTS},
    {"checkpoint_slots", REQUESTS},
    {"k_cache", BLOCKS},
    {"v_cache", BLOCKS},
    {"kv_cache", BLOCKS},
    {"conv_state", BLOCKS},
    {"ssm_state", BLOCKS},
    {"query_start_loc", STARTS},
};

static size_t
row_bytes(const attn_call_tensor *t)
{
    size_t n = t->dtype.bits / 8u;
    for (uint32_t i = 1; i < t->ndim; i++)
        n *= (size_t)t->shape[i];
    return n;
}

static axis_kind
axis_of(const char *name)
{
    for (size_t i = 0; i < sizeof TENSORS / sizeof *TENSORS; i++)
        if (!strcmp(TENSORS[i].name, name))
            return TENSORS[i].axis;
    return SAME;
}

static uint32_t
tokens_of(const attn_problem *p, const attn_derivation *d)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->count; i++)
        n += attn_problem_query(p, d->order[i]);
    return n;
}

static void
copy_rows(const attn_problem *p, const attn_derivation *d,
          const attn_call_tensor *from, axis_kind axis, uint8_t *to)
{
    const size_t row = row_bytes(from);
    const uint8_t *data = from->data;
    for (uint32_t i = 0; axis <= REQUESTS && i < d->count; i++) {
        const uint32_t r = d->order[i];
        const size_t first = axis == TOKENS ? (size_t)p->query_start_loc[r] : r;
        const size_t n = axis == TOKENS ? attn_problem_query(p, r) : 1;
        memcpy(to, data + first * row, n * row);
        to += n * row;
    }
    for (size_t b = 0; axis == BLOCKS && b < (size_t)from->shape[0]; b++)
        memcpy(to + (d->place ? d->place[b] : b) * row, data + b * row, row);
    if (axis == SAME)
        memcpy(to, data, from->bytes);
    for (uint32_t i = 0; axis == STARTS && i < d->count; i++)
        ((int32_t *)(void *)to)[i + 1] =
            ((int32_t *)(void *)to)[i] +
            (int32_t)attn_problem_query(p, d->order[i]);
}

/* Block ids, slots and state indices follow the pages. */
static void
relocate(const attn_problem *p, const attn_derivation *d,
         const attn_call_tensor *t)
{
    const size_t n = t->bytes / (t->dtype.bits / 8u);
    const int ids = !strcmp(t->name, "block_table") ||
                    !strcmp(t->name, "state_indices") ||
                    !strcmp(t->name, "checkpoint_slots");
    for (size_t i = 0; ids && i < n; i++) {
        int32_t *b = (int32_t *)t->data + i;
        if (*b >= 0 && *b < (int64_t)p->num_blocks)
            *b = (int32_t)d->place[*b];
    }
    for (size_t i = 0; !strcmp(t->name, "slot_mapping") && i < n; i++) {
        int64_t *s = (int64_t *)t->data + i;
        if (*s >= 0)
            *s = (int64_t)d->place[*s / p->block_size] * p->block_size +
                 *s % p->block_size;
    }
}

static attn_status
derive_tensor(const attn_problem *p, const attn_derivation *d,
              const attn_call_tensor *from, attn_call *to, attn_error *err)
{
    const axis_kind axis = axis_of(from->name);
    int64_t shape[ATTN_CALL_MAX_DIMS];
    attn_call_tensor *made = NULL;
    memcpy(shape, from->shape, sizeof shape);
    if (axis == TOKENS)
        shape[0] = tokens_of(p, d);
    else if (axis == REQUESTS)
        shape[0] = d->count;
    else if (axis == STARTS)
        shape[0] = (int64_t)d->count + 1;
    attn_status s = attn_call_add(to, from->name, from->dtype, from->ndim,
                                  shape, NULL, &made, err);
    if (s)
        return s;
    copy_rows(p, d, from, axis, made->data);
    if (d->place)
        relocate(p, d, made);
    return ATTN_OK;
}

attn_status
attn_call_derive(const attn_problem *p, const attn_derivation *d,
                 attn_call **call, attn_error *err)
{
    attn_call *made = NULL;
    attn_status s = attn_call_create(p->layer, &made, err);
    for (size_t i = 0; !s && i < attn_call_count(p->call); i++) {
        const attn_call_tensor *t = attn_call_at(p->call, i);
        if (strncmp(t->name, "expected.", 9) != 0)
            s = derive_tensor(p, d, t, made, err);
    }
    if (s)
        attn_call_free(made);
    else
        *call = made;
    return s;
}

static int
same_tokens(const attn_problem *p, const attn_derivation *d,
            const attn_call_tensor *a, const attn_call_tensor *b,
            uint32_t *request)
{
    const size_t row = row_bytes(a);
    size_t at = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        const uint32_t r = d->order[i];
        const size_t n = attn_problem_query(p, r) * row;
        *request = i;
        if (memcmp((const uint8_t *)a->data +
                       (size_t)p->query_start_loc[r] * row,
                   (const uint8_t *)b->data + at, n) != 0)
            return 0;
        at += n;
    }
    return 1;
}

static int
same_slot(const attn_derivation *d, const attn_call_tensor *a,
          const attn_call_tensor *b, int32_t slot)
{
    const size_t row = row_bytes(a);
    if (slot < 0)
        return 1;
    const size_t to = d->place ? d->place[slot] : (size_t)slot;
    return !memcmp((const uint8_t *)a->data + (size_t)slot * row,
                   (const uint8_t *)b->data + to * row, row);
}

static int
same_states(const attn_problem *p, const attn_derivation *d,
            const attn_call_tensor *a, const attn_call_tensor *b,
            uint32_t *request)
{
    for (uint32_t i = 0; i < d->count; i++) {
        const size_t r = d->order[i];
        *request = i;
        for (uint32_t k = 0; k < p->cols; k++)
            if (!same_slot(d, a, b, p->block_table[r * p->cols + k]))
                return 0;
        for (uint32_t k = 0; k < p->max_checkpoints; k++)
            if (!same_slot(d, a, b, p->checkpoints[r * p->max_checkpoints + k]))
                return 0;
    }
    return 1;
}

int
attn_call_same(const attn_problem *p, const attn_derivation *d,
               const attn_call *original, const attn_call *derived,
               uint32_t *request, const char **what)
{
    static const char *const NAMES[] = {"out", "lse", "ssm_state",
                                        "conv_state"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const attn_call_tensor *a = attn_call_find(original, NAMES[i]);
        const attn_call_tensor *b = attn_call_find(derived, NAMES[i]);
        *what = NAMES[i];
        if (a && b &&
            !(i < 2 ? same_tokens(p, d, a, b, request)
                    : same_states(p, d, a, b, request)))
            return 0;
    }
    return 1;
}
