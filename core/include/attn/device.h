/* SPDX-License-Identifier: 0BSD */
/* attn/device.h - part of plugin.h: the device service of a GPU plugin.
 *
 * Thread classes: see attn/plugin.h. */
#ifndef ATTN_DEVICE_H
#define ATTN_DEVICE_H

#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------------- devices */

#define ATTN_MEM_DEVICE 0u
#define ATTN_MEM_PINNED 1u /* host memory that copies asynchronously */
#define ATTN_COPY_TO_DEVICE 0u
#define ATTN_COPY_TO_HOST 1u
#define ATTN_COPY_ON_DEVICE 2u

typedef struct attn_device_info {
    uint32_t struct_size;
    attn_device device;
    uint32_t reserved;
    char name[64]; /* "NVIDIA H200", "emu:sm_90a" */
    char arch[32]; /* "sm_90" */
    uint64_t total_bytes;
} attn_device_info;

/* The device service, get_extension("attn.device/1"), from every plugin whose
 * device is not the CPU: the host drives devices through it and needs no
 * CUDA or HIP. Handles are opaque numbers. All functions leave the calling
 * thread's current device as they found it. [any] unless said. */
#define ATTN_DEVICE_SERVICE "attn.device/1"
typedef struct attn_device_service {
    uint32_t struct_size;
    uint32_t reserved;
    /* ATTN_E_NO_DEVICE and count 0 where driver or device are absent. */
    attn_status (*count)(uint32_t *count, attn_error *err);
    attn_status (*info)(uint32_t index, attn_device_info *info,
                        attn_error *err);
    attn_status (*memory_info)(attn_device device, uint64_t *free_bytes,
                               uint64_t *total_bytes, attn_error *err);
    attn_status (*alloc)(attn_device device, uint32_t kind, uint64_t bytes,
                         void **memory, attn_error *err);
    void (*free)(attn_device device, uint32_t kind, void *memory);
    attn_status (*copy)(const attn_stream *stream, uint32_t direction,
                        void *dst, const void *src, uint64_t bytes,
                        attn_error *err); /* [hot] ordered on stream */
    attn_status (*fill)(const attn_stream *stream, void *dst, uint8_t value,
                        uint64_t bytes, attn_error *err); /* [hot] */
    attn_status (*stream_create)(attn_device device, attn_stream *stream,
                                 attn_error *err);
    attn_status (*stream_synchronize)(const attn_stream *stream,
                                      attn_error *err);
    void (*stream_destroy)(const attn_stream *stream);
    attn_status (*event_create)(attn_device device, uint64_t *event,
                                attn_error *err);
    attn_status (*event_record)(uint64_t event, const attn_stream *stream,
                                attn_error *err); /* [hot] */
    attn_status (*event_wait)(const attn_stream *stream, uint64_t event,
                              attn_error *err); /* [hot] */
    attn_status (*event_elapsed)(uint64_t from, uint64_t to,
                                 double *milliseconds, attn_error *err);
    void (*event_destroy)(uint64_t event);
    /* Sets stream->capturing; begin and end pair on one thread. */
    attn_status (*graph_begin)(attn_stream *stream, attn_error *err);
    attn_status (*graph_end)(attn_stream *stream, uint64_t *graph,
                             attn_error *err);
    attn_status (*graph_launch)(uint64_t graph, const attn_stream *stream,
                                attn_error *err); /* [hot] */
    void (*graph_destroy)(uint64_t graph);
} attn_device_service;

#ifdef __cplusplus
}
#endif

#endif /* ATTN_DEVICE_H */
