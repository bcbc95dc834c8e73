/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *
row_entry(const attn_entry *e)
{
    json_t *row = json_object();
    json_object_set_new(row, "backend", out_text(e->name));
    json_object_set_new(row, "state", out_text(attn_state_str(e->state)));
    json_object_set_new(row, "device", out_text(e->device));
    json_object_set_new(row, "device_id", json_integer(e->device_id));
    json_object_set_new(row, "arch", out_text(e->arch));
    json_object_set_new(row, "version", out_text(e->version));
    json_object_set_new(row, "family", out_text(e->family));
    json_object_set_new(row, "priority", json_integer(e->priority));
    json_object_set_new(row, "emulated", out_bool(e->emulated != 0));
    json_object_set_new(row, "section", out_text(e->section));
    json_object_set_new(row, "file", out_text(e->file));
    json_object_set_new(row, "reason", out_text(e->reason));
    return row;
}

static const char *
option_type(uint32_t type)
{
    static const char *const names[] = {"bool", "int", "float", "choice",
                                        "string"};
    return type < CLI_COUNT(names) ? names[type] : "?";
}

static json_t *
row_option(const attn_option *o)
{
    json_t *row = json_object();
    json_object_set_new(row, "name", out_text(o->name));
    json_object_set_new(row, "type", out_text(option_type(o->type)));
    json_object_set_new(row, "default", out_text(o->value));
    if (o->choices)
        json_object_set_new(row, "choices", out_text(o->choices));
    if (o->type == ATTN_OPTION_INT) {
        json_object_set_new(row, "lo", json_integer((json_int_t)o->lo));
        json_object_set_new(row, "hi", json_integer((json_int_t)o->hi));
    } else if (o->type == ATTN_OPTION_FLOAT) {
        json_object_set_new(row, "lo", out_real(o->lo));
        json_object_set_new(row, "hi", out_real(o->hi));
    }
    json_object_set_new(row, "help", out_text(o->help));
    return row;
}

json_t *
row_plugin(const attn_plugin *p)
{
    json_t *row = json_object();
    json_t *options = json_array();
    json_object_set_new(row, "id", out_text(p->id));
    json_object_set_new(row, "version", out_text(p->version));
    json_object_set_new(row, "vendor", out_text(p->vendor));
    json_object_set_new(row, "url", out_text(p->url));
    json_object_set_new(row, "license", out_text(p->license));
    for (uint32_t i = 0; i < p->num_options; i++)
        json_array_append_new(options, row_option(p->options[i]));
    json_object_set_new(row, "options", options);
    return row;
}

json_t *
row_features(uint64_t features)
{
    json_t *list = json_array();
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t f = 1ull << bit;
        if (!(features & f))
            continue;
        const char *name = attn_feature_str(f);
        json_array_append_new(list,
                              name ? out_text(name) : out_format("bit%d", bit));
    }
    return list;
}

const char *
row_capture(uint32_t level)
{
    static const char *const names[] = {"never", "decode", "uniform", "always"};
    return level < CLI_COUNT(names) ? names[level] : "?";
}

const char *
row_family(const char *id)
{
    const attn_family *family = attn_family_find(id);
    return family ? family->key : id;
}

const char *
row_device_type(int32_t type)
{
    switch (type) {
    case ATTN_DEVICE_CPU:
        return "cpu";
    case ATTN_DEVICE_CUDA:
        return "cuda";
    case ATTN_DEVICE_ROCM:
        return "rocm";
    case ATTN_DEVICE_EXT:
        return "emulated";
    default:
        return "other";
    }
}

static json_t *
properties(uint64_t bits)
{
    json_t *list = json_array();
    if (bits & ATTN_P_DETERMINISTIC)
        json_array_append_new(list, json_string("deterministic"));
    if (bits & ATTN_P_BATCH_INVARIANT)
        json_array_append_new(list, json_string("batch_invariant"));
    return list;
}

static void
append_to(json_t *object, const char *key, json_t *value)
{
    json_t *list = json_object_get(object, key);
    if (!list) {
        list = json_array();
        json_object_set_new(object, key, list);
    }
    json_array_append_new(list, value);
}

static json_t *
range_text(const attn_range *r)
{
    if (r->step == 0 || r->lo == r->hi)
        return out_format("%u", r->lo);
    if (r->step == 1)
        return out_format("%u..%u", r->lo, r->hi);
    return out_format("%u..%u step %u", r->lo, r->hi, r->step);
}

static json_t *
row_claims(const attn_caps *caps)
{
    json_t *row = json_object(), *archs = json_array();
    json_t *dims = json_object(), *dtypes = json_object();
    for (uint32_t i = 0; i < caps->num_archs; i++)
        json_array_append_new(archs, out_text(caps->archs[i]));
    for (uint32_t i = 0; i < caps->num_dims; i++)
        append_to(dims, caps->dims[i].name, range_text(&caps->dims[i].range));
    for (uint32_t i = 0; i < caps->num_dtypes; i++)
        append_to(dtypes, caps->dtypes[i].name,
                  out_text(attn_dtype_str(caps->dtypes[i].dtype)));
    json_object_set_new(row, "archs", archs);
    json_object_set_new(row, "dtypes", dtypes);
    json_object_set_new(row, "dims", dims);
    json_object_set_new(row, "features", row_features(caps->features));
    json_object_set_new(row, "properties", properties(caps->properties));
    json_object_set_new(row, "capture", out_text(row_capture(caps->capture)));
    json_object_set_new(row, "max_seq_len",
                        caps->max_seq_len ? out_int(caps->max_seq_len)
                                          : json_null());
    return row;
}

json_t *
row_caps(const attn_backend *backend)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < backend->num_caps; i++)
        json_array_append_new(list, row_claims(backend->caps[i]));
    return list;
}

/* As it is printed and read again, so that rows of two runs compare. */
static json_t *
row_float(float value)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", (double)value);
    return out_real(strtod(text, NULL));
}

json_t *
row_layer(const attn_layer *layer)
{
    const attn_family *family = attn_family_find(layer->family);
    json_t *row = json_object();
    char text[64];
    json_object_set_new(row, "family", out_text(row_family(layer->family)));
    for (uint32_t i = 0; family && i < family->num_fields; i++) {
        const attn_field *f = &family->fields[i];
        const char *at = (const char *)layer + f->offset;
        json_t *v;
        if (f->type == ATTN_FIELD_U32)
            v = json_integer(*(const uint32_t *)(const void *)at);
        else if (f->type == ATTN_FIELD_I32)
            v = json_integer(*(const int32_t *)(const void *)at);
        else if (f->type == ATTN_FIELD_BOOL)
            v = out_bool(*(const uint32_t *)(const void *)at != 0);
        else if (f->type == ATTN_FIELD_F32)
            v = row_float(*(const float *)(const void *)at);
        else if (!attn_layer_get(layer, f->name, text, sizeof text))
            v = out_text(text);
        else
            v = json_null();
        json_object_set_new(row, f->name, v);
    }
    json_object_set_new(row, "features", row_features(layer->features));
    return row;
}
