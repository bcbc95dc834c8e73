/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_builders.h"

#include "layer.h"
#include <stdio.h>
#include <string.h>

static const cli_pair flash[] = {
    {"heads", "32/8"}, {"head_dim", "128"}, {"dtype", "f32"}};
static const cli_pair mla[] = {{"heads", "16"}, {"dtype", "f32"}};
static const cli_pair mamba2[] = {{"heads", "24"}, {"dtype", "f32"}};
static const cli_pair mamba1[] = {{"num_channels", "256"}, {"dtype", "f32"}};

static const struct typical {
    const char *key;
    const cli_pair *pairs;
    size_t count;
} typical[] = {
    {"flash", flash, CLI_COUNT(flash)},
    {"mla", mla, CLI_COUNT(mla)},
    {"mamba2", mamba2, CLI_COUNT(mamba2)},
    {"mamba1", mamba1, CLI_COUNT(mamba1)},
};

const attn_entry *
bench_builder_next(const host *h, size_t *index)
{
    while (*index < attn_registry_count(h->registry)) {
        const attn_entry *entry = attn_registry_at(h->registry, (*index)++);
        if (entry->state == ATTN_STATE_READY &&
            entry->device_type == ATTN_DEVICE_CPU &&
            attn_family_find(entry->family))
            return entry;
    }
    return NULL;
}

static int
make_layer(const attn_entry *entry, uint32_t block_size, attn_any_layer *layer)
{
    const char *key = attn_family_find(entry->family)->key;
    attn_error err = CLI_ERROR_INIT;
    char text[16];
    int rc = CLI_UNUSABLE;

    for (size_t i = 0; i < CLI_COUNT(typical); i++)
        if (!strcmp(typical[i].key, key))
            rc = layer_make(typical[i].pairs, typical[i].count, key, layer);
    if (rc != CLI_OK || !strncmp(key, "mamba", 5))
        return rc;
    snprintf(text, sizeof text, "%u", block_size);
    if (attn_layer_set(layer, "block_size", text, &err) ||
        attn_layer_finish(layer, &err))
        return cli_fail_error(&err);
    return CLI_OK;
}

/* A recurrent layer takes the first column of the table as its states. */
static void
make_group(const attn_entry *entry, const batch_made *made, attn_kv_group *kv)
{
    *kv = made->group;
    if (strncmp(attn_family_find(entry->family)->key, "mamba", 5))
        return;
    kv->flags = ATTN_KV_STATE;
    kv->block_size = 0;
    kv->block_table_cols = 1;
    kv->slot_mapping = NULL;
}

int
bench_builder_open(const host *h, const attn_entry *entry,
                   const batch_made *made, bench_builder *b)
{
    const attn_batch *batch = &made->batch;
    attn_error err = CLI_ERROR_INIT;
    attn_any_layer layer;
    attn_limits limits = {.struct_size = sizeof limits,
                          .max_reqs = batch->num_reqs,
                          .max_tokens = batch->num_tokens,
                          .max_query_len = batch->max_query_len,
                          .max_seq_len = batch->max_seq_len,
                          .max_blocks_per_req = made->group.block_table_cols,
                          .num_threads = 1,
                          .steps_in_flight = 1};
    attn_group_params params = {.struct_size = sizeof params,
                                .layer_index = ATTN_LAYER_INDEX_NONE,
                                .layer = &layer.head,
                                .limits = &limits,
                                .backend = entry->name};
    int rc;

    *b = (bench_builder){.entry = entry, .made = made};
    rc = make_layer(entry, made->group.block_size, &layer);
    if (rc != CLI_OK)
        return rc;
    make_group(entry, made, &b->kv);
    if (attn_session_create(h->registry, &b->session, &err) ||
        attn_group_create(b->session, &params, &b->group, &err))
        return cli_fail_error(&err);
    return CLI_OK;
}

attn_status
bench_builder_run(bench_builder *b, attn_error *err)
{
    return attn_group_build(b->group, &b->made->batch, &b->kv, NULL, err);
}

void
bench_builder_close(bench_builder *b)
{
    if (b->session)
        attn_session_destroy(b->session);
}
