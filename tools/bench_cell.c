/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_cell.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layers of known models, for who names no field. */
static const struct default_layer {
    const char *family;
    cli_pair pairs[2];
} default_layers[] = {
    {"flash", {{"heads", "32/8"}, {"head_dim", "128"}}},
    {"mla", {{"heads", "16"}, {"kv_lora_rank", "512"}}},
    {"mamba2", {{"heads", "64"}, {"head_dim", "64"}}},
    {"mamba1", {{"num_channels", "4096"}, {"state_dim", "16"}}},
};

/* Adds them to pairs unless a field is named. Returns the new count. */
static size_t
add_defaults(cli_pair *pairs, size_t count, const char *family)
{
    const attn_family *f;
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(pairs[i].name, "family"))
            family = pairs[i].value;
        else if (strcmp(pairs[i].name, "dtype"))
            return count;
    }
    f = attn_family_find(family ? family : "flash");
    for (size_t i = 0; f && i < CLI_COUNT(default_layers); i++)
        if (!strcmp(default_layers[i].family, f->key)) {
            pairs[count++] = default_layers[i].pairs[0];
            pairs[count++] = default_layers[i].pairs[1];
        }
    return count;
}

int
bench_cell_layer(const cli_args *args, const grid *g, size_t index,
                 const char *family, attn_any_layer *layer)
{
    cli_pair *pairs = calloc(args->num_layer + 2, sizeof *pairs);
    if (!pairs)
        return cli_fail(CLI_INTERNAL, "out of memory");
    for (size_t i = 0; i < args->num_layer; i++) {
        pairs[i] = args->layer[i];
        if (strcmp(pairs[i].name, "feature"))
            pairs[i].value = grid_value(g, index, pairs[i].name);
    }
    const size_t count = add_defaults(pairs, args->num_layer, family);
    const int rc = layer_make(pairs, count, family, layer);
    free(pairs);
    return rc;
}

/* Whether a block's tokens of a head follow each other. */
static uint32_t
is_head_by_head(const attn_kv_spec *spec)
{
    const attn_cache_spec *k = &spec->caches[0];
    return spec->num_caches && k->ndim == 3 && k->strides[1] > k->strides[0];
}

int
bench_cell_pages(const grid *g, const attn_entry *entry, attn_any_layer *layer,
                 uint32_t *is_turned)
{
    attn_kv_spec spec = {.struct_size = sizeof spec};
    attn_error err = CLI_ERROR_INIT;
    char text[16];
    if (attn_kv_spec_get(entry, &layer->head, &spec, NULL))
        return CLI_OK; /* a layer it refuses is told of when it is run */
    snprintf(text, sizeof text, "%u", spec.preferred_block_size);
    if (!grid_value(g, 0, "block_size") && spec.preferred_block_size &&
        (attn_layer_set(layer, "block_size", text, &err) ||
         attn_layer_finish(layer, &err) ||
         attn_kv_spec_get(entry, &layer->head, &spec, &err)))
        return cli_fail_error(&err);
    *is_turned = is_head_by_head(&spec);
    return CLI_OK;
}

attn_status
bench_cell_time(attn_registry *registry, const bench_cell *c,
                const bench_how *how, attn_bench_result *r, attn_error *err)
{
    attn_bench *bench = NULL;
    const attn_bench_params params = {
        .struct_size = sizeof params,
        .num_reqs = c->num_reqs,
        .layer = &c->layer.head,
        .requests = c->requests,
        .num_threads = c->threads,
        .cache = c->cache,
        .seed = how->seed,
        .is_turned = c->is_turned,
        .use_graph = c->use_graph,
        .num_readers = how->with_reads ? c->threads : 0,
    };
    cli_progress("%s %s %s threads %u", c->entry->name, c->batch, c->dtype,
                 c->threads);
    *r = (attn_bench_result){.struct_size = sizeof *r};
    attn_status s = attn_bench_create(registry, c->entry, &params, &bench, err);
    if (s)
        return s;
    s = attn_bench_measure(bench, how->seconds, r, err);
    attn_bench_destroy(bench);
    return s;
}
