/* SPDX-License-Identifier: Apache-2.0 */
#include "select/layer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <attn/base.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/text.h"

#define ACTIVATIONS "none|silu"

const attn_field *
attn_family_field(const attn_family *family, const char *name)
{
    for (uint32_t i = 0; i < family->num_fields; i++)
        if (strcmp(family->fields[i].name, name) == 0)
            return &family->fields[i];
    return NULL;
}

static void *
field_at(const attn_field *field, attn_any_layer *layer)
{
    return (char *)layer + field->offset;
}

uint32_t
attn_field_u32(const attn_field *field, const attn_layer *layer)
{
    uint32_t v;
    memcpy(&v, (const char *)layer + field->offset, sizeof v);
    return v;
}

int32_t
attn_field_i32(const attn_field *field, const attn_layer *layer)
{
    int32_t v;
    memcpy(&v, (const char *)layer + field->offset, sizeof v);
    return v;
}

float
attn_field_f32(const attn_field *field, const attn_layer *layer)
{
    float v;
    memcpy(&v, (const char *)layer + field->offset, sizeof v);
    return v;
}

attn_dtype
attn_field_dtype(const attn_field *field, const attn_layer *layer)
{
    attn_dtype v;
    memcpy(&v, (const char *)layer + field->offset, sizeof v);
    return v;
}

static attn_status
set_field(const attn_field *f, attn_any_layer *layer, const char *text,
          attn_error *err)
{
    void *at = field_at(f, layer);
    int64_t i;
    double d;
    attn_status s;
    switch (f->type) {
    case ATTN_FIELD_U32:
    case ATTN_FIELD_I32:
        s = attn_text_parse_i64(text, (int64_t)f->lo, (int64_t)f->hi, f->name,
                                &i, err);
        if (s == ATTN_OK)
            memcpy(at, &(int32_t){(int32_t)(uint32_t)i}, sizeof(int32_t));
        return s;
    case ATTN_FIELD_BOOL:
        return attn_text_parse_bool(text, f->name, at, err);
    case ATTN_FIELD_ACTIVATION:
        return attn_text_parse_choice(text, ACTIVATIONS, f->name, at, err);
    case ATTN_FIELD_F32:
        s = attn_text_parse_f64(text, f->lo, f->hi, f->name, &d, err);
        if (s == ATTN_OK)
            memcpy(at, &(float){(float)d}, sizeof(float));
        return s;
    default:
        return attn_dtype_parse(text, at, err);
    }
}

_Static_assert(sizeof(attn_any_layer) == 256, "no layer exceeds its room");

void
attn_layer_init(const attn_family *family, attn_any_layer *layer)
{
    memset(layer, 0, sizeof *layer);
    layer->head.struct_size = family->layer_size;
    layer->head.family = family->id;
    for (uint32_t i = 0; i < family->num_fields; i++)
        if (family->fields[i].value[0])
            set_field(&family->fields[i], layer, family->fields[i].value, NULL);
}

/* What a layer of 1.0 has: a shorter one is none. */
static uint32_t
least_size(const attn_family *family)
{
    static const struct {
        const char *id;
        uint32_t size;
    } sizes[] = {{ATTN_FAMILY_FLASH, ATTN_FLASH_LAYER_SIZE_1_0},
                 {ATTN_FAMILY_MLA, ATTN_MLA_LAYER_SIZE_1_0},
                 {ATTN_FAMILY_MAMBA2, ATTN_MAMBA2_LAYER_SIZE_1_0},
                 {ATTN_FAMILY_MAMBA1, ATTN_MAMBA1_LAYER_SIZE_1_0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (strcmp(sizes[i].id, family->id) == 0)
            return sizes[i].size;
    return family->layer_size;
}

/* The family of a layer that is whole. */
static attn_status
known_family(const attn_layer *layer, const attn_family **family,
             attn_error *err)
{
    *family = layer->family ? attn_family_find(layer->family) : NULL;
    if (!*family)
        return attn_error_set(err, ATTN_E_ARG, "layer.family",
                              "unknown family '%s'",
                              layer->family ? layer->family : "");
    if (layer->struct_size < least_size(*family))
        return attn_error_set(err, ATTN_E_ARG, "layer.struct_size",
                              "struct_size %u: a %s layer has %u bytes",
                              layer->struct_size, (*family)->key,
                              least_size(*family));
    return ATTN_OK;
}

attn_status
attn_layer_take(const attn_layer *from, attn_any_layer *to,
                const attn_family **family, attn_error *err)
{
    attn_status s = known_family(from, family, err);
    if (s != ATTN_OK)
        return s;
    const uint32_t all = (*family)->layer_size;
    attn_layer_init(*family, to);
    memcpy(to, from, from->struct_size < all ? from->struct_size : all);
    to->head.struct_size = all;
    to->head.family = (*family)->id;
    return ATTN_OK;
}

attn_status
attn_layer_set(attn_any_layer *layer, const char *name, const char *text,
               attn_error *err)
{
    const attn_family *family;
    attn_status s = known_family(&layer->head, &family, err);
    if (s != ATTN_OK)
        return s;
    const attn_field *f = attn_family_field(family, name);
    if (f)
        return set_field(f, layer, text, err);
    char hint[96];
    attn_nearest nearest = {.text = name};
    for (uint32_t i = 0; i < family->num_fields; i++)
        attn_nearest_offer(&nearest, family->fields[i].name);
    return attn_error_set(err, ATTN_E_ARG, "layer",
                          "unknown field '%s' of %s%s", name, family->key,
                          attn_nearest_hint(&nearest, hint, sizeof hint));
}

/* The shortest text that reads back as the same float. */
static void
print_f32(char *text, size_t size, float v)
{
    for (int digits = 1; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, size, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            return;
    }
}

attn_status
attn_layer_get(const attn_layer *of, const char *name, char *text, size_t size)
{
    const attn_family *family;
    attn_any_layer whole;
    const attn_layer *layer = &whole.head;
    attn_status s = attn_layer_take(of, &whole, &family, NULL);
    const attn_field *f = s == ATTN_OK ? attn_family_field(family, name) : NULL;
    if (!f)
        return ATTN_E_ARG;
    switch (f->type) {
    case ATTN_FIELD_U32:
        snprintf(text, size, "%u", attn_field_u32(f, layer));
        break;
    case ATTN_FIELD_I32:
        snprintf(text, size, "%d", attn_field_i32(f, layer));
        break;
    case ATTN_FIELD_BOOL:
        snprintf(text, size, "%s", attn_field_u32(f, layer) ? "yes" : "no");
        break;
    case ATTN_FIELD_ACTIVATION:
        snprintf(text, size, "%s", attn_field_u32(f, layer) ? "silu" : "none");
        break;
    case ATTN_FIELD_F32:
        print_f32(text, size, attn_field_f32(f, layer));
        break;
    default:
        snprintf(text, size, "%s", attn_dtype_str(attn_field_dtype(f, layer)));
    }
    return ATTN_OK;
}

/* Absent dtypes follow another. */
static void
default_dtype(attn_dtype *dtype, attn_dtype like)
{
    if (dtype->bits == 0)
        *dtype = like;
}

static void
compute_flash(attn_flash_layer *l)
{
    if (!l->num_kv_heads)
        l->num_kv_heads = l->num_heads;
    if (!l->head_dim_v)
        l->head_dim_v = l->head_dim;
    if (l->scale == 0)
        l->scale = 1 / sqrtf((float)l->head_dim);
    default_dtype(&l->kv_dtype, l->q_dtype);
    default_dtype(&l->out_dtype, l->q_dtype);
    l->head.features &=
        ~(ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_WINDOW | ATTN_F_SOFTCAP);
    l->head.features |= l->causal ? ATTN_F_CAUSAL : ATTN_F_NONCAUSAL;
    if (l->window_left != -1 || l->window_right != -1)
        l->head.features |= ATTN_F_WINDOW;
    if (l->softcap > 0)
        l->head.features |= ATTN_F_SOFTCAP;
}

static void
compute_mla(attn_mla_layer *l)
{
    if (l->scale == 0)
        l->scale =
            1 / sqrtf((float)(l->qk_nope_head_dim + l->qk_rope_head_dim));
    default_dtype(&l->kv_dtype, l->q_dtype);
    default_dtype(&l->out_dtype, l->q_dtype);
    default_dtype(&l->weight_dtype, l->q_dtype);
    l->head.features &= ~(ATTN_F_CAUSAL | ATTN_F_NONCAUSAL);
    l->head.features |= l->causal ? ATTN_F_CAUSAL : ATTN_F_NONCAUSAL;
}

/* Each field within the range its table states. */
static attn_status
check_fields(const attn_family *family, const attn_layer *layer,
             attn_error *err)
{
    for (uint32_t i = 0; i < family->num_fields; i++) {
        const attn_field *f = &family->fields[i];
        double v = 0;
        if (f->type == ATTN_FIELD_DTYPE) {
            attn_dtype t = attn_field_dtype(f, layer);
            if (!attn_dtype_is_float(t))
                return attn_error_set(err, ATTN_E_ARG, f->name,
                                      "%s %s: not a floating type", f->name,
                                      attn_dtype_str(t));
            continue;
        }
        if (f->type == ATTN_FIELD_F32)
            v = (double)attn_field_f32(f, layer);
        else if (f->type == ATTN_FIELD_I32)
            v = attn_field_i32(f, layer);
        else
            v = attn_field_u32(f, layer);
        if (v == 0 && f->lo > 0 && !f->value[0])
            return attn_error_set(err, ATTN_E_ARG, f->name, "%s is not given",
                                  f->name);
        if (!(v >= f->lo && v <= f->hi))
            return attn_error_set(err, ATTN_E_ARG, f->name,
                                  "%s %g: outside %.10g to %.10g", f->name, v,
                                  f->lo, f->hi);
    }
    return ATTN_OK;
}

static attn_status
check_multiple(uint32_t many, const char *many_name, uint32_t few,
               const char *few_name, attn_error *err)
{
    if (many % few == 0)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, many_name,
                          "%s %u: not a multiple of %s %u", many_name, many,
                          few_name, few);
}

/* Which needs make sense for which family; vendors' bits always. */
static uint64_t
meaningful_features(const char *id)
{
    if (strcmp(id, ATTN_FAMILY_FLASH) == 0)
        return ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_PER_REQUEST_CAUSAL |
               ATTN_F_WINDOW | ATTN_F_SOFTCAP | ATTN_F_SINKS | ATTN_F_ALIBI |
               ATTN_F_PREFIX_RANGES | ATTN_F_CROSS | ATTN_F_LSE |
               ATTN_F_KV_SCALES;
    if (strcmp(id, ATTN_FAMILY_MLA) == 0)
        return ATTN_F_CAUSAL | ATTN_F_NONCAUSAL | ATTN_F_PER_REQUEST_CAUSAL |
               ATTN_F_LSE | ATTN_F_KV_SCALES;
    return ATTN_F_GATE | ATTN_F_DRAFTS | ATTN_F_CHECKPOINTS;
}

static attn_status
check_features(const attn_family *family, uint64_t features, attn_error *err)
{
    uint64_t odd =
        features & ~meaningful_features(family->id) & ((1ull << 48) - 1);
    if (!odd)
        return ATTN_OK;
    uint64_t bit = odd & (~odd + 1);
    return attn_error_set(err, ATTN_E_ARG, "layer.features",
                          "feature %s: a %s layer has none",
                          attn_feature_str(bit), family->key);
}

attn_status
attn_layer_finish(attn_any_layer *layer, attn_error *err)
{
    const attn_family *family;
    attn_any_layer l;
    attn_status s = attn_layer_take(&layer->head, &l, &family, err);
    if (s != ATTN_OK)
        return s;
    int flash = strcmp(family->id, ATTN_FAMILY_FLASH) == 0;
    int mamba2 = strcmp(family->id, ATTN_FAMILY_MAMBA2) == 0;
    if (flash)
        compute_flash(&l.flash);
    else if (strcmp(family->id, ATTN_FAMILY_MLA) == 0)
        compute_mla(&l.mla);
    else if (mamba2) {
        default_dtype(&l.mamba2.conv_state_dtype, l.mamba2.x_dtype);
        default_dtype(&l.mamba2.out_dtype, l.mamba2.x_dtype);
    } else {
        default_dtype(&l.mamba1.conv_state_dtype, l.mamba1.x_dtype);
        default_dtype(&l.mamba1.out_dtype, l.mamba1.x_dtype);
    }
    s = check_fields(family, &l.head, err);
    if (s == ATTN_OK && flash)
        s = check_multiple(l.flash.num_heads, "num_heads", l.flash.num_kv_heads,
                           "num_kv_heads", err);
    if (s == ATTN_OK && mamba2)
        s = check_multiple(l.mamba2.num_heads, "num_heads", l.mamba2.num_groups,
                           "num_groups", err);
    if (s == ATTN_OK)
        s = check_features(family, l.head.features, err);
    if (s == ATTN_OK)
        *layer = l;
    return s;
}
