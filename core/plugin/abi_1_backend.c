/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "plugin/abi.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789._-"
#define FIELD_CHARS "abcdefghijklmnopqrstuvwxyz0123456789_"
#define FIRST_FREE_FEATURE 14u /* above ATTN_F_CHECKPOINTS */
#define FIRST_VENDOR_FEATURE 48u
#define KNOWN_PROPERTIES (ATTN_P_DETERMINISTIC | ATTN_P_BATCH_INVARIANT)

/* Where in the plugin: "backend hello caps 0". */
typedef struct {
    char text[96];
} place;

static place
inside(const place *outer, const char *what, uint32_t index)
{
    place p;
    snprintf(p.text, sizeof p.text, "%.70s %s %u", outer->text, what, index);
    return p;
}

static attn_status
check_text(const place *at, const char *field, const char *charset,
           uint32_t max, const char *text, attn_error *err)
{
    char where[128];
    snprintf(where, sizeof where, "%s: %s", at->text, field);
    const attn_abi_text rule = {.where = where, .charset = charset, .max = max};
    return attn_abi_text_check(&rule, text, err);
}

static attn_status
check_zero(const place *at, uint64_t reserved, attn_error *err)
{
    if (reserved == 0)
        return ATTN_OK;
    return ATTN_ABI_REFUSE(err, "%s: a reserved field is 0x%llx, not 0",
                           at->text, (unsigned long long)reserved);
}

static attn_status
check_count(const place *at, const char *field, uint32_t count, uint32_t lo,
            uint32_t hi, const void *array, attn_error *err)
{
    if (count < lo || count > hi)
        return ATTN_ABI_REFUSE(err, "%s: %s %u, need %u..%u", at->text, field,
                               count, lo, hi);
    if (count > 0 && !array)
        return ATTN_ABI_REFUSE(err, "%s: %s %u, but the array is NULL",
                               at->text, field, count);
    return ATTN_OK;
}

/* ------------------------------------------------------------------- caps */

static attn_status
check_bits(const place *at, const attn_caps *caps, attn_error *err)
{
    for (unsigned bit = FIRST_FREE_FEATURE; bit < FIRST_VENDOR_FEATURE; bit++)
        if (caps->features >> bit & 1)
            return ATTN_ABI_REFUSE(err, "%s: unknown feature bit %u", at->text,
                                   bit);
    if (caps->properties & ~KNOWN_PROPERTIES)
        return ATTN_ABI_REFUSE(
            err, "%s: unknown properties 0x%llx", at->text,
            (unsigned long long)(caps->properties & ~KNOWN_PROPERTIES));
    return ATTN_OK;
}

static attn_status
check_capture(const place *at, const attn_caps *caps, attn_error *err)
{
    if (caps->capture > ATTN_CAPTURE_ALWAYS)
        return ATTN_ABI_REFUSE(err, "%s: capture %u, need 0..%u", at->text,
                               caps->capture, ATTN_CAPTURE_ALWAYS);
    return ATTN_OK;
}

static attn_status
check_dim(const place *at, const attn_dim_claim *claim, attn_error *err)
{
    attn_status status =
        check_text(at, "name", FIELD_CHARS, 63, claim->name, err);
    if (status == ATTN_OK && claim->range.lo > claim->range.hi)
        status = ATTN_ABI_REFUSE(err, "%s: %s from %u to %u is an empty range",
                                 at->text, claim->name, claim->range.lo,
                                 claim->range.hi);
    if (status == ATTN_OK)
        status = check_zero(at, claim->reserved, err);
    return status;
}

static attn_status
check_dtype(const place *at, const attn_dtype_claim *claim, attn_error *err)
{
    attn_status status =
        check_text(at, "name", FIELD_CHARS, 63, claim->name, err);
    if (status == ATTN_OK && attn_dtype_bytes(claim->dtype) == 0)
        status = ATTN_ABI_REFUSE(
            err, "%s: %s has unknown dtype code %u, bits %u, lanes %u",
            at->text, claim->name, claim->dtype.code, claim->dtype.bits,
            claim->dtype.lanes);
    if (status == ATTN_OK)
        status = check_zero(at, claim->reserved, err);
    return status;
}

static attn_status
check_lists(const place *at, const attn_caps *caps, attn_error *err)
{
    attn_status status =
        check_count(at, "num_archs", caps->num_archs, 1, 64, caps->archs, err);
    for (uint32_t i = 0; status == ATTN_OK && i < caps->num_archs; i++) {
        const place arch = inside(at, "arch", i);
        status = check_text(&arch, "name", NULL, 31, caps->archs[i], err);
    }
    if (status == ATTN_OK)
        status = check_count(at, "num_dims", caps->num_dims, 0, 256, caps->dims,
                             err);
    for (uint32_t i = 0; status == ATTN_OK && i < caps->num_dims; i++) {
        const place dim = inside(at, "dim", i);
        status = check_dim(&dim, &caps->dims[i], err);
    }
    if (status == ATTN_OK)
        status = check_count(at, "num_dtypes", caps->num_dtypes, 0, 256,
                             caps->dtypes, err);
    for (uint32_t i = 0; status == ATTN_OK && i < caps->num_dtypes; i++) {
        const place dtype = inside(at, "dtype", i);
        status = check_dtype(&dtype, &caps->dtypes[i], err);
    }
    return status;
}

static attn_status
check_caps(const place *at, uint32_t later, const attn_caps *caps,
           attn_error *err)
{
    if (!caps)
        return ATTN_ABI_REFUSE(err, "%s is NULL", at->text);
    attn_status status = attn_abi_size_check(at->text, caps->struct_size,
                                             ATTN_CAPS_SIZE_1_0, err);
    if (status == ATTN_OK && !later)
        status = check_bits(at, caps, err);
    if (status == ATTN_OK)
        status = check_capture(at, caps, err);
    if (status == ATTN_OK)
        status = check_lists(at, caps, err);
    if (status == ATTN_OK)
        status = check_zero(at, caps->reserved0, err);
    for (size_t i = 0; status == ATTN_OK && i < COUNT(caps->reserved); i++)
        status = check_zero(at, caps->reserved[i], err);
    return status;
}

/* --------------------------------------------------------------------- op */

static attn_status
check_op(const place *at, const attn_backend *b, attn_error *err)
{
#define SLOT(f)                  \
    {                            \
#f, offsetof(attn_op, f) \
    }
    static const attn_abi_slot slots[] = {
        SLOT(check), SLOT(builder_create), SLOT(workspace),
        SLOT(bind),  SLOT(layer_bytes),    SLOT(layer_prepare),
        SLOT(build), SLOT(forward),        SLOT(builder_destroy),
    };
    static const attn_abi_slot cache_slot = SLOT(update_cache);
#undef SLOT
    if (!b->op)
        return ATTN_ABI_REFUSE(err, "%s has no table for its own family %s",
                               at->text, b->family);
    place op;
    snprintf(op.text, sizeof op.text, "%.80s op", at->text);
    attn_status status =
        attn_abi_size_check(op.text, b->op->struct_size, ATTN_OP_SIZE_1_0, err);
    if (status == ATTN_OK)
        status = check_zero(&op, b->op->reserved, err);
    if (status == ATTN_OK)
        status = attn_abi_slots_check(op.text, b->op, slots, COUNT(slots), err);
    if (status == ATTN_OK && (strcmp(b->family, ATTN_FAMILY_FLASH) == 0 ||
                              strcmp(b->family, ATTN_FAMILY_MLA) == 0))
        status = attn_abi_slots_check(op.text, b->op, &cache_slot, 1, err);
    return status;
}

/* ---------------------------------------------------------------- backend */

static attn_status
check_family(const place *at, const attn_backend *b, attn_error *err)
{
    static const char *const ours[] = {ATTN_FAMILY_FLASH, ATTN_FAMILY_MLA,
                                       ATTN_FAMILY_MAMBA2, ATTN_FAMILY_MAMBA1};
    attn_status status = check_text(at, "family", NULL, 127, b->family, err);
    if (status != ATTN_OK || strncmp(b->family, "attn.", 5) != 0)
        return status;
    for (size_t i = 0; i < COUNT(ours); i++)
        if (strcmp(b->family, ours[i]) == 0)
            return ATTN_OK;
    return ATTN_ABI_REFUSE(err,
                           "%s: family %s is none of libattn's (a vendor's "
                           "own does not start with attn.)",
                           at->text, b->family);
}

static attn_status
check_device_type(const place *at, int32_t type, attn_error *err)
{
    if (type == ATTN_DEVICE_CPU || type == ATTN_DEVICE_CUDA ||
        type == ATTN_DEVICE_ROCM || type == ATTN_DEVICE_EXT)
        return ATTN_OK;
    return ATTN_ABI_REFUSE(err, "%s: device_type %d, need %d, %d, %d or %d",
                           at->text, type, ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA,
                           ATTN_DEVICE_ROCM, ATTN_DEVICE_EXT);
}

static attn_status
check_fields(const place *at, const attn_backend *b, attn_error *err)
{
    attn_status status = check_device_type(at, b->device_type, err);
    if (status == ATTN_OK)
        status = check_text(at, "summary", NULL, 120, b->summary, err);
    if (status == ATTN_OK)
        status = check_family(at, b, err);
    if (status == ATTN_OK)
        status = check_zero(at, b->reserved, err);
    if (status == ATTN_OK)
        status = check_op(at, b, err);
    if (status == ATTN_OK)
        status = check_count(at, "num_caps", b->num_caps, 1, 64, b->caps, err);
    return status;
}

attn_status
attn_abi_1_backend_check(uint32_t index, uint32_t later, const attn_backend *b,
                         attn_error *err)
{
    place at;
    snprintf(at.text, sizeof at.text, "backend %u", index);
    if (!b)
        return ATTN_ABI_REFUSE(err, "%s is NULL", at.text);
    attn_status status = attn_abi_size_check(at.text, b->struct_size,
                                             ATTN_BACKEND_SIZE_1_0, err);
    if (status == ATTN_OK)
        status = check_text(&at, "name", NAME_CHARS, 31, b->name, err);
    if (status != ATTN_OK)
        return status;
    snprintf(at.text, sizeof at.text, "backend %s", b->name);
    status = check_fields(&at, b, err);
    for (uint32_t i = 0; status == ATTN_OK && i < b->num_caps; i++) {
        const place caps = inside(&at, "caps", i);
        status = check_caps(&caps, later, b->caps[i], err);
    }
    return status;
}
