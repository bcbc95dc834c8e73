/* SPDX-License-Identifier: Apache-2.0 */
/* mla_tile.h - a tile of query rows, and what it has gathered so far. */
#ifndef ATTN_MLA_CPU_MLA_TILE_H
#define ATTN_MLA_CPU_MLA_TILE_H

#include "common/cpu/gemm_convert.h"
#include "mla/cpu/mla.h"

/* A tile of query rows and what they have gathered so far. */
typedef struct core_tile {
    const uint32_t *panel; /* B: [k][width] */
    size_t rows, width;    /* width: rows up to a multiple of 16; narrow: 8 or 16 */
    int narrow;            /* scores as mla_narrow.h makes them */
    size_t k;              /* cells of a query row */
    size_t vcols;
    float scale2; /* scores to log2 units */
    int32_t limit[MLA_ROWS];
    int32_t least_limit, most_limit;
    int fresh; /* out holds nothing yet */
    float *out;
    ptrdiff_t out_row;
    float *max, *sum; /* [width], [VL] at least */
    float *scores;    /* [key_tile][width] */
    uint32_t *probs;  /* [key_tile / EPC][width] */
    float alpha[MLA_ROWS];
} core_tile;

static void
core_limits(core_tile *t)
{
    t->least_limit = INT32_MAX;
    t->most_limit = 0;
    for (size_t i = 0; i < t->rows; i++) {
        if (t->limit[i] < t->least_limit)
            t->least_limit = t->limit[i];
        if (t->limit[i] > t->most_limit)
            t->most_limit = t->limit[i];
    }
    for (size_t i = t->rows; i < t->width; i++)
        t->limit[i] = t->limit[t->rows - 1];
}

static void
core_reset(core_tile *t)
{
    t->fresh = 1;
    for (size_t i = 0; i < t->width || i < VL; i++) {
        t->max[i] = MLA_UNSEEN;
        t->sum[i] = 0.0f;
    }
}

/* Row i of the panel from a row of cells. In narrow tiles four cells of a row
 * stand side by side, beside them those of the row width / 4 further on. */
static void
core_panel_row(const core_tile *t, uint32_t *panel, size_t i, const uint32_t *cells)
{
    if (t->narrow) {
        const size_t groups = t->width / 4;
        uint32_t *at = panel + i % groups * 16 + i / groups * 4;
        for (size_t x = 0; x < t->k; x += 4, at += 4 * t->width)
            memcpy(at, cells + x, 4 * sizeof *at);
        return;
    }
    for (size_t x = 0; x < t->k; x++)
        panel[x * t->width + i] = cells[x];
}

GEMM_INLINE vf
core_prob(const float *s, vf scale, vf max)
{
    return vf_exp2(vf_max(vf_set(-160.0f), vf_load(s) * scale - max));
}

#endif /* ATTN_MLA_CPU_MLA_TILE_H */
