/* SPDX-License-Identifier: Apache-2.0 */
/* runtime/memory.h - memory for workspaces, and a backend's device. */
#ifndef ATTN_RUNTIME_MEMORY_H
#define ATTN_RUNTIME_MEMORY_H

#include <attn/registry.h>

#include "base/error.h"

/* The device behind an entry; service NULL: the CPU. */
typedef struct attn_place {
    attn_device device;
    const attn_device_service *service;
} attn_place;

/* [any] ATTN_E_REFUSED when the entry's plugin has no device service though
 * it does not run on the CPU. */
attn_status attn_place_of(const attn_entry *entry, attn_place *place,
                          attn_error *err);

/* Memory for one attn_workspace. */
typedef struct attn_memory {
    attn_binding binding; /* aligned */
    attn_place place;
    void *host, *pinned, *device; /* as allocated */
} attn_memory;

/* [any] Zero-initialised memory needs no free. ATTN_E_REFUSED: alignments
 * that are no power of two or above 2 MiB, or device bytes on the CPU. */
attn_status attn_memory_alloc(const attn_place *place,
                              const attn_workspace *need, attn_memory *memory,
                              attn_error *err);
void attn_memory_free(attn_memory *memory);

#endif /* ATTN_RUNTIME_MEMORY_H */
