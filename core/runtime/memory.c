/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/memory.h"

#include <inttypes.h>
#include <stdlib.h>

#define MIN_ALIGN 64u
#define MAX_ALIGN (2u * 1024 * 1024)

attn_status
attn_place_of(const attn_entry *entry, attn_place *place, attn_error *err)
{
    *place = (attn_place){{entry->device_type, entry->device_id}, NULL};
    if (entry->device_type == ATTN_DEVICE_CPU)
        return ATTN_OK;
    if (entry->plugin && entry->plugin->get_extension)
        place->service = entry->plugin->get_extension(ATTN_DEVICE_SERVICE);
    if (place->service)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_REFUSED, "plugin",
                          "%s runs on device type %d and offers no %s",
                          entry->name, entry->device_type, ATTN_DEVICE_SERVICE);
}

static attn_status
check_part(const char *part, uint64_t bytes, uint64_t align, attn_error *err)
{
    if (bytes > INT64_MAX / 2)
        return attn_error_set(err, ATTN_E_REFUSED, part,
                              "%s %" PRIu64 ": more than any memory", part,
                              bytes);
    if (bytes && (align & (align - 1) || align > MAX_ALIGN))
        return attn_error_set(err, ATTN_E_REFUSED, part,
                              "%s alignment %" PRIu64
                              ": not a power of two up to %u",
                              part, align, MAX_ALIGN);
    return ATTN_OK;
}

static void *
align_up(void *memory, uint64_t align)
{
    uintptr_t a = align ? (uintptr_t)align : 1;
    return (void *)(((uintptr_t)memory + a - 1) & ~(a - 1));
}

static attn_status
alloc_host(const char *part, uint64_t bytes, uint64_t align, void **raw,
           void **aligned, attn_error *err)
{
    if (bytes == 0)
        return ATTN_OK;
    if (align < MIN_ALIGN)
        align = MIN_ALIGN;
    *raw = aligned_alloc(align, (bytes + align - 1) / align * align);
    *aligned = *raw;
    return *raw ? ATTN_OK : attn_error_nomem(err, part, bytes);
}

static attn_status
alloc_service(const attn_place *place, uint32_t kind, uint64_t bytes,
              uint64_t align, void **raw, void **aligned, attn_error *err)
{
    if (bytes == 0)
        return ATTN_OK;
    uint64_t extra = align ? align - 1 : 0; /* services promise none */
    attn_status s =
        place->service->alloc(place->device, kind, bytes + extra, raw, err);
    if (s == ATTN_OK)
        *aligned = align_up(*raw, align);
    return s;
}

attn_status
attn_memory_alloc(const attn_place *place, const attn_workspace *need,
                  attn_memory *memory, attn_error *err)
{
    attn_memory m = {.place = *place,
                     .binding = {.struct_size = sizeof m.binding}};
    attn_binding *b = &m.binding;
    attn_status s =
        check_part("host_bytes", need->host_bytes, need->host_align, err);
    if (s == ATTN_OK)
        s = check_part("pinned_bytes", need->pinned_bytes, need->pinned_align,
                       err);
    if (s == ATTN_OK)
        s = check_part("device_bytes", need->device_bytes, need->device_align,
                       err);
    if (s == ATTN_OK && !place->service && need->device_bytes)
        s = attn_error_set(err, ATTN_E_REFUSED, "device_bytes",
                           "device_bytes %" PRIu64 " asked for on the CPU",
                           need->device_bytes);
    if (s == ATTN_OK)
        s = alloc_host("host_bytes", need->host_bytes, need->host_align,
                       &m.host, &b->host, err);
    if (s == ATTN_OK && place->service)
        s = alloc_service(place, ATTN_MEM_PINNED, need->pinned_bytes,
                          need->pinned_align, &m.pinned, &b->pinned, err);
    else if (s == ATTN_OK)
        s = alloc_host("pinned_bytes", need->pinned_bytes, need->pinned_align,
                       &m.pinned, &b->pinned, err);
    if (s == ATTN_OK && place->service)
        s = alloc_service(place, ATTN_MEM_DEVICE, need->device_bytes,
                          need->device_align, &m.device, &b->device, err);
    if (s != ATTN_OK)
        attn_memory_free(&m);
    else
        *memory = m;
    return s;
}

void
attn_memory_free(attn_memory *memory)
{
    const attn_place *p = &memory->place;
    free(memory->host);
    if (memory->pinned && p->service)
        p->service->free(p->device, ATTN_MEM_PINNED, memory->pinned);
    else
        free(memory->pinned);
    if (memory->device)
        p->service->free(p->device, ATTN_MEM_DEVICE, memory->device);
    *memory = (attn_memory){0};
}
