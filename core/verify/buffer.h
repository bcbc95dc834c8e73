/* SPDX-License-Identifier: Apache-2.0 */
/* verify/buffer.h - tensors and workspaces where the backend runs: guarded
 * host memory, or device memory with margins. */
#ifndef ATTN_VERIFY_BUFFER_H
#define ATTN_VERIFY_BUFFER_H

#include <attn/call.h>
#include <attn/device.h>

#include "verify/guard.h"

/* Where the buffers of a trial live. service NULL: the host. */
typedef struct attn_place {
    const attn_device_service *service;
    attn_device device;
    attn_stream stream;
} attn_place;

#define ATTN_BUFFER_IN 0u    /* unchanged afterwards */
#define ATTN_BUFFER_INOUT 1u /* written in place */
#define ATTN_BUFFER_OUT 2u   /* NaN before */

typedef struct attn_buffer {
    char name[48];
    uint32_t role;
    attn_tensor tensor; /* shape and strides point to the arrays below */
    int64_t shape[ATTN_CALL_MAX_DIMS], strides[ATTN_CALL_MAX_DIMS];
    size_t bytes;     /* of the memory, gaps of the strides included */
    attn_guard *host; /* on the host */
    uint8_t *memory;  /* on a device: with margins */
    uint32_t kind;    /* ATTN_MEM_* of `memory` */
    uint64_t sum;     /* of the content at the last upload */
} attn_buffer;

/* [any] pad: elements left free behind each entry of the first dimension. */
attn_status attn_buffer_create(const attn_place *place, const char *name,
                               uint32_t role, attn_dtype dtype, uint32_t ndim,
                               const int64_t *shape, int64_t pad,
                               attn_buffer **buffer, attn_error *err);

/* [any] Before any content: of [blocks, positions, heads, dim] each block lies
 * head by head. Others stay. */
void attn_buffer_turn(attn_buffer *buffer);
int attn_buffer_is_turned(const attn_buffer *buffer);

/* [any] Plain bytes, for workspaces. kind: ATTN_MEM_*, or host memory. */
#define ATTN_MEM_HOST 2u
attn_status attn_buffer_bytes(const attn_place *place, const char *name,
                              uint32_t kind, size_t bytes, size_t align,
                              attn_buffer **buffer, attn_error *err);
void attn_buffer_destroy(const attn_place *place, attn_buffer *buffer);

/* [any] Address that the backend sees. */
void *attn_buffer_data(const attn_buffer *buffer);

/* [any] Dense content in, everything else NaN; host inputs become read-only.
 * The source may have fewer entries in its first two dimensions: the rest is
 * filled with `rest` bytes. */
attn_status attn_buffer_upload(const attn_place *place, attn_buffer *buffer,
                               const attn_call_tensor *from, uint8_t rest,
                               attn_error *err);
/* [any] All 0xFF. */
attn_status attn_buffer_poison(const attn_place *place, attn_buffer *buffer,
                               attn_error *err);
/* [any] Dense content out; the stream must be idle. */
attn_status attn_buffer_download(const attn_place *place,
                                 const attn_buffer *buffer, void *to,
                                 attn_error *err);

/* [any] Margins whole, gaps whole, inputs unchanged. ATTN_E_INTERNAL. */
attn_status attn_buffer_check(const attn_place *place,
                              const attn_buffer *buffer, attn_error *err);

#endif
