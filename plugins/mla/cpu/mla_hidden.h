/* SPDX-License-Identifier: Apache-2.0 */
/* mla_hidden.h - values that are not finite, in a tile that not every row sees.
 *
 * A row's probability of a key that it must not see is 0, and 0 times infinity
 * or NaN is NaN. Such values are taken for zeros in the product of the tile,
 * and then added to the rows that see them. */
#ifndef ATTN_MLA_CPU_MLA_HIDDEN_H
#define ATTN_MLA_CPU_MLA_HIDDEN_H

#include "mla/cpu/mla_tile.h"

#define HIDDEN_KEYS 128 /* most keys of a tile */

static const uint32_t hidden_zero[1024] = {0};

/* Keys of a tile whose cache rows were replaced. */
typedef struct hidden_rows {
    uint32_t num;
    uint32_t key[HIDDEN_KEYS];
    const uint32_t *cells[HIDDEN_KEYS];
} hidden_rows;

/* Whether all n elements of a row of cells are finite. */
static int
hidden_finite(const uint32_t *cells, size_t n)
{
    const vu mask = vu_set(EPC == 2 ? 0x7f807f80u : 0x7f800000u);
    const vu low = vu_set(0x7f80u), high = vu_set(0x7f800000u);
    vi bad = vi_set(0);
    for (size_t i = 0; i < n / EPC; i += VL) {
        const vu e = vu_load(cells + i) & mask;
        bad |= (vi)((e & high) == high);
        if (EPC == 2)
            bad |= (vi)((e & low) == low);
    }
    int any = 0;
    for (int i = 0; i < VL; i++)
        any |= bad[i];
    return !any;
}

/* Before the values of a tile of cache rows: those of keys that some row does
 * not see, and that are not finite, become zeros. */
static void
hidden_take(const core_tile *t, int32_t key0, uint32_t num, const char **rows, hidden_rows *h)
{
    const int32_t seen = t->least_limit - key0;
    h->num = 0;
    for (uint32_t x = seen > 0 ? (uint32_t)seen : 0; x < num; x++) {
        const uint32_t *cells = (const uint32_t *)(const void *)rows[x];
        if (hidden_finite(cells, t->vcols))
            continue;
        h->key[h->num] = x;
        h->cells[h->num++] = cells;
        rows[x] = (const char *)hidden_zero;
    }
}

/* Probability of key x of the tile for row i. */
static float
hidden_prob(const core_tile *t, uint32_t x, size_t i)
{
#if CELL_BF16
    return cpu_bf16_to_f32((uint16_t)(t->probs[x / 2 * t->width + i] >> (x % 2 * 16)));
#else
    return cpu_f32_from_bits(t->probs[x * t->width + i]);
#endif
}

/* Key x of the tile, its values v of type `type`: to the rows that see it. */
static void
hidden_add(const core_tile *t, int32_t key0, uint32_t x, const void *v, cpu_type type)
{
    for (size_t i = 0; i < t->rows; i++) {
        float *out = t->out + (ptrdiff_t)i * t->out_row;
        const float p = hidden_prob(t, x, i);
        if (t->limit[i] <= key0 + (int32_t)x)
            continue;
        for (size_t n = 0; n < t->vcols; n++)
            out[n] += p * cpu_get(type, v, n);
    }
}

/* After the values of the tile. */
static void
hidden_give(const core_tile *t, int32_t key0, const hidden_rows *h)
{
    for (uint32_t i = 0; i < h->num; i++)
        hidden_add(t, key0, h->key[i], h->cells[i], EPC == 2 ? CPU_BF16 : CPU_F32);
}

#endif /* ATTN_MLA_CPU_MLA_HIDDEN_H */
