/* SPDX-License-Identifier: Apache-2.0 */
#include "select/match.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

#include "base/error.h"
#include "select/layer.h"

#define MAX_REASON 240

/* A line that fills up and then stops. */
struct line {
    char text[MAX_REASON];
    size_t length;
};

static void ATTN_PRINTF(2, 3) line_add(struct line *line, const char *fmt, ...)
{
    size_t room = sizeof line->text - line->length;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line->text + line->length, room, fmt, ap);
    va_end(ap);
    if (n > 0)
        line->length += (size_t)n < room ? (size_t)n : room - 1;
}

const char *
attn_capture_str(uint32_t capture)
{
    static const char *const names[] = {"never", "decode", "uniform", "always"};
    return capture <= ATTN_CAPTURE_ALWAYS ? names[capture] : "unknown";
}

/* A field by name, or one that is computed from others. */
static int
dim_value(const attn_layer *layer, const char *name, uint32_t *value)
{
    const attn_family *family = attn_family_find(layer->family);
    const attn_field *f = family ? attn_family_field(family, name) : NULL;
    if (f && f->type != ATTN_FIELD_F32 && f->type != ATTN_FIELD_DTYPE) {
        *value = attn_field_u32(f, layer);
        return 1;
    }
    if (strcmp(name, "gqa_ratio") != 0 ||
        strcmp(layer->family, ATTN_FAMILY_FLASH) != 0)
        return 0;
    const attn_flash_layer *l = (const attn_flash_layer *)layer;
    *value = l->num_heads / l->num_kv_heads;
    return 1;
}

static int
in_range(const attn_range *r, uint32_t v)
{
    if (r->step == 0)
        return v == r->lo;
    return v >= r->lo && v <= r->hi && (v - r->lo) % r->step == 0;
}

static void
add_range(struct line *line, const attn_range *r, const char *comma)
{
    if (r->step == 0 || r->lo == r->hi)
        line_add(line, "%s%u", comma, r->lo);
    else if (r->step == 1)
        line_add(line, "%s%u to %u", comma, r->lo, r->hi);
    else
        line_add(line, "%s%u to %u by %u", comma, r->lo, r->hi, r->step);
}

/* 1 when an earlier claim has the same name: judged there already. */
static int
dim_seen(const attn_caps *caps, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(caps->dims[i].name, caps->dims[index].name) == 0)
            return 1;
    return 0;
}

static void
match_dim(const attn_caps *caps, uint32_t first, const attn_layer *layer,
          attn_reasons *reasons)
{
    const char *name = caps->dims[first].name;
    struct line line = {0};
    uint32_t v;
    if (!dim_value(layer, name, &v)) {
        line_add(&line, "claim on '%s': no such field", name);
        attn_reason_add(reasons, line.text);
        return;
    }
    line_add(&line, "%s %u: supports ", name, v);
    const char *comma = "";
    for (uint32_t i = first; i < caps->num_dims; i++) {
        if (strcmp(caps->dims[i].name, name) != 0)
            continue;
        if (in_range(&caps->dims[i].range, v))
            return;
        add_range(&line, &caps->dims[i].range, comma);
        comma = ", ";
    }
    attn_reason_add(reasons, line.text);
}

static int
dtype_seen(const attn_caps *caps, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(caps->dtypes[i].name, caps->dtypes[index].name) == 0)
            return 1;
    return 0;
}

static void
match_dtype(const attn_caps *caps, uint32_t first, const attn_layer *layer,
            attn_reasons *reasons)
{
    const char *name = caps->dtypes[first].name;
    const attn_family *family = attn_family_find(layer->family);
    const attn_field *f = family ? attn_family_field(family, name) : NULL;
    struct line line = {0};
    if (!f || f->type != ATTN_FIELD_DTYPE) {
        line_add(&line, "claim on '%s': no such type field", name);
        attn_reason_add(reasons, line.text);
        return;
    }
    attn_dtype want = attn_field_dtype(f, layer);
    line_add(&line, "%s %s: supports ", name, attn_dtype_str(want));
    const char *comma = "";
    for (uint32_t i = first; i < caps->num_dtypes; i++) {
        if (strcmp(caps->dtypes[i].name, name) != 0)
            continue;
        if (attn_dtype_eq(caps->dtypes[i].dtype, want))
            return;
        line_add(&line, "%s%s", comma, attn_dtype_str(caps->dtypes[i].dtype));
        comma = ", ";
    }
    attn_reason_add(reasons, line.text);
}

static void
match_features(const attn_caps *caps, uint64_t features, attn_reasons *reasons)
{
    for (uint64_t missing = features & ~caps->features; missing;
         missing &= missing - 1) {
        uint64_t bit = missing & (~missing + 1);
        struct line line = {0};
        line_add(&line, "%s 0x%" PRIx64 ": supports", attn_feature_str(bit),
                 bit);
        if (attn_feature_parse(attn_feature_str(bit))) {
            line = (struct line){0};
            line_add(&line, "%s needed: supports", attn_feature_str(bit));
        }
        const char *comma = " ";
        for (uint64_t have = caps->features; have; have &= have - 1) {
            line_add(&line, "%s%s", comma,
                     attn_feature_str(have & (~have + 1)));
            comma = ", ";
        }
        if (!caps->features)
            line_add(&line, " none");
        attn_reason_add(reasons, line.text);
    }
}

/* "sm_90a" is code for sm_90 and no other. */
static int
arch_fits(const char *claim, const char *arch)
{
    size_t n = strlen(arch);
    return strcmp(claim, "*") == 0 ||
           (strncmp(claim, arch, n) == 0 &&
            (claim[n] == 0 || (claim[n] == 'a' && claim[n + 1] == 0)));
}

static void
match_arch(const attn_caps *caps, const char *arch, attn_reasons *reasons)
{
    struct line line = {0};
    if (!*arch || caps->num_archs == 0)
        return;
    line_add(&line, "arch %s: supports ", arch);
    for (uint32_t i = 0; i < caps->num_archs; i++) {
        if (arch_fits(caps->archs[i], arch))
            return;
        line_add(&line, "%s%s", i ? ", " : "", caps->archs[i]);
    }
    attn_reason_add(reasons, line.text);
}

static void
match_limits(const attn_caps *caps, const attn_wish *wish,
             attn_reasons *reasons)
{
    struct line line = {0};
    if (wish->capture > caps->capture) {
        line_add(&line, "capture %s: supports %s",
                 attn_capture_str(wish->capture),
                 attn_capture_str(caps->capture));
        attn_reason_add(reasons, line.text);
    }
    if (caps->max_seq_len && wish->max_seq_len > caps->max_seq_len) {
        line = (struct line){0};
        line_add(&line, "max_seq_len %" PRIu64 ": supports up to %" PRIu64,
                 wish->max_seq_len, caps->max_seq_len);
        attn_reason_add(reasons, line.text);
    }
}

static void
match_caps(const attn_caps *caps, const attn_wish *wish, attn_reasons *reasons)
{
    for (uint32_t i = 0; i < caps->num_dims; i++)
        if (!dim_seen(caps, i))
            match_dim(caps, i, wish->layer, reasons);
    for (uint32_t i = 0; i < caps->num_dtypes; i++)
        if (!dtype_seen(caps, i))
            match_dtype(caps, i, wish->layer, reasons);
    match_features(caps, wish->layer->features, reasons);
    match_arch(caps, wish->arch, reasons);
    match_limits(caps, wish, reasons);
}

/* The reasons of the set that misses least; 0 where one fits. */
static uint32_t
match_best_caps(const attn_backend *backend, const attn_wish *wish,
                attn_reasons *reasons)
{
    uint32_t best = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < backend->num_caps && least; i++) {
        attn_reasons count = {.struct_size = sizeof count};
        match_caps(backend->caps[i], wish, &count);
        if (count.count < least) {
            least = count.count;
            best = i;
        }
    }
    if (least && backend->num_caps)
        match_caps(backend->caps[best], wish, reasons);
    return backend->num_caps ? least : 0;
}

attn_status
attn_backend_match(const attn_backend *backend, const attn_wish *wish,
                   attn_reasons *reasons)
{
    if (match_best_caps(backend, wish, reasons))
        return ATTN_E_UNSUPPORTED;
    uint32_t before = reasons->count;
    attn_status s = backend->op->check(backend, *wish->arch ? wish->arch : NULL,
                                       wish->layer, reasons);
    if (s == ATTN_OK)
        return ATTN_OK;
    struct line line = {0};
    if (s != ATTN_E_UNSUPPORTED)
        line_add(&line, "check answers status %d: %s", s, attn_status_str(s));
    else if (reasons->count == before)
        line_add(&line, "check refuses and gives no reason");
    if (line.length)
        attn_reason_add(reasons, line.text);
    return ATTN_E_UNSUPPORTED;
}
