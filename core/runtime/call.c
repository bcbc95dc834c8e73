/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/call.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSOR_ALIGN 64

struct attn_call {
    attn_layer *layer;
    char *family;
    attn_call_tensor **tensors;
    size_t count, capacity;
};

attn_status
attn_call_create(const attn_layer *layer, attn_call **call, attn_error *err)
{
    if (!layer || !layer->family || layer->struct_size < sizeof *layer)
        return attn_fail(err, ATTN_E_ARG, "layer", "missing or too small");
    attn_call *c = calloc(1, sizeof *c);
    if (c) {
        c->layer = malloc(layer->struct_size);
        c->family = strdup(layer->family);
    }
    if (!c || !c->layer || !c->family) {
        attn_call_free(c);
        return attn_fail(err, ATTN_E_NOMEM, "call", "out of memory");
    }
    memcpy(c->layer, layer, layer->struct_size);
    c->layer->family = c->family;
    *call = c;
    return ATTN_OK;
}

static void
tensor_free(attn_call_tensor *t)
{
    if (!t)
        return;
    free(t->data);
    free((void *)(uintptr_t)t->name);
    free(t);
}

void
attn_call_free(attn_call *call)
{
    if (!call)
        return;
    for (size_t i = 0; i < call->count; i++)
        tensor_free(call->tensors[i]);
    free(call->tensors);
    free(call->family);
    free(call->layer);
    free(call);
}

const attn_layer *
attn_call_layer(const attn_call *call)
{
    return call->layer;
}

size_t
attn_call_count(const attn_call *call)
{
    return call->count;
}

const attn_call_tensor *
attn_call_at(const attn_call *call, size_t index)
{
    return index < call->count ? call->tensors[index] : NULL;
}

const attn_call_tensor *
attn_call_find(const attn_call *call, const char *name)
{
    for (size_t i = 0; i < call->count; i++)
        if (!strcmp(call->tensors[i]->name, name))
            return call->tensors[i];
    return NULL;
}

/* Fills shape, strides and bytes; false when the size overflows. */
static int
tensor_shape(attn_call_tensor *t, attn_dtype dtype, uint32_t ndim,
             const int64_t *shape)
{
    uint64_t n = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        t->shape[i] = shape[i];
        t->strides[i] = (int64_t)n;
        if (shape[i] < 0 || __builtin_mul_overflow(n, (uint64_t)shape[i], &n) ||
            n > INT64_MAX / 8)
            return 0;
    }
    t->dtype = dtype;
    t->ndim = ndim;
    t->bytes = n * (uint64_t)dtype.bits / 8;
    return 1;
}

static attn_status
tensor_create(const char *name, attn_dtype dtype, uint32_t ndim,
              const int64_t *shape, const void *data, attn_call_tensor **out,
              attn_error *err)
{
    attn_call_tensor *t = calloc(1, sizeof *t);
    if (!t)
        return attn_fail(err, ATTN_E_NOMEM, name, "out of memory");
    if (!tensor_shape(t, dtype, ndim, shape)) {
        tensor_free(t);
        return attn_fail(err, ATTN_E_ARG, name, "shape is negative or too big");
    }
    const uint64_t room = (t->bytes / TENSOR_ALIGN + 1) * TENSOR_ALIGN;
    t->name = strdup(name);
    t->data = aligned_alloc(TENSOR_ALIGN, room);
    if (!t->name || !t->data) {
        char text[80];
        snprintf(text, sizeof text, "out of memory for %llu bytes",
                 (unsigned long long)room);
        tensor_free(t);
        return attn_fail(err, ATTN_E_NOMEM, name, text);
    }
    if (data)
        memcpy(t->data, data, t->bytes);
    else
        memset(t->data, 0, t->bytes);
    *out = t;
    return ATTN_OK;
}

static int
call_grow(attn_call *call)
{
    if (call->count < call->capacity)
        return 1;
    const size_t n = call->capacity ? 2 * call->capacity : 16;
    attn_call_tensor **p = realloc(call->tensors, n * sizeof(*p));
    if (!p)
        return 0;
    call->tensors = p;
    call->capacity = n;
    return 1;
}

attn_status
attn_call_add(attn_call *call, const char *name, attn_dtype dtype,
              uint32_t ndim, const int64_t *shape, const void *data,
              attn_call_tensor **tensor, attn_error *err)
{
    if (!name || !*name)
        return attn_fail(err, ATTN_E_ARG, "name", "empty tensor name");
    if (ndim > ATTN_CALL_MAX_DIMS || dtype.lanes != 1 || dtype.bits % 8)
        return attn_fail(err, ATTN_E_ARG, name, "bad dtype or dimensions");
    if (attn_call_find(call, name))
        return attn_fail(err, ATTN_E_ARG, name, "added twice");
    attn_call_tensor *t = NULL;
    attn_status s = tensor_create(name, dtype, ndim, shape, data, &t, err);
    if (s)
        return s;
    if (!call_grow(call)) {
        tensor_free(t);
        return attn_fail(err, ATTN_E_NOMEM, name, "out of memory");
    }
    call->tensors[call->count++] = t;
    if (tensor)
        *tensor = t;
    return ATTN_OK;
}
