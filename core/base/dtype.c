/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dtype.h"

#include <stdio.h>
#include <string.h>

#include <attn/base.h>
#include <attn/plugin.h>

#include "base/error.h"

static const struct dtype_fact {
    attn_dtype dtype;
    const char *name;
    const char *safetensors;
} facts[] = {
    {ATTN_BF16, "bf16", "BF16"},    {ATTN_F16, "f16", "F16"},
    {ATTN_F32, "f32", "F32"},       {ATTN_F64, "f64", "F64"},
    {ATTN_E4M3, "e4m3", "F8_E4M3"}, {ATTN_E5M2, "e5m2", "F8_E5M2"},
    {ATTN_I32, "i32", "I32"},       {ATTN_I64, "i64", "I64"},
    {ATTN_U8, "u8", "U8"},
};

static const struct dtype_fact *
find(attn_dtype dtype)
{
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (attn_dtype_eq(facts[i].dtype, dtype))
            return &facts[i];
    return NULL;
}

const char *
attn_dtype_str(attn_dtype dtype)
{
    const struct dtype_fact *fact = find(dtype);
    return fact ? fact->name : "?";
}

attn_status
attn_dtype_parse(const char *text, attn_dtype *dtype, attn_error *err)
{
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (strcmp(facts[i].name, text) == 0) {
            *dtype = facts[i].dtype;
            return ATTN_OK;
        }
    return attn_error_set(err, ATTN_E_ARG, "dtype",
                          "unknown dtype '%s': known are bf16, f16, f32, f64, "
                          "e4m3, e5m2, i32, i64, u8",
                          text);
}

uint32_t
attn_dtype_bytes(attn_dtype dtype)
{
    return find(dtype) ? dtype.bits / 8u : 0;
}

const char *
attn_dtype_safetensors(attn_dtype dtype)
{
    const struct dtype_fact *fact = find(dtype);
    return fact ? fact->safetensors : NULL;
}

int
attn_dtype_is_float(attn_dtype dtype)
{
    return find(dtype) && dtype.code >= ATTN_CODE_FLOAT;
}
