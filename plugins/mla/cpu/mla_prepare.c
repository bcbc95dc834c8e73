/* SPDX-License-Identifier: Apache-2.0 */
#include "mla/cpu/mla.h"

#include "common/cpu/gemm_cells.h"

/* One head's [rows, cols] matrix as B: its columns run along k, its rows
 * become columns of B; or, transposed, the other way round. */
typedef struct pack_job {
    const char *src;
    int64_t row_stride, col_stride; /* elements */
    cpu_type type;
    uint32_t k, n, epc;
    uint32_t transposed;
} pack_job;

static float
pack_at(const pack_job *j, size_t k, size_t n)
{
    const size_t row = j->transposed ? k : n, col = j->transposed ? n : k;
    const int64_t at = (int64_t)row * j->row_stride + (int64_t)col * j->col_stride;
    return cpu_get(j->type, j->src + at * (int64_t)cpu_type_size(j->type), 0);
}

static void
pack_head(const pack_job *j, uint32_t *dst)
{
    const size_t kc = j->k / j->epc;
    for (size_t k = 0; k < kc; k++) {
        for (size_t n = 0; n < j->n; n++) {
            uint32_t *cell = dst + gemm_b_index(kc, j->n, k, n);
            if (j->epc == 1)
                *cell = cpu_f32_bits(pack_at(j, k, n));
            else
                *cell = cpu_f32_to_bf16(pack_at(j, 2 * k, n)) |
                        (uint32_t)cpu_f32_to_bf16(pack_at(j, 2 * k + 1, n)) << 16;
        }
    }
}

static uint32_t *
pack_all(const attn_builder *b, const attn_tensor *w, uint32_t k, uint32_t n, uint32_t transposed,
         uint32_t *dst)
{
    pack_job j = {.row_stride = w->strides[1],
                  .col_stride = w->strides[2],
                  .type = b->w_type,
                  .k = k,
                  .n = n,
                  .epc = b->epc,
                  .transposed = transposed};
    for (uint32_t h = 0; h < b->heads; h++) {
        j.src = cpu_data(w) + (int64_t)h * w->strides[0] * (int64_t)cpu_type_size(b->w_type);
        pack_head(&j, dst);
        dst += (size_t)(k / b->epc) * n;
    }
    return dst;
}

attn_status
mla_layer_bytes(const attn_builder *b, attn_workspace *need)
{
    const uint64_t cells = (uint64_t)b->heads * b->c / b->epc * (2 * b->dn + b->dv);
    need->host_bytes = 64 + cells * sizeof(uint32_t);
    need->host_align = 64;
    need->pinned_bytes = need->device_bytes = 0;
    need->pinned_align = need->device_align = 1;
    return ATTN_OK;
}

static attn_status
check_weight(const attn_builder *b, const attn_tensor *w, uint32_t rows, const char *name,
             attn_error *err)
{
    char text[160];
    if (!w)
        return attn_fail(err, ATTN_E_ARG, name, "missing");
    if (w->ndim == 3 && w->shape[0] == b->heads && w->shape[1] == rows && w->shape[2] == b->c &&
        cpu_type_of(w->dtype) == b->w_type)
        return ATTN_OK;
    snprintf(text, sizeof text, "not a tensor [%u, %u, %u] of the layer's weight_dtype", b->heads,
             rows, b->c);
    return attn_fail(err, ATTN_E_ARG, name, text);
}

attn_status
mla_layer_prepare(attn_builder *b, const attn_head *constants, const attn_binding *memory,
                  const attn_stream *stream, attn_prepared **layer, attn_error *err)
{
    (void)stream;
    const attn_mla_constants *k = (const attn_mla_constants *)constants;
    if (!k || k->head.struct_size < sizeof *k)
        return attn_fail(err, ATTN_E_ARG, "constants", "not an attn_mla_constants block");
    attn_status status = check_weight(b, k->w_uk, b->dn, "constants.w_uk", err);
    if (status == ATTN_OK)
        status = check_weight(b, k->w_uv, b->dv, "constants.w_uv", err);
    if (status != ATTN_OK)
        return status;
    if (!memory->host || (uintptr_t)memory->host % 64 != 0)
        return attn_fail(err, ATTN_E_WORKSPACE, "memory.host", "missing or not aligned to 64");
    attn_prepared *p = memory->host;
    uint32_t *dst = (uint32_t *)(void *)((char *)memory->host + 64);
    p->uk_expand = dst;
    dst = pack_all(b, k->w_uk, b->c, b->dn, 0, dst);
    p->uk_absorb = dst;
    dst = pack_all(b, k->w_uk, b->dn, b->c, 1, dst);
    p->uv = dst;
    pack_all(b, k->w_uv, b->c, b->dv, 0, dst);
    *layer = p;
    return ATTN_OK;
}
