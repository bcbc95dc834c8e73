/* SPDX-License-Identifier: Apache-2.0 */
/* mock_device.h - a device service of a machine that has no such device. */
#ifndef MOCK_DEVICE_H
#define MOCK_DEVICE_H

#include <attn/plugin.h>

#pragma GCC diagnostic ignored "-Wunused-parameter"
#define ABSENT(name, ...)                                   \
    static attn_status name(__VA_ARGS__, attn_error *err)   \
    {                                                       \
        return attn_fail(err, ATTN_E_NO_DEVICE, "device",   \
                         "no mock device in this machine"); \
    }
#define NOTHING(name, ...)        \
    static void name(__VA_ARGS__) \
    {                             \
    }

ABSENT(none_count, uint32_t *count)
ABSENT(none_info, uint32_t index, attn_device_info *info)
ABSENT(none_memory, attn_device d, uint64_t *free_bytes, uint64_t *total)
ABSENT(none_alloc, attn_device d, uint32_t kind, uint64_t bytes, void **memory)
NOTHING(none_free, attn_device d, uint32_t kind, void *memory)
ABSENT(none_copy, const attn_stream *s, uint32_t direction, void *dst,
       const void *src, uint64_t bytes)
ABSENT(none_fill, const attn_stream *s, void *dst, uint8_t v, uint64_t bytes)
ABSENT(none_stream, attn_device d, attn_stream *s)
ABSENT(none_synchronize, const attn_stream *s)
NOTHING(none_stream_destroy, const attn_stream *s)
ABSENT(none_event, attn_device d, uint64_t *event)
ABSENT(none_record, uint64_t event, const attn_stream *s)
ABSENT(none_wait, const attn_stream *s, uint64_t event)
ABSENT(none_elapsed, uint64_t from, uint64_t to, double *milliseconds)
NOTHING(none_handle_destroy, uint64_t handle)
ABSENT(none_begin, attn_stream *s)
ABSENT(none_end, attn_stream *s, uint64_t *graph)
ABSENT(none_launch, uint64_t graph, const attn_stream *s)

static const attn_device_service mock_service = {
    .struct_size = sizeof mock_service,
    .count = none_count,
    .info = none_info,
    .memory_info = none_memory,
    .alloc = none_alloc,
    .free = none_free,
    .copy = none_copy,
    .fill = none_fill,
    .stream_create = none_stream,
    .stream_synchronize = none_synchronize,
    .stream_destroy = none_stream_destroy,
    .event_create = none_event,
    .event_record = none_record,
    .event_wait = none_wait,
    .event_elapsed = none_elapsed,
    .event_destroy = none_handle_destroy,
    .graph_begin = none_begin,
    .graph_end = none_end,
    .graph_launch = none_launch,
    .graph_destroy = none_handle_destroy,
};

#endif /* MOCK_DEVICE_H */
