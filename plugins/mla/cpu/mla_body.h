/* SPDX-License-Identifier: Apache-2.0 */
/* mla_body.h - the kernel table of one level. MLA_TABLE is set by the file
 * that includes it. */
#include <math.h>

#include "mla/cpu/mla_absorbed.h"
#include "mla/cpu/mla_expanded.h"

static void
store_row(const attn_builder *b, void *dst, const void *src, size_t n, float scale)
{
    if (b->q_type == b->kv_type) {
        memcpy(dst, src, n * cpu_type_size(b->q_type));
        return;
    }
    float row[1024];
    convert_to_f32(row, src, b->q_type, n);
    if (scale != 1.0f)
        for (size_t i = 0; i < n; i++)
            row[i] /= scale;
    convert_from_f32(dst, b->kv_type, row, n);
}

const mla_kernels MLA_TABLE = {
    .epc = EPC,
    .expanded = expanded_task,
    .query = query_task,
    .attend = attend_task,
    .output = output_task,
    .store_row = store_row,
};
