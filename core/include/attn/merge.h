/* SPDX-License-Identifier: Apache-2.0 */
/* attn/merge.h - joining partial results of attention. */
#ifndef ATTN_MERGE_H
#define ATTN_MERGE_H

#include <attn/api.h>
#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One part: what attention over some of the keys gave. */
typedef struct attn_partial {
    const attn_tensor *out; /* [T, H, D] f32, bf16 or f16, host */
    const attn_tensor *lse; /* [T, H] float32, natural logarithm, host */
} attn_partial;

/* [any] out[t, h] = sum over the parts of exp(lse_i - lse) * out_i, with lse
 * = log sum exp lse_i. A part whose lse is -inf (+inf and NaN count as that)
 * saw no key: its out is not read. When all are, out is 0 and lse -inf. All
 * out tensors have one dtype and shape; inner strides are 1, outer ones
 * free. Computed in float32, rounded to nearest even. out may be one part's
 * out, lse (NULL: not wanted) one part's lse. num_parts: 1 to 64. */
ATTN_API attn_status attn_lse_merge(const attn_partial *parts,
                                    uint32_t num_parts, attn_tensor *out,
                                    attn_tensor *lse, attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_MERGE_H */
