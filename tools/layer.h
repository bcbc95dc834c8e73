/* SPDX-License-Identifier: Apache-2.0 */
/* layer.h - a layer from the options of the command line, one or a grid. */
#ifndef LAYER_H
#define LAYER_H

#include "cli.h"

/* Builds the finished layer of pairs (field or convenience spelling, value).
 * family: key or id to take when the pairs name none; NULL: flash. CLI_OK or
 * CLI_USAGE after the message. */
int layer_make(const cli_pair *pairs, size_t count, const char *family,
               attn_any_layer *layer);

/* The type the layer's inputs have: q_dtype or x_dtype. Static text. */
const char *layer_dtype(const attn_layer *layer);

/* Axes of a grid: each value that is a comma list becomes an axis. */
typedef struct grid {
    struct grid_axis {
        const char *name;
        char **parts;
        size_t count;
    } * axes;
    size_t num_axes;
    size_t num_cells; /* product */
} grid;

/* An axis more; of one name the last counts. text NULL adds nothing. CLI_OK or
 * an exit code. */
int grid_add(grid *g, const char *name, const char *text);
/* The value of an axis in one cell; the axis added last turns fastest. NULL
 * when there is no such axis. */
const char *grid_value(const grid *g, size_t cell, const char *name);
void grid_free(grid *g);

#endif /* LAYER_H */
