/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include "verify/problem.h"

/* Of a scan in chunks; products inside a chunk grow with it, so a model's
 * chunk_size, often longer, would count work that nobody has to do. */
#define SCAN_CHUNK 64

static double
bytes_of(const attn_problem *p, const char *name)
{
    const attn_call_tensor *t = attn_call_find(p->call, name);
    return t ? (double)t->bytes : 0;
}

/* Visible pairs of request r, and the keys that any of its queries sees. */
static double
count_pairs(const attn_problem *p, uint32_t r, double *keys)
{
    const uint32_t q = attn_problem_query(p, r);
    int64_t first = INT64_MAX, last = 0;
    double pairs = 0;
    for (uint32_t i = 0; i < q; i++) {
        const int64_t pos = attn_problem_position(p, r, i);
        int64_t lo, hi;
        attn_problem_span(p, r, pos, &lo, &hi);
        first = lo < first ? lo : first;
        last = hi > last ? hi : last;
        pairs += (double)attn_problem_count(p, r, pos);
    }
    *keys = last > first ? (double)(last - first) : 0;
    return pairs;
}

static void
cost_flash(const attn_problem *p, attn_cost *c)
{
    const attn_flash_layer *l = attn_problem_flash(p);
    const double d = (double)l->head_dim + l->head_dim_v;
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        double keys;
        c->flops += 2 * d * l->num_heads * count_pairs(p, r, &keys);
        c->bytes += keys * l->num_kv_heads * d * l->kv_dtype.bits / 8;
    }
    c->bytes += bytes_of(p, "q") + (double)p->num_tokens * l->num_heads *
                                       l->head_dim_v * l->out_dtype.bits / 8;
}

/* Absorbed or expanded, whichever takes fewer operations for the request. */
static void
cost_mla(const attn_problem *p, attn_cost *c)
{
    const attn_mla_layer *l = attn_problem_mla(p);
    const double h = l->num_heads, rank = l->kv_lora_rank,
                 dn = l->qk_nope_head_dim, dr = l->qk_rope_head_dim,
                 dv = l->v_head_dim;
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        double keys;
        const double pairs = count_pairs(p, r, &keys);
        const double absorbed =
            2 * h *
            (pairs * (2 * rank + dr) +
             (double)attn_problem_query(p, r) * rank * (dn + dv));
        const double expanded =
            2 * h * (pairs * (dn + dr + dv) + keys * rank * (dn + dv));
        c->flops += absorbed < expanded ? absorbed : expanded;
        c->bytes += keys * (rank + dr) * l->kv_dtype.bits / 8;
    }
    c->bytes += bytes_of(p, "q_nope") + bytes_of(p, "q_pe") +
                bytes_of(p, "w_uk") + bytes_of(p, "w_uv") +
                (double)p->num_tokens * h * dv * l->out_dtype.bits / 8;
}

/* Requests that carry a state, and those that write one. */
static double
state_traffic(const attn_problem *p)
{
    const double slots = p->num_blocks ? p->num_blocks : 1;
    const double one =
        (bytes_of(p, "ssm_state") + bytes_of(p, "conv_state")) / slots;
    double n = 0;
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        const uint32_t q = attn_problem_query(p, r);
        if (q)
            n += 1 + ((uint32_t)p->seq_lens[r] > q);
    }
    return n * one;
}

static void
cost_mamba2(const attn_problem *p, attn_cost *c)
{
    const attn_mamba2_layer *l = attn_problem_mamba2(p);
    const double h = l->num_heads, d = l->head_dim, n = l->state_dim,
                 g = l->num_groups;
    const double channels = h * d + 2 * g * n;
    for (uint32_t r = 0; r < p->num_reqs; r++) {
        const double q = attn_problem_query(p, r);
        const double chunk = q < SCAN_CHUNK ? q : SCAN_CHUNK;
        c->flops += q * 2 * channels * l->conv_width;
        c->flops += q > 1 ? q * (chunk * (n * g + d * h) + 4 * h * d * n)
                          : q * 5 * h * d * n;
    }
    c->bytes = bytes_of(p, "xbc") + bytes_of(p, "dt") + bytes_of(p, "z") +
               (double)p->num_tokens * h * d * l->out_dtype.bits / 8 +
               state_traffic(p);
}

static void
cost_mamba1(const attn_problem *p, attn_cost *c)
{
    const attn_mamba1_layer *l = attn_problem_mamba1(p);
    const double channels = l->num_channels;
    c->flops = (double)p->num_tokens * channels *
               (2.0 * l->conv_width + 5.0 * l->state_dim);
    c->bytes = bytes_of(p, "x") + bytes_of(p, "dt") + bytes_of(p, "b") +
               bytes_of(p, "c") + bytes_of(p, "z") +
               (double)p->num_tokens * channels * l->out_dtype.bits / 8 +
               state_traffic(p);
}

void
attn_call_cost(const attn_call *call, attn_cost *cost)
{
    attn_problem p;
    *cost = (attn_cost){.struct_size = sizeof *cost};
    if (attn_problem_read(&p, call, NULL))
        return;
    if (p.kind == ATTN_KIND_FLASH)
        cost_flash(&p, cost);
    else if (p.kind == ATTN_KIND_MLA)
        cost_mla(&p, cost);
    else if (p.kind == ATTN_KIND_MAMBA2)
        cost_mamba2(&p, cost);
    else
        cost_mamba1(&p, cost);
    cost->tokens = (double)p.query_start_loc[p.num_reqs];
    attn_problem_clear(&p);
}
