/* SPDX-License-Identifier: Apache-2.0 */
#include "flash_problem.h"

#include <math.h>
#include <string.h>

#include "small_float.h"

static void
fill_cache(problem *p, array *a, int width)
{
    const spec *c = p->c;
    memset(a->host, 0xFF, a->bytes); /* NaN in every type here */
    for (int r = 0; r < c->reqs; r++)
        for (int j = 0; j < c->s[r]; j++)
            for (int h = 0; h < c->kv_heads; h++)
                for (int d = 0; d < width; d++) {
                    const int32_t b =
                        ((int32_t *)p->table.host)[r * p->cols + j / c->block];
                    const int64_t i = array_at(a, b, j % c->block, h, d);
                    if (c->kv)
                        ((uint8_t *)a->host)[i] =
                            (uint8_t)((uint32_t)(draw() < 0 ? 0x80 : 0) |
                                      (uint32_t)((c->kv == 1 ? 40 : 52) +
                                                 10 * draw()));
                    else
                        ((uint16_t *)a->host)[i] =
                            half_of(1.5 * draw(), c->bf16);
                }
    array_upload(a);
}

static void
fill_metadata(problem *p)
{
    const spec *c = p->c;
    int32_t *table = p->table.host, next = 0;
    for (int r = 0; r < c->reqs; r++) {
        ((int32_t *)p->qsl.host)[r] = p->start[r];
        ((int32_t *)p->lens.host)[r] = c->s[r];
        ((uint8_t *)p->causal.host)[r] = (uint8_t)(r % 2 == 0);
        for (int j = 0; j < p->cols;
             j++) /* pages backwards, one free page between requests */
            table[r * p->cols + j] =
                j * c->block < c->s[r] ? p->blocks - 1 - next++ : 0x7FFFFFFF;
        next++;
        int32_t *range = (int32_t *)p->ranges.host + 4 * r;
        range[0] = 5, range[1] = 70, range[2] = range[3] = -1;
        for (int t = 0; t < c->q[r] && !c->cross; t++) {
            const int pos = c->s[r] - c->q[r] + t;
            ((int64_t *)p->slots.host)[p->start[r] + t] =
                (int64_t)table[r * p->cols + pos / c->block] * c->block +
                pos % c->block;
        }
    }
    ((int32_t *)p->qsl.host)[c->reqs] = p->tokens;
    for (int h = 0; h < c->heads; h++) {
        ((float *)p->sinks.host)[h] = (float)draw();
        ((float *)p->slopes.host)[h] = 0.1f * (float)(h + 1);
    }
    for (int h = 0; h < c->kv_heads; h++) {
        ((float *)p->k_scale.host)[h] = 0.5f + 0.25f * (float)h;
        ((float *)p->v_scale.host)[h] = 2.0f - 0.25f * (float)h;
    }
    array *all[] = {&p->table, &p->qsl,   &p->lens,   &p->causal,  &p->ranges,
                    &p->slots, &p->sinks, &p->slopes, &p->k_scale, &p->v_scale};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        array_upload(all[i]);
}

static void
make_layer(problem *p)
{
    const spec *c = p->c;
    const attn_dtype half[2] = {ATTN_F16, ATTN_BF16},
                     fp8[3] = {ATTN_F16, ATTN_E4M3, ATTN_E5M2};
    p->layer = (attn_flash_layer){
        .head = {sizeof p->layer, 0, ATTN_FAMILY_FLASH, ATTN_F_LSE},
        .num_heads = (uint32_t)c->heads,
        .num_kv_heads = (uint32_t)c->kv_heads,
        .head_dim = (uint32_t)c->d,
        .head_dim_v = (uint32_t)c->dv,
        .block_size = (uint32_t)c->block,
        .causal = (uint32_t)c->causal,
        .q_dtype = half[c->bf16],
        .kv_dtype = c->kv ? fp8[c->kv] : half[c->bf16],
        .out_dtype = half[c->bf16],
        .scale = 1.0f / sqrtf((float)c->d),
        .softcap = c->softcap,
        .window_left = c->left,
        .window_right = c->right,
    };
}

void
problem_make(problem *p, const spec *c)
{
    *p = (problem){.c = c};
    p->cols = 1;
    for (int r = 0; r < c->reqs; r++) {
        const int pages = (c->s[r] + c->block - 1) / c->block;
        p->start[r] = p->tokens;
        p->tokens += c->q[r];
        p->cols = pages + 1 > p->cols ? pages + 1 : p->cols;
        p->blocks += pages + 1;
    }
    make_layer(p);
    const int64_t q[3] = {p->tokens, c->heads, c->d},
                  o[3] = {p->tokens, c->heads, c->dv};
    const int64_t k[4] = {p->blocks, c->block, c->kv_heads, c->d};
    const int64_t v[4] = {p->blocks, c->block, c->kv_heads, c->dv};
    const int64_t hk[1] = {c->kv_heads}, h[1] = {c->heads},
                  r1[1] = {c->reqs + 1}, r[1] = {c->reqs};
    const int64_t table[2] = {c->reqs, p->cols}, t[1] = {p->tokens},
                  g[3] = {c->reqs, 2, 2};
    const int64_t nk[3] = {p->tokens, c->kv_heads, c->d},
                  nv[3] = {p->tokens, c->kv_heads, c->dv};
    const attn_dtype f32 = ATTN_F32, i32 = ATTN_I32, i64 = ATTN_I64,
                     u8 = ATTN_U8;
    array_make(&p->q, p->layer.q_dtype, 3, q, c->odd);
    array_make(&p->out, p->layer.q_dtype, 3, o, c->odd);
    array_make(&p->new_k, p->layer.q_dtype, 3, nk, c->odd);
    array_make(&p->new_v, p->layer.q_dtype, 3, nv, c->odd);
    array_make(&p->k, p->layer.kv_dtype, 4, k, c->odd);
    array_make(&p->v, p->layer.kv_dtype, 4, v, c->odd);
    array_make(&p->lse, f32, 2, q, 0);
    array_make(&p->qsl, i32, 1, r1, 0);
    array_make(&p->lens, i32, 1, r, 0);
    array_make(&p->table, i32, 2, table, 0);
    array_make(&p->slots, i64, 1, t, 0);
    array_make(&p->causal, u8, 1, r, 0);
    array_make(&p->ranges, i32, 3, g, 0);
    array_make(&p->sinks, f32, 1, h, 0);
    array_make(&p->slopes, f32, 1, h, 0);
    array_make(&p->k_scale, f32, 1, hk, 0);
    array_make(&p->v_scale, f32, 1, hk, 0);
    for (size_t i = 0; i < p->q.bytes / 2; i++)
        ((uint16_t *)p->q.host)[i] = half_of(1.5 * draw(), c->bf16);
    array_upload(&p->q);
    fill_metadata(p);
    fill_cache(p, &p->k, c->d);
    fill_cache(p, &p->v, c->dv);
}

void
problem_drop(problem *p)
{
    array *all[] = {&p->q,       &p->k,      &p->v,      &p->new_k, &p->new_v,
                    &p->out,     &p->lse,    &p->qsl,    &p->lens,  &p->table,
                    &p->slots,   &p->causal, &p->ranges, &p->sinks, &p->slopes,
                    &p->k_scale, &p->v_scale};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        array_drop(all[i]);
}

void
problem_poison_outputs(problem *p)
{
    array_fill(&p->out, 0xFF);
    array_fill(&p->lse, 0xFF);
}

void
problem_layer_make(gpu_layer *n, const problem *p)
{
    const attn_limits limits = {sizeof limits,       8,    512, 512,
                                PROBLEM_MAX_SEQ,     1024, 1,   2,
                                ATTN_CAPTURE_ALWAYS, 0};
    const attn_flash_constants constants = {{sizeof constants, 0},
                                            p->c->sinks ? &p->sinks.t : NULL,
                                            p->c->slopes ? &p->slopes.t : NULL};
    gpu_layer_make(n, &p->layer.head, &limits, &constants.head);
}

attn_status
problem_build(const problem *p, const gpu_layer *n)
{
    const spec *c = p->c;
    const attn_ext_prefix_ranges ranges = {
        {sizeof ranges, 0, ATTN_EXT_PREFIX_RANGES, NULL},
        2,
        0,
        p->ranges.host,
        &p->ranges.t};
    const attn_batch batch = {.struct_size = sizeof batch,
                              .flags = c->cross ? ATTN_BATCH_CROSS : 0,
                              .num_reqs = (uint32_t)c->reqs,
                              .num_tokens = (uint32_t)p->tokens,
                              .max_query_len = 512,
                              .max_seq_len = 1024,
                              .query_start_loc_device = &p->qsl.t,
                              .seq_lens_device = &p->lens.t,
                              .causal = c->per_request ? p->causal.host : NULL,
                              .causal_device =
                                  c->per_request ? &p->causal.t : NULL,
                              .ext = c->ranges ? &ranges.head : NULL};
    const attn_kv_group group = {.struct_size = sizeof group,
                                 .block_size = (uint32_t)c->block,
                                 .num_blocks = (uint32_t)p->blocks,
                                 .block_table_cols = (uint32_t)p->cols,
                                 .block_table_stride = p->cols,
                                 .block_table_device = &p->table.t,
                                 .slot_mapping_device = &p->slots.t};
    return gpu.op->build(n->builder, &batch, &group, &gpu.stream, &gpu.err);
}

attn_status
problem_forward(problem *p, const gpu_layer *n)
{
    const attn_flash_forward args = {{sizeof args, 0},
                                     gpu.stream,
                                     n->prepared,
                                     &p->q.t,
                                     &p->k.t,
                                     &p->v.t,
                                     p->c->kv ? &p->k_scale.t : NULL,
                                     p->c->kv ? &p->v_scale.t : NULL,
                                     &p->out.t,
                                     &p->lse.t};
    return gpu.op->forward(n->builder, &args.head, &gpu.err);
}
