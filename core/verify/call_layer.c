/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/call_layer.h"

#include <attn/base.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* Which tensor gives which type field. */
static const struct {
    const char *family, *tensor, *field;
} TYPES[] = {
    {ATTN_FAMILY_FLASH, "q", "q_dtype"},
    {ATTN_FAMILY_FLASH, "k_cache", "kv_dtype"},
    {ATTN_FAMILY_MLA, "q_nope", "q_dtype"},
    {ATTN_FAMILY_MLA, "kv_cache", "kv_dtype"},
    {ATTN_FAMILY_MLA, "w_uk", "weight_dtype"},
    {ATTN_FAMILY_MAMBA2, "xbc", "x_dtype"},
    {ATTN_FAMILY_MAMBA2, "conv_state", "conv_state_dtype"},
    {ATTN_FAMILY_MAMBA2, "ssm_state", "ssm_state_dtype"},
    {ATTN_FAMILY_MAMBA1, "x", "x_dtype"},
    {ATTN_FAMILY_MAMBA1, "conv_state", "conv_state_dtype"},
    {ATTN_FAMILY_MAMBA1, "ssm_state", "ssm_state_dtype"},
};

/* Which tensor means which need. */
static const struct {
    const char *tensor;
    uint64_t feature;
} NEEDS[] = {
    {"sinks", ATTN_F_SINKS},
    {"alibi_slopes", ATTN_F_ALIBI},
    {"causal", ATTN_F_PER_REQUEST_CAUSAL},
    {"prefix_ranges", ATTN_F_PREFIX_RANGES},
    {"k_scale", ATTN_F_KV_SCALES},
    {"v_scale", ATTN_F_KV_SCALES},
    {"kv_scale", ATTN_F_KV_SCALES},
    {"z", ATTN_F_GATE},
    {"checkpoint_slots", ATTN_F_CHECKPOINTS},
    {"expected.lse", ATTN_F_LSE},
};

static attn_status
set_activation(attn_any_layer *layer, const json_t *value, attn_error *err)
{
    const char *text = json_string_value(value);
    uint32_t act;
    if (text && !strcmp(text, "silu"))
        act = ATTN_ACTIVATION_SILU;
    else if (json_is_null(value) || (text && !strcmp(text, "none")))
        act = ATTN_ACTIVATION_NONE;
    else
        return attn_error_set(err, ATTN_E_FORMAT, "layer.activation",
                              "activation '%s' is neither silu nor none",
                              text ? text : "?");
    if (!strcmp(layer->head.family, ATTN_FAMILY_MAMBA2))
        layer->mamba2.activation = act;
    else
        layer->mamba1.activation = act;
    return ATTN_OK;
}

static attn_status
set_value(attn_any_layer *layer, const char *key, const json_t *value,
          attn_error *err)
{
    char text[64];
    attn_error why = ATTN_ERROR_INIT;
    if (json_is_string(value))
        snprintf(text, sizeof text, "%s", json_string_value(value));
    else if (json_is_boolean(value))
        snprintf(text, sizeof text, "%d", json_is_true(value));
    else if (json_is_integer(value))
        snprintf(text, sizeof text, "%lld",
                 (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, sizeof text, "%.17g", json_real_value(value));
    else
        return attn_error_set(err, ATTN_E_FORMAT, "layer",
                              "layer key '%s' has no plain value", key);
    if (attn_layer_set(layer, key, text, &why))
        return attn_error_set(err, ATTN_E_FORMAT, "layer", "layer key '%s': %s",
                              key, why.message);
    return ATTN_OK;
}

/* Keys that are no fields: they say which features the call has. */
static int
feature_key(attn_any_layer *layer, const char *key, const json_t *value)
{
    const uint64_t bit = !strcmp(key, "sinks")   ? ATTN_F_SINKS
                         : !strcmp(key, "cross") ? ATTN_F_CROSS
                                                 : 0;
    if (bit && json_is_true(value))
        layer->head.features |= bit;
    return bit != 0 && json_is_boolean(value);
}

static attn_status
set_types(attn_any_layer *layer, attn_tensor_lookup lookup, const void *arg,
          attn_error *err)
{
    attn_dtype dtype;
    int64_t columns;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(TYPES[i].family, layer->head.family) != 0)
            continue;
        if (!lookup(arg, TYPES[i].tensor, &dtype, &columns))
            return attn_error_set(err, ATTN_E_FORMAT, TYPES[i].tensor,
                                  "tensor '%s' is missing", TYPES[i].tensor);
        attn_error why = ATTN_ERROR_INIT;
        if (attn_layer_set(layer, TYPES[i].field, attn_dtype_str(dtype), &why))
            return attn_error_set(err, ATTN_E_FORMAT, TYPES[i].tensor,
                                  "tensor '%s': %s", TYPES[i].tensor,
                                  why.message);
    }
    for (size_t i = 0; i < sizeof NEEDS / sizeof *NEEDS; i++)
        if (lookup(arg, NEEDS[i].tensor, &dtype, &columns))
            layer->head.features |= NEEDS[i].feature;
    if (lookup(arg, "state_indices", &dtype, &columns) && columns > 1)
        layer->head.features |= ATTN_F_DRAFTS;
    return ATTN_OK;
}

attn_status
attn_call_layer_read(const char *family, const json_t *layer,
                     attn_tensor_lookup lookup, const void *arg,
                     attn_any_layer *out, attn_error *err)
{
    const attn_family *f = attn_family_find(family);
    if (!f)
        return attn_error_set(err, ATTN_E_FORMAT, "family",
                              "family '%s' is not known", family);
    attn_layer_init(f, out);
    attn_status s = set_types(out, lookup, arg, err);
    if (s)
        return s;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)layer, key, value)
    {
        if (feature_key(out, key, value))
            continue;
        s = !strcmp(key, "activation") ? set_activation(out, value, err)
                                       : set_value(out, key, value, err);
        if (s)
            return s;
    }
    attn_error why = ATTN_ERROR_INIT;
    if (attn_layer_finish(out, &why))
        return attn_error_set(err, ATTN_E_FORMAT, "layer", "layer: %s",
                              why.message);
    return ATTN_OK;
}
