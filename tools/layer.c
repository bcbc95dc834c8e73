/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const attn_field *
field_of(const attn_family *family, const char *name)
{
    for (uint32_t i = 0; i < family->num_fields; i++)
        if (!strcmp(family->fields[i].name, name))
            return &family->fields[i];
    return NULL;
}

static int
set(attn_any_layer *layer, const char *name, const char *text)
{
    attn_error err = CLI_ERROR_INIT;
    if (attn_layer_set(layer, name, text, &err))
        return cli_fail_error(&err);
    return CLI_OK;
}

/* "32/8": query and KV heads; "32": the same number of both. */
static int
set_heads(const attn_family *family, attn_any_layer *layer, const char *text)
{
    char heads[32];
    const size_t n = strcspn(text, "/");
    if (n >= sizeof heads || (text[n] && !text[n + 1]))
        return cli_fail(CLI_USAGE, "--heads: '%s' is no H or H/KV", text);
    snprintf(heads, sizeof heads, "%.*s", (int)n, text);
    const char *kv = text[n] ? text + n + 1 : heads;
    if (!field_of(family, "num_heads"))
        return cli_fail(CLI_USAGE, "--heads: a layer of %s has no heads",
                        family->key);
    int rc = set(layer, "num_heads", heads);
    if (rc != CLI_OK)
        return rc;
    if (field_of(family, "num_kv_heads"))
        return set(layer, "num_kv_heads", kv);
    if (text[n])
        return cli_fail(CLI_USAGE, "--heads: '%s': %s has no KV heads", text,
                        family->key);
    return CLI_OK;
}

/* The types that no option names follow the inputs'. */
static int
set_dtype(const attn_family *family, attn_any_layer *layer, const char *text)
{
    static const char *const inputs[] = {"q_dtype", "x_dtype"};
    int rc = CLI_OK;
    for (size_t i = 0; i < CLI_COUNT(inputs) && rc == CLI_OK; i++)
        if (field_of(family, inputs[i]))
            rc = set(layer, inputs[i], text);
    return rc;
}

static int
set_feature(attn_any_layer *layer, const char *text)
{
    const uint64_t bit = attn_feature_parse(text);
    if (!bit)
        return cli_fail(CLI_USAGE, "--feature: no feature '%s'", text);
    layer->head.features |= bit;
    return CLI_OK;
}

static int
find_family(const cli_pair *pairs, size_t count, const char *family,
            const attn_family **found)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(pairs[i].name, "family"))
            family = pairs[i].value;
    *found = attn_family_find(family ? family : "flash");
    if (*found)
        return CLI_OK;
    return cli_fail(CLI_USAGE,
                    "--family: no family '%s'; flash, mla, mamba2 and mamba1 "
                    "are known",
                    family);
}

static int
apply(const attn_family *family, attn_any_layer *layer, const cli_pair *pair,
      int spelling)
{
    const char *name = pair->name;
    if (!strcmp(name, "family"))
        return CLI_OK;
    if (!strcmp(name, "heads"))
        return spelling ? set_heads(family, layer, pair->value) : CLI_OK;
    if (!strcmp(name, "dtype"))
        return spelling ? set_dtype(family, layer, pair->value) : CLI_OK;
    if (!strcmp(name, "feature"))
        return spelling ? set_feature(layer, pair->value) : CLI_OK;
    return spelling ? CLI_OK : set(layer, name, pair->value);
}

int
layer_make(const cli_pair *pairs, size_t count, const char *family_name,
           attn_any_layer *layer)
{
    const attn_family *family;
    attn_error err = CLI_ERROR_INIT;
    int rc = find_family(pairs, count, family_name, &family);
    if (rc != CLI_OK)
        return rc;
    attn_layer_init(family, layer);
    for (int spelling = 1; spelling >= 0; spelling--)
        for (size_t i = 0; i < count && rc == CLI_OK; i++)
            rc = apply(family, layer, &pairs[i], spelling);
    if (rc == CLI_OK && attn_layer_finish(layer, &err))
        rc = cli_fail_error(&err);
    return rc;
}

const char *
layer_dtype(const attn_layer *layer)
{
    const attn_any_layer *any = (const void *)layer;
    const attn_family *family = attn_family_find(layer->family);
    if (!family)
        return "?";
    if (!strcmp(family->key, "flash"))
        return attn_dtype_str(any->flash.q_dtype);
    if (!strcmp(family->key, "mla"))
        return attn_dtype_str(any->mla.q_dtype);
    if (!strcmp(family->key, "mamba2"))
        return attn_dtype_str(any->mamba2.x_dtype);
    return attn_dtype_str(any->mamba1.x_dtype);
}

/* The axis of this name, or a new one. */
static struct grid_axis *
axis_of(grid *g, const char *name)
{
    for (size_t i = 0; i < g->num_axes; i++)
        if (!strcmp(g->axes[i].name, name))
            return &g->axes[i];
    struct grid_axis *axes =
        realloc(g->axes, (g->num_axes + 1) * sizeof *g->axes);
    if (!axes)
        return NULL;
    g->axes = axes;
    axes[g->num_axes] = (struct grid_axis){.name = name};
    return &axes[g->num_axes++];
}

int
grid_add(grid *g, const char *name, const char *text)
{
    char shown[64];
    if (!text)
        return CLI_OK;
    struct grid_axis *axis = axis_of(g, name);
    if (!axis)
        return cli_fail(CLI_INTERNAL, "out of memory");
    free(axis->parts);
    *axis = (struct grid_axis){.name = name};
    snprintf(shown, sizeof shown, "--%s", name);
    for (char *p = shown; *p; p++)
        if (*p == '_')
            *p = '-';
    const int rc = cli_split(shown, text, &axis->parts, &axis->count);
    if (rc != CLI_OK)
        return rc;
    g->num_cells = 1;
    for (size_t i = 0; i < g->num_axes; i++) {
        if (g->num_cells > 100000 / g->axes[i].count)
            return cli_fail(CLI_USAGE, "the grid has more than 100000 cells");
        g->num_cells *= g->axes[i].count;
    }
    return CLI_OK;
}

const char *
grid_value(const grid *g, size_t cell, const char *name)
{
    for (size_t i = g->num_axes; i-- > 0;) {
        const struct grid_axis *axis = &g->axes[i];
        if (!strcmp(axis->name, name))
            return axis->parts[cell % axis->count];
        cell /= axis->count;
    }
    return NULL;
}

void
grid_free(grid *g)
{
    for (size_t i = 0; i < g->num_axes; i++)
        free(g->axes[i].parts);
    free(g->axes);
    *g = (grid){0};
}
