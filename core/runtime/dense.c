/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/dense.h"

#include <stdlib.h>
#include <string.h>

/* A tensor's rows, fetched to the host one at a time. */
struct source {
    const attn_tensor *of;
    const attn_place *place;
    const attn_stream *stream;
    uint64_t element; /* bytes */
    uint64_t span;    /* bytes from a row's first to behind its last */
    char *row;        /* host copy of a row, device tensors only */
};

static uint64_t
row_span(const attn_tensor *t, uint64_t element)
{
    int64_t last = 0;
    for (int32_t i = 1; i < t->ndim; i++)
        last += (t->shape[i] - 1) * t->strides[i];
    return ((uint64_t)last + 1) * element;
}

static attn_status
fetch_row(const struct source *s, int64_t index, const char **row,
          attn_error *err)
{
    const char *at = (const char *)s->of->data + s->of->byte_offset +
                     index * s->of->strides[0] * (int64_t)s->element;
    *row = at;
    if (!s->row)
        return ATTN_OK;
    *row = s->row;
    attn_status st = s->place->service->copy(s->stream, ATTN_COPY_TO_HOST,
                                             s->row, at, s->span, err);
    if (st == ATTN_OK)
        st = s->place->service->stream_synchronize(s->stream, err);
    return st;
}

/* Copies dimensions dim.. of one row, row-major; returns the end. */
static char *
gather(char *dst, const char *src, const attn_tensor *t, int32_t dim,
       uint64_t element)
{
    if (dim >= t->ndim) {
        memcpy(dst, src, element);
        return dst + element;
    }
    if (dim == t->ndim - 1 && t->strides[dim] == 1) {
        uint64_t bytes = (uint64_t)t->shape[dim] * element;
        memcpy(dst, src, bytes);
        return dst + bytes;
    }
    for (int64_t i = 0; i < t->shape[dim]; i++)
        dst = gather(dst, src + i * t->strides[dim] * (int64_t)element, t,
                     dim + 1, element);
    return dst;
}

static attn_status
copy_rows(struct source *s, char *dst, const int32_t *rows, int64_t count,
          attn_error *err)
{
    const char *row;
    for (int64_t i = 0; i < count; i++) {
        attn_status st = fetch_row(s, rows ? rows[i] : i, &row, err);
        if (st != ATTN_OK)
            return st;
        dst = gather(dst, row, s->of, 1, s->element);
    }
    return ATTN_OK;
}

attn_status
attn_dense_add(attn_call *call, const char *name, const attn_tensor *of,
               const int32_t *rows, int64_t count, const attn_place *place,
               const attn_stream *stream, attn_error *err)
{
    int64_t shape[ATTN_CALL_MAX_DIMS];
    attn_call_tensor *t;
    if (of->ndim < 1 || of->ndim > ATTN_CALL_MAX_DIMS)
        return attn_error_set(err, ATTN_E_ARG, name, "%s: %d dimensions", name,
                              of->ndim);
    memcpy(shape, of->shape, (size_t)of->ndim * sizeof *shape);
    if (rows)
        shape[0] = count;
    attn_status st = attn_call_add(call, name, of->dtype, (uint32_t)of->ndim,
                                   shape, NULL, &t, err);
    if (st != ATTN_OK || t->bytes == 0)
        return st;
    struct source s = {.of = of,
                       .place = place,
                       .stream = stream,
                       .element = of->dtype.bits / 8u};
    s.span = row_span(of, s.element);
    if (place->service && of->device.type == place->device.type) {
        s.row = malloc(s.span);
        if (!s.row)
            return attn_error_nomem(err, name, s.span);
    }
    st = copy_rows(&s, t->data, rows, shape[0], err);
    free(s.row);
    return st;
}
