/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define MARGIN 512u /* bytes on each side of device memory */
#define PATTERN 0xA5

static size_t
element(const attn_buffer *b)
{
    return b->tensor.dtype.bits / 8u;
}

static uint64_t
checksum(const uint8_t *p, size_t n)
{
    uint64_t h = 0x9E3779B97F4A7C15ull ^ n, w = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        h = (h ^ w) * 0xBF58476D1CE4E5B9ull;
        h ^= h >> 29;
    }
    for (; i < n; i++)
        h = (h ^ p[i]) * 0x100000001B3ull;
    return h;
}

void *
attn_buffer_data(const attn_buffer *buffer)
{
    return buffer->host     ? (void *)buffer->host->data
           : buffer->memory ? (void *)(buffer->memory + MARGIN)
                            : NULL;
}

static attn_status
device_alloc(const attn_place *p, attn_buffer *b, attn_error *err)
{
    void *memory = NULL;
    attn_status s = p->service->alloc(p->device, b->kind, b->bytes + 2 * MARGIN,
                                      &memory, err);
    if (s)
        return s;
    b->memory = memory;
    s = p->service->fill(&p->stream, memory, PATTERN, b->bytes + 2 * MARGIN,
                         err);
    if (!s)
        s = p->service->fill(&p->stream, b->memory + MARGIN, 0xFF, b->bytes,
                             err);
    return s;
}

static attn_status
allocate(const attn_place *place, attn_buffer *b, uint32_t kind, size_t align,
         attn_error *err)
{
    b->kind = kind;
    return kind == ATTN_MEM_HOST || !place->service
               ? attn_guard_create(b->name, b->bytes, align, &b->host, err)
               : device_alloc(place, b, err);
}

attn_status
attn_buffer_create(const attn_place *place, const char *name, uint32_t role,
                   attn_dtype dtype, uint32_t ndim, const int64_t *shape,
                   int64_t pad, attn_buffer **buffer, attn_error *err)
{
    attn_buffer *b = calloc(1, sizeof *b);
    if (!b)
        return attn_error_nomem(err, name, sizeof *b);
    int64_t n = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        b->shape[i] = shape[i];
        b->strides[i] = n + (i == 0 && ndim > 1 ? pad : 0);
        n = shape[i] * b->strides[i];
    }
    snprintf(b->name, sizeof b->name, "%s", name);
    b->role = role;
    b->bytes = (size_t)n * dtype.bits / 8u;
    b->tensor = (attn_tensor){.device = place->device,
                              .ndim = (int32_t)ndim,
                              .dtype = dtype,
                              .shape = b->shape,
                              .strides = b->strides};
    attn_status s = allocate(place, b, ATTN_MEM_DEVICE, dtype.bits / 8u, err);
    if (s) {
        attn_buffer_destroy(place, b);
        return s;
    }
    b->tensor.data = attn_buffer_data(b);
    *buffer = b;
    return ATTN_OK;
}

void
attn_buffer_turn(attn_buffer *b)
{
    if (b->tensor.ndim != 4)
        return;
    b->strides[1] = b->shape[3];
    b->strides[2] = b->shape[1] * b->shape[3];
}

int
attn_buffer_is_turned(const attn_buffer *b)
{
    return b->tensor.ndim == 4 && b->strides[2] > b->strides[1];
}

attn_status
attn_buffer_bytes(const attn_place *place, const char *name, uint32_t kind,
                  size_t bytes, size_t align, attn_buffer **buffer,
                  attn_error *err)
{
    attn_buffer *b = calloc(1, sizeof *b);
    if (!b)
        return attn_error_nomem(err, name, sizeof *b);
    snprintf(b->name, sizeof b->name, "%s", name);
    b->role = ATTN_BUFFER_INOUT;
    b->bytes = bytes;
    attn_status s = allocate(place, b, kind, align, err);
    if (s)
        attn_buffer_destroy(place, b);
    else
        *buffer = b;
    return s;
}

void
attn_buffer_destroy(const attn_place *place, attn_buffer *buffer)
{
    if (!buffer)
        return;
    attn_guard_destroy(buffer->host);
    if (buffer->memory)
        place->service->free(place->device, buffer->kind, buffer->memory);
    free(buffer);
}

/* Blocks of dense positions to blocks that lie head by head, or back. */
static void
turn(const attn_buffer *b, int64_t blocks, uint8_t *turned, uint8_t *dense,
     int back)
{
    const size_t row = (size_t)b->shape[3] * element(b);
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t p = 0; p < b->shape[1]; p++)
            for (int64_t h = 0; h < b->shape[2]; h++) {
                uint8_t *at =
                    turned + (size_t)(i * b->strides[0] + p * b->strides[1] +
                                      h * b->strides[2]) *
                                 element(b);
                memcpy(back ? dense : at, back ? at : dense, row);
                dense += row;
            }
}

/* Dense rows of the source to strided rows, `rest` everywhere else. */
static void
spread(const attn_buffer *b, const attn_call_tensor *from, uint8_t *to)
{
    if (attn_buffer_is_turned(b)) {
        turn(b, from->shape[0], to, from->data, 0);
        return;
    }
    const size_t e = element(b);
    const int64_t outer = b->tensor.ndim ? from->shape[0] : 1;
    const int64_t second = b->tensor.ndim > 1 ? from->shape[1] : 1;
    size_t inner = e;
    for (int32_t i = 2; i < b->tensor.ndim; i++)
        inner *= (size_t)b->shape[i];
    const size_t step = b->tensor.ndim > 1 ? (size_t)b->strides[0] * e : inner;
    for (int64_t i = 0; i < outer; i++)
        memcpy(to + (size_t)i * step,
               (const uint8_t *)from->data + (size_t)i * (size_t)second * inner,
               (size_t)second * inner);
}

static attn_status
copy_in(const attn_place *place, attn_buffer *b, const uint8_t *content,
        attn_error *err)
{
    b->sum = checksum(content, b->bytes);
    attn_status s =
        b->bytes
            ? place->service->copy(&place->stream, ATTN_COPY_TO_DEVICE,
                                   b->memory + MARGIN, content, b->bytes, err)
            : ATTN_OK;
    return s ? s : place->service->stream_synchronize(&place->stream, err);
}

static int
fits(const attn_buffer *b, const attn_call_tensor *from)
{
    if (from->ndim != (uint32_t)b->tensor.ndim ||
        from->dtype.bits != b->tensor.dtype.bits)
        return 0;
    for (uint32_t i = 0; i < from->ndim; i++)
        if (from->shape[i] > b->shape[i] ||
            ((i > 1 || attn_buffer_is_turned(b)) && i > 0 &&
             from->shape[i] != b->shape[i]))
            return 0;
    return 1;
}

attn_status
attn_buffer_upload(const attn_place *place, attn_buffer *buffer,
                   const attn_call_tensor *from, uint8_t rest, attn_error *err)
{
    if (!fits(buffer, from))
        return attn_error_set(err, ATTN_E_ARG, buffer->name,
                              "'%s' does not fit what was allocated",
                              buffer->name);
    uint8_t *to = buffer->host ? buffer->host->data : malloc(buffer->bytes + 1);
    if (!to)
        return attn_error_nomem(err, buffer->name, buffer->bytes);
    attn_guard_protect(buffer->host, ATTN_GUARD_WRITE);
    memset(to, rest, buffer->bytes);
    spread(buffer, from, to);
    if (buffer->host) {
        buffer->sum = checksum(to, buffer->bytes);
        attn_guard_protect(buffer->host, buffer->role == ATTN_BUFFER_IN
                                             ? ATTN_GUARD_READ
                                             : ATTN_GUARD_WRITE);
        return ATTN_OK;
    }
    attn_status s = copy_in(place, buffer, to, err);
    free(to);
    return s;
}

attn_status
attn_buffer_poison(const attn_place *place, attn_buffer *buffer,
                   attn_error *err)
{
    if (!buffer->host)
        return place->service->fill(&place->stream, buffer->memory + MARGIN,
                                    0xFF, buffer->bytes, err);
    attn_guard_protect(buffer->host, ATTN_GUARD_WRITE);
    memset(buffer->host->data, 0xFF, buffer->bytes);
    return ATTN_OK;
}

/* All bytes, margins too; the caller frees. NULL on the host. */
static attn_status
fetch(const attn_place *place, const attn_buffer *b, uint8_t **copy,
      attn_error *err)
{
    *copy = malloc(b->bytes + 2 * MARGIN);
    if (!*copy)
        return attn_error_nomem(err, b->name, b->bytes);
    attn_status s =
        place->service->copy(&place->stream, ATTN_COPY_TO_HOST, *copy,
                             b->memory, b->bytes + 2 * MARGIN, err);
    if (!s)
        s = place->service->stream_synchronize(&place->stream, err);
    if (s) {
        free(*copy);
        *copy = NULL;
    }
    return s;
}

static void
gather(const attn_buffer *b, uint8_t *from, uint8_t *to)
{
    if (attn_buffer_is_turned(b)) {
        turn(b, b->shape[0], from, to, 1);
        return;
    }
    const size_t e = element(b);
    size_t row = e;
    for (int32_t i = 1; i < b->tensor.ndim; i++)
        row *= (size_t)b->shape[i];
    for (int64_t i = 0; i < b->shape[0]; i++)
        memcpy(to + (size_t)i * row, from + (size_t)(i * b->strides[0]) * e,
               row);
}

attn_status
attn_buffer_download(const attn_place *place, const attn_buffer *buffer,
                     void *to, attn_error *err)
{
    uint8_t *copy = NULL;
    if (buffer->host) {
        gather(buffer, buffer->host->data, to);
        return ATTN_OK;
    }
    attn_status s = fetch(place, buffer, &copy, err);
    if (!s)
        gather(buffer, copy + MARGIN, to);
    free(copy);
    return s;
}

/* What a pad leaves between rows must still be 0xFF in outputs. */
static attn_status
check_gaps(const attn_buffer *b, const uint8_t *data, attn_error *err)
{
    const size_t e = element(b), step = (size_t)b->strides[0] * e;
    size_t row = e;
    for (int32_t i = 1; i < b->tensor.ndim; i++)
        row *= (size_t)b->shape[i];
    if (b->tensor.ndim < 2 || row == step)
        return ATTN_OK;
    for (size_t i = 0; i < (size_t)b->shape[0]; i++)
        for (size_t k = row; k < step; k++)
            if (data[i * step + k] != 0xFF)
                return attn_error_set(err, ATTN_E_INTERNAL, b->name,
                                      "wrote between rows %zu and %zu of '%s'",
                                      i, i + 1, b->name);
    return ATTN_OK;
}

static attn_status
check_margins(const attn_buffer *b, const uint8_t *all, attn_error *err)
{
    for (size_t i = 0; i < MARGIN; i++) {
        if (all[i] != PATTERN)
            return attn_error_set(err, ATTN_E_INTERNAL, b->name,
                                  "wrote %zu bytes before '%s'", MARGIN - i,
                                  b->name);
        if (all[MARGIN + b->bytes + i] != PATTERN)
            return attn_error_set(err, ATTN_E_INTERNAL, b->name,
                                  "wrote %zu bytes past '%s'", i, b->name);
    }
    return ATTN_OK;
}

attn_status
attn_buffer_check(const attn_place *place, const attn_buffer *buffer,
                  attn_error *err)
{
    uint8_t *copy = NULL;
    const uint8_t *data;
    attn_status s;
    if (buffer->host && buffer->host->access == ATTN_GUARD_NONE)
        return ATTN_OK;
    if (buffer->host) {
        s = attn_guard_check(buffer->host, err);
        data = buffer->host->data;
    } else {
        s = fetch(place, buffer, &copy, err);
        if (!s)
            s = check_margins(buffer, copy, err);
        data = copy ? copy + MARGIN : NULL;
    }
    if (!s && buffer->tensor.ndim)
        s = check_gaps(buffer, data, err);
    if (!s && buffer->role == ATTN_BUFFER_IN &&
        checksum(data, buffer->bytes) != buffer->sum)
        s = attn_error_set(err, ATTN_E_INTERNAL, buffer->name,
                           "changed the input '%s'", buffer->name);
    free(copy);
    return s;
}
