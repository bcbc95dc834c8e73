/* SPDX-License-Identifier: Apache-2.0 */
/* base/dtype.h - facts about element types. Names: attn/base.h. */
#ifndef ATTN_BASE_DTYPE_H
#define ATTN_BASE_DTYPE_H

#include <attn/types.h>

/* [any] Bytes of one element; 0 for a type libattn has no name for. */
uint32_t attn_dtype_bytes(attn_dtype dtype);

/* [any] The name safetensors uses: "BF16", "F8_E4M3"; NULL when it has none. */
const char *attn_dtype_safetensors(attn_dtype dtype);

/* [any] 1 for the floating types, fp8 included. */
int attn_dtype_is_float(attn_dtype dtype);

#endif /* ATTN_BASE_DTYPE_H */
