/* SPDX-License-Identifier: Apache-2.0 */
/* runtime/group.h - what a group of layers holds. */
#ifndef ATTN_RUNTIME_GROUP_H
#define ATTN_RUNTIME_GROUP_H

#include <attn/session.h>

#include "runtime/block.h"
#include "runtime/memory.h"
#include "runtime/record.h"
#include "runtime/slice.h"

struct attn_session {
    attn_registry *registry;
    attn_group *groups;      /* a list */
    attn_recorder *recorder; /* NULL unless ATTN_DUMP_DIR is set */
};

/* One builder and the part of a step it takes. */
typedef struct attn_part {
    const attn_entry *entry;
    attn_builder *builder;
    attn_memory memory;
    uint32_t lost; /* answered ATTN_E_DEVICE: may only be destroyed */
    uint32_t first_token, num_tokens; /* of the built step */
    attn_slice slice;                 /* its metadata, with two parts */
} attn_part;

struct attn_group_layer {
    attn_group *group;
    attn_group_layer *next;
    attn_prepared *prepared[2];
    attn_memory memory[2];
    attn_call *constants; /* kept for recording, or NULL */
};

/* With two parts, part 0 takes decodes and part 1 prefills: the order in
 * which a decode-first batch holds them. */
struct attn_group {
    attn_session *session;
    attn_group *next;
    attn_any_layer known; /* the layer of a known family */
    attn_layer *layer;    /* &known.head or a copy of a vendor's */
    char *family;         /* owned text of a vendor's family id */
    attn_limits limits;
    attn_place place;
    attn_stream setup; /* for layer_prepare; handle 0 on the CPU */
    attn_blocks blocks;
    uint32_t num_parts;
    uint32_t built; /* 1: a step is built */
    attn_part parts[2];
    attn_extent extent;      /* of the built step */
    const attn_batch *batch; /* of the built step, the caller's */
    const attn_kv_group *kv;
    attn_group_layer *layers; /* a list */
};

/* [any] The stream of a CPU backend. */
extern const attn_stream attn_cpu_stream;

/* [any] Before a plugin fills err; after it, completes what it left open and
 * returns a status this library knows. `what`: "flash.cpu: build". */
void attn_plugin_error_open(attn_error *err);
attn_status attn_plugin_error_close(attn_status status, const attn_part *part,
                                    const char *what, attn_error *err);

#endif /* ATTN_RUNTIME_GROUP_H */
