/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/base.h>
#include <attn/session.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/size.h"
#include "runtime/block.h"

#define MAX_BLOCK_SIZE (1u << 20)

/* A cache of the forward block, contiguous. */
static void
describe(const attn_arg *arg, attn_cache_spec *spec)
{
    static const char suffix[] = "_cache";
    size_t n = strlen(arg->name);
    size_t cut = sizeof suffix - 1;
    if (n > cut && strcmp(arg->name + n - cut, suffix) == 0)
        n -= cut;
    snprintf(spec->name, sizeof spec->name, "%.*s", (int)n, arg->name);
    spec->dtype = arg->dtype;
    spec->ndim = arg->ndim - 1;
    int64_t elements = 1;
    for (uint32_t i = spec->ndim; i-- > 0;) {
        spec->shape[i] = arg->shape[i + 1];
        spec->strides[i] = elements;
        elements *= arg->shape[i + 1];
    }
    spec->bytes_per_block = (uint64_t)elements * attn_dtype_bytes(arg->dtype);
    spec->alignment = 64;
}

static void
default_spec(const attn_layer *layer, attn_kv_spec *spec)
{
    attn_blocks blocks;
    attn_blocks_resolve(layer, &blocks);
    const attn_block *f = &blocks.forward;
    for (uint32_t i = 0; i < f->num_args; i++)
        if ((f->args[i].flags & ATTN_ARG_SLOTS) && spec->num_caches < 4)
            describe(&f->args[i], &spec->caches[spec->num_caches++]);
    if (strcmp(layer->family, ATTN_FAMILY_FLASH) == 0)
        spec->preferred_block_size =
            ((const attn_flash_layer *)layer)->block_size;
    else if (strcmp(layer->family, ATTN_FAMILY_MLA) == 0)
        spec->preferred_block_size =
            ((const attn_mla_layer *)layer)->block_size;
    if (spec->preferred_block_size)
        spec->block_sizes = (attn_range){1, MAX_BLOCK_SIZE, 1};
}

static attn_status
check_spec(const attn_entry *entry, const attn_kv_spec *spec, attn_error *err)
{
    if (spec->num_caches > 4)
        return attn_error_set(err, ATTN_E_REFUSED, "kv_spec.num_caches",
                              "%s: num_caches %u: at most 4", entry->name,
                              spec->num_caches);
    for (uint32_t i = 0; i < spec->num_caches; i++)
        if (spec->caches[i].ndim > 4 ||
            !memchr(spec->caches[i].name, 0, sizeof spec->caches[i].name))
            return attn_error_set(err, ATTN_E_REFUSED, "kv_spec.caches",
                                  "%s: cache %u: bad name or ndim %u",
                                  entry->name, i, spec->caches[i].ndim);
    return ATTN_OK;
}

attn_status
attn_kv_spec_get(const attn_entry *entry, const attn_layer *layer,
                 attn_kv_spec *spec, attn_error *err)
{
    attn_kv_spec found = {.struct_size = sizeof found};
    if (spec->struct_size < ATTN_KV_SPEC_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "spec.struct_size",
                              "struct_size %u: at least %u", spec->struct_size,
                              ATTN_KV_SPEC_SIZE_1_0);
    if (!entry->backend)
        return attn_error_set(err, ATTN_E_ARG, "entry", "%s is %s: %s",
                              entry->name, attn_state_str(entry->state),
                              entry->reason);
    const attn_backend *b = entry->backend;
    if (ATTN_HAS(b->op, attn_op, kv_spec)) {
        attn_status s = b->op->kv_spec(b, layer, &found);
        if (s != ATTN_OK)
            return attn_error_set(err, s, "kv_spec",
                                  "%s does not say how it lays out this layer: "
                                  "%s",
                                  entry->name, attn_status_str(s));
    } else {
        default_spec(layer, &found);
    }
    attn_status s = check_spec(entry, &found, err);
    if (s == ATTN_OK)
        attn_give(spec, spec->struct_size, &found, sizeof found);
    return s;
}
