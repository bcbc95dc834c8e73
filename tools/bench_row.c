/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "layer.h"
#include "rows.h"
#include <string.h>

static json_t *
row_times(const attn_times *t)
{
    json_t *row = json_object();
    json_object_set_new(row, "p50", out_real(t->p50));
    json_object_set_new(row, "p90", out_real(t->p90));
    json_object_set_new(row, "p99", out_real(t->p99));
    json_object_set_new(row, "min", out_real(t->min));
    json_object_set_new(row, "mean", out_real(t->mean));
    json_object_set_new(row, "count", out_int(t->count));
    return row;
}

json_t *
bench_shape(const attn_any_layer *any)
{
    const char *key = row_family(any->head.family);
    if (!strcmp(key, "flash"))
        return out_format("%u/%u d%u", any->flash.num_heads,
                          any->flash.num_kv_heads, any->flash.head_dim);
    if (!strcmp(key, "mla"))
        return out_format("%u c%u+%u", any->mla.num_heads,
                          any->mla.kv_lora_rank, any->mla.qk_rope_head_dim);
    if (!strcmp(key, "mamba2"))
        return out_format("%u p%u n%u", any->mamba2.num_heads,
                          any->mamba2.head_dim, any->mamba2.state_dim);
    if (!strcmp(key, "mamba1"))
        return out_format("%u n%u", any->mamba1.num_channels,
                          any->mamba1.state_dim);
    return out_text(key);
}

static json_t *
block_size(const attn_any_layer *any)
{
    const char *key = row_family(any->head.family);
    if (!strcmp(key, "flash"))
        return out_int(any->flash.block_size);
    if (!strcmp(key, "mla"))
        return out_int(any->mla.block_size);
    return json_null();
}

static json_t *
layout(const bench_cell *c)
{
    if (strcmp(row_family(c->layer.head.family), "flash"))
        return json_null();
    return out_text(c->is_turned ? "hnd" : "nhd");
}

static const char *
cache_name(uint32_t cache)
{
    return cache == ATTN_CACHE_WARM ? "warm" : "cold";
}

/* What memory gave beside the forwards, where that was seen: a share of what
 * it gave at another time says little on a machine with neighbours. */
static double
share_of(const bench_bound *bound, const attn_bench_result *r)
{
    if (!strcmp(bound->name, "bandwidth") && r->stream_bytes > 0)
        return r->cost.bytes / r->stream_bytes;
    return bound->seconds / (r->forward.p50 * 1e-6);
}

static void
add_roof(json_t *row, const attn_roof *measured, const bench_cell *c,
         const attn_bench_result *r)
{
    const char *type =
        c->arithmetic ? c->arithmetic : layer_dtype(&c->layer.head);
    attn_roof roof = *measured;
    if (r->read_bytes > 0)
        roof.read_bytes = r->read_bytes;
    const bench_bound bound =
        bench_bind(&roof, &r->cost, type, r->cache == ATTN_CACHE_WARM);
    const double seconds = r->forward.p50 * 1e-6;
    json_object_set_new(row, "arithmetic", out_text(type));
    json_object_set_new(row, "roof", out_text(bound.name));
    json_object_set_new(row, "roof_value",
                        bound.name ? out_real(bound.value) : json_null());
    json_object_set_new(row, "share",
                        bound.name && seconds > 0
                            ? out_real(share_of(&bound, r))
                            : json_null());
    json_object_set_new(row, "flops_per_s", out_real(r->cost.flops / seconds));
    json_object_set_new(row, "bytes_per_s", out_real(r->cost.bytes / seconds));
    json_object_set_new(row, "tokens_per_s",
                        out_real(r->cost.tokens / seconds));
}

json_t *
bench_row(const bench_cell *c, const attn_bench_result *r,
          const attn_roof *roof)
{
    json_t *row = json_object();
    json_object_set_new(row, "backend", out_text(c->entry->name));
    json_object_set_new(row, "device", out_text(c->entry->device));
    json_object_set_new(row, "batch", out_text(c->batch));
    json_object_set_new(row, "dtype", out_text(c->dtype));
    json_object_set_new(row, "shape", bench_shape(&c->layer));
    json_object_set_new(row, "block_size", block_size(&c->layer));
    json_object_set_new(row, "threads", out_int(c->threads));
    json_object_set_new(row, "cache", out_text(cache_name(r->cache)));
    json_object_set_new(row, "layout", layout(c));
    json_object_set_new(row, "graph", out_bool(c->use_graph != 0));
    json_object_set_new(row, "build_us", row_times(&r->build));
    json_object_set_new(row, "forward_us", row_times(&r->forward));
    add_roof(row, roof, c, r);
    json_object_set_new(row, "flops", out_real(r->cost.flops));
    json_object_set_new(row, "bytes", out_real(r->cost.bytes));
    json_object_set_new(row, "cache_bytes", out_real(r->copies_bytes));
    json_object_set_new(row, "max_error", out_real(r->verdict.max_error));
    json_object_set_new(row, "bound_max", out_real(r->verdict.bound_max));
    json_object_set_new(row, "layer", row_layer(&c->layer.head));
    return row;
}
