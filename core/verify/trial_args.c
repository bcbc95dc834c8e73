/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/trial.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define HEAD(type)      \
    {                   \
        sizeof(type), 0 \
    }

static attn_tensor *
tensor(const attn_trial *t, const char *name)
{
    attn_buffer *b = attn_trial_find(t, name);
    return b ? &b->tensor : NULL;
}

attn_status
attn_trial_update(attn_trial *t, attn_error *err)
{
    if (!t->has_new)
        return ATTN_OK;
    if (!t->op->update_cache)
        return attn_error_set(err, ATTN_E_INTERNAL, "op.update_cache",
                              "the backend has no update_cache");
    if (t->kind == ATTN_KIND_FLASH) {
        const attn_flash_update a = {
            HEAD(attn_flash_update), t->place.stream,      tensor(t, "k"),
            tensor(t, "v"),          tensor(t, "k_cache"), tensor(t, "v_cache"),
            tensor(t, "k_scale"),    tensor(t, "v_scale")};
        return t->op->update_cache(t->builder, &a.head, err);
    }
    const attn_mla_update a = {HEAD(attn_mla_update), t->place.stream,
                               tensor(t, "latent"),   tensor(t, "k_pe"),
                               tensor(t, "kv_cache"), tensor(t, "kv_scale")};
    return t->op->update_cache(t->builder, &a.head, err);
}

static attn_status
forward_flash(attn_trial *t, attn_error *err)
{
    const attn_flash_forward a = {
        HEAD(attn_flash_forward), t->place.stream,      t->prepared,
        tensor(t, "q"),           tensor(t, "k_cache"), tensor(t, "v_cache"),
        tensor(t, "k_scale"),     tensor(t, "v_scale"), tensor(t, "out"),
        tensor(t, "lse")};
    return t->op->forward(t->builder, &a.head, err);
}

static attn_status
forward_mla(attn_trial *t, attn_error *err)
{
    const attn_mla_forward a = {
        HEAD(attn_mla_forward), t->place.stream,   t->prepared,
        tensor(t, "q_nope"),    tensor(t, "q_pe"), tensor(t, "kv_cache"),
        tensor(t, "kv_scale"),  tensor(t, "out"),  tensor(t, "lse")};
    return t->op->forward(t->builder, &a.head, err);
}

static attn_status
forward_mamba2(attn_trial *t, attn_error *err)
{
    const attn_mamba2_forward a = {
        HEAD(attn_mamba2_forward), t->place.stream,        t->prepared,
        tensor(t, "xbc"),          tensor(t, "dt"),        tensor(t, "z"),
        tensor(t, "conv_state"),   tensor(t, "ssm_state"), tensor(t, "out")};
    return t->op->forward(t->builder, &a.head, err);
}

static attn_status
forward_mamba1(attn_trial *t, attn_error *err)
{
    const attn_mamba1_forward a = {HEAD(attn_mamba1_forward),
                                   t->place.stream,
                                   t->prepared,
                                   tensor(t, "x"),
                                   tensor(t, "dt"),
                                   tensor(t, "b"),
                                   tensor(t, "c"),
                                   tensor(t, "z"),
                                   tensor(t, "conv_state"),
                                   tensor(t, "ssm_state"),
                                   tensor(t, "out")};
    return t->op->forward(t->builder, &a.head, err);
}

attn_status
attn_trial_forward(attn_trial *t, attn_error *err)
{
    switch (t->kind) {
    case ATTN_KIND_FLASH:
        return forward_flash(t, err);
    case ATTN_KIND_MLA:
        return forward_mla(t, err);
    case ATTN_KIND_MAMBA2:
        return forward_mamba2(t, err);
    default:
        return forward_mamba1(t, err);
    }
}

typedef union constants {
    attn_head head;
    attn_flash_constants flash;
    attn_mla_constants mla;
    attn_mamba_constants mamba;
} constants;

static void
fill_constants(attn_trial *t, constants *c)
{
    memset(c, 0, sizeof *c);
    if (t->kind == ATTN_KIND_FLASH)
        c->flash = (attn_flash_constants){HEAD(attn_flash_constants),
                                          tensor(t, "sinks"),
                                          tensor(t, "alibi_slopes")};
    else if (t->kind == ATTN_KIND_MLA)
        c->mla = (attn_mla_constants){HEAD(attn_mla_constants),
                                      tensor(t, "w_uk"), tensor(t, "w_uv")};
    else
        c->mamba = (attn_mamba_constants){HEAD(attn_mamba_constants),
                                          tensor(t, "conv_weight"),
                                          tensor(t, "conv_bias"),
                                          tensor(t, "a"),
                                          tensor(t, "d"),
                                          tensor(t, "dt_bias")};
}

static attn_status
add_memory(attn_trial *t, const char *name, uint32_t kind, uint64_t bytes,
           uint64_t align, void **address, attn_error *err)
{
    if (!bytes)
        return ATTN_OK;
    attn_buffer *b = NULL;
    attn_status s =
        attn_buffer_bytes(kind == ATTN_MEM_HOST ? &t->host_place : &t->place,
                          name, kind, bytes, align, &b, err);
    if (s)
        return s;
    t->buffers[t->num_buffers++] = b;
    *address = attn_buffer_data(b);
    return ATTN_OK;
}

static attn_status
add_binding(attn_trial *t, const attn_workspace *need, const char *const *names,
            attn_binding *to, attn_error *err)
{
    *to = (attn_binding){.struct_size = sizeof *to};
    attn_status s = add_memory(t, names[0], ATTN_MEM_HOST, need->host_bytes,
                               need->host_align, &to->host, err);
    if (!s)
        s = add_memory(
            t, names[1], t->place.service ? ATTN_MEM_PINNED : ATTN_MEM_HOST,
            need->pinned_bytes, need->pinned_align, &to->pinned, err);
    if (!s)
        s = add_memory(
            t, names[2], t->place.service ? ATTN_MEM_DEVICE : ATTN_MEM_HOST,
            need->device_bytes, need->device_align, &to->device, err);
    return s;
}

/* A plugin may not keep what it was lent: constants vanish afterwards. */
static attn_status
take_constants(attn_trial *t, attn_error *err)
{
    static const char *const NAMES[] = {
        "sinks",       "alibi_slopes", "w_uk", "w_uv",
        "conv_weight", "conv_bias",    "a",    "d",
        "dt_bias"};
    attn_status s = ATTN_OK;
    for (size_t i = 0; !s && i < sizeof NAMES / sizeof *NAMES; i++) {
        attn_buffer *b = attn_trial_find(t, NAMES[i]);
        if (!b)
            continue;
        s = attn_buffer_check(&t->place, b, err);
        if (!s && b->host)
            attn_guard_protect(b->host, ATTN_GUARD_NONE);
        else if (!s) {
            s = attn_buffer_poison(&t->place, b, err);
            b->role = ATTN_BUFFER_INOUT;
        }
    }
    return s;
}

attn_status
attn_trial_prepare(attn_trial *t, const attn_call *call, attn_error *err)
{
    static const char *const WORK[] = {"host workspace", "pinned workspace",
                                       "device workspace"};
    static const char *const LAYER[] = {
        "host layer memory", "pinned layer memory", "device layer memory"};
    attn_workspace need = {.struct_size = sizeof need};
    attn_binding memory;
    constants c;
    (void)call;
    attn_status s = t->op->workspace(t->builder, &need);
    if (s)
        return attn_error_set(err, s, "op.workspace", "workspace failed");
    s = add_binding(t, &need, WORK, &memory, err);
    if (!s)
        s = t->op->bind(t->builder, &memory, err);
    need = (attn_workspace){.struct_size = sizeof need};
    if (!s && (s = t->op->layer_bytes(t->builder, &need)))
        return attn_error_set(err, s, "op.layer_bytes", "layer_bytes failed");
    if (!s)
        s = add_binding(t, &need, LAYER, &memory, err);
    fill_constants(t, &c);
    if (!s)
        s = t->op->layer_prepare(t->builder, &c.head, &memory, &t->place.stream,
                                 &t->prepared, err);
    if (!s)
        s = attn_trial_sync(t, err);
    return s ? s : take_constants(t, err);
}
