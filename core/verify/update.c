/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/oracle.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* One stretch of a cache row: `size` elements from tensor `from`. */
typedef struct stretch {
    const char *from;
    const char *scale; /* of the heads, NULL: none */
    size_t size;       /* elements in a row */
    size_t head;       /* elements that share one scale */
} stretch;

static const char *
cache_name(const attn_problem *p, int part)
{
    return p->kind == ATTN_KIND_MLA ? "kv_cache" : part ? "v_cache" : "k_cache";
}

size_t
attn_cache_row(const attn_problem *p, int part, attn_dtype *dtype)
{
    const attn_call_tensor *t = attn_call_find(p->call, cache_name(p, part));
    size_t n = 1;
    for (uint32_t i = 2; i < t->ndim; i++)
        n *= (size_t)t->shape[i];
    *dtype = t->dtype;
    return n;
}

static int
is_fp8(attn_dtype t)
{
    return t.code == ATTN_CODE_FP8_E4M3FN || t.code == ATTN_CODE_FP8_E5M2;
}

static void
write_stretch(const attn_problem *p, const stretch *s, uint8_t *cache,
              size_t row_bytes, size_t offset, attn_dtype dtype, double *tmp)
{
    const attn_call_tensor *x = attn_call_find(p->call, s->from);
    const attn_call_tensor *scale =
        s->scale && is_fp8(dtype) ? attn_call_find(p->call, s->scale) : NULL;
    const size_t elem = dtype.bits / 8u, in = x->dtype.bits / 8u;
    for (uint32_t t = 0; t < p->num_tokens; t++) {
        if (p->slot_mapping[t] < 0)
            continue;
        attn_number_load(tmp, (const uint8_t *)x->data + t * s->size * in,
                         x->dtype, s->size);
        for (size_t i = 0; scale && i < s->size; i++)
            tmp[i] = (double)((float)tmp[i] /
                              ((const float *)scale->data)[i / s->head]);
        attn_number_store(cache + (size_t)p->slot_mapping[t] * row_bytes +
                              offset * elem,
                          tmp, dtype, s->size);
    }
}

static size_t
stretches(const attn_problem *p, int part, stretch *s)
{
    if (p->kind == ATTN_KIND_MLA) {
        const attn_mla_layer *l = attn_problem_mla(p);
        s[0] =
            (stretch){"latent", "kv_scale", l->kv_lora_rank, l->kv_lora_rank};
        s[1] = (stretch){"k_pe", "kv_scale", l->qk_rope_head_dim,
                         l->qk_rope_head_dim};
        return 2;
    }
    const attn_flash_layer *l = attn_problem_flash(p);
    const size_t d = part ? l->head_dim_v : l->head_dim;
    s[0] = (stretch){part ? "v" : "k", part ? "v_scale" : "k_scale",
                     l->num_kv_heads * d, d};
    return 1;
}

attn_status
attn_cache_updated(const attn_problem *p, int part, const void **cache,
                   void **owned, attn_error *err)
{
    const attn_call_tensor *t = attn_call_find(p->call, cache_name(p, part));
    attn_dtype dtype;
    const size_t row = attn_cache_row(p, part, &dtype);
    *cache = t->data;
    *owned = NULL;
    if (!p->has_new)
        return ATTN_OK;
    uint8_t *copy = malloc(t->bytes + 1);
    double *tmp = malloc((row + 1) * sizeof *tmp);
    if (!copy || !tmp) {
        free(copy);
        free(tmp);
        return attn_error_nomem(err, t->name, t->bytes);
    }
    memcpy(copy, t->data, t->bytes);
    stretch s[2];
    const size_t n = stretches(p, part, s);
    for (size_t i = 0, offset = 0; i < n; offset += s[i++].size)
        write_stretch(p, &s[i], copy, row * (dtype.bits / 8u), offset, dtype,
                      tmp);
    free(tmp);
    *cache = *owned = copy;
    return ATTN_OK;
}
