/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_hidden.h - part of kernel.h: values that are not finite, in a tile that not every row
 * sees.
 *
 * The weight of a key that a row must not see is 0, and 0 times infinity or NaN is NaN. Such rows
 * of values are taken for zeros in the product of the tile, and then added to the rows that see
 * them. */
#ifndef FLASH_CPU_KERNEL_HIDDEN_H
#define FLASH_CPU_KERNEL_HIDDEN_H

static const void *
hidden_row(const work *w, int32_t key)
{
    const flash_job *job = w->job;
    const int32_t size = (int32_t)w->shape->block_size;
    const int32_t *table = job->block_table + (int64_t)w->block->req * job->block_table_stride;
    return job->v.data + table[key / size] * job->v.stride[0] + key % size * job->v.stride[1] +
           w->kv_head * job->v.stride[2];
}

/* A row of values as f32, into w->staging. */
static void
hidden_load(const work *w, const void *row)
{
    FOR_TYPE(w->shape->kv_type, row_to_f32(T, row, w->staging, w->shape->dim_v))
}

/* After tile_rows: rows of values that some query row does not see become zeros if they are not
 * finite. */
static void
hidden_take(work *w)
{
    w->hidden = 0;
    for (int32_t i = 0; i < w->tile_keys; i++) {
        const int32_t key = w->tile_lo + i;
        if (key >= w->all_lo && key < w->all_hi) {
            i = (w->all_hi < w->tile_lo + w->tile_keys ? w->all_hi - w->tile_lo : w->tile_keys) - 1;
            continue;
        }
        vf sum = vf_zero();
        hidden_load(w, w->value_rows[i]);
        for (uint32_t c = 0; c < w->shape->dim_v; c += VF_LANES)
            sum = vf_fma(vf_load(w->staging + c), vf_zero(), sum);
        if (vf_hsum(sum) == 0)
            continue;
        w->value_rows[i] = w->zero;
        w->hidden++;
    }
}

/* Element `at` of weights as weight_store leaves them. */
static float
hidden_weight(const float *p, size_t at)
{
    return cpu_get(WORD_TYPE, p, at);
}

typedef uint32_t column_place(cpu_type t, uint32_t c, uint32_t cols);

static uint32_t
place_in_order(cpu_type t, uint32_t c, uint32_t cols)
{
    (void)t, (void)cols;
    return c;
}

/* Adds values of key i of the tile, times a weight, to o, where column c stands at place(c). */
static void
hidden_add(const work *w, int32_t i, float weight, column_place *place, float *o)
{
    hidden_load(w, hidden_row(w, w->tile_lo + i));
    for (uint32_t c = 0; c < w->shape->dim_v; c++)
        o[place(w->shape->kv_type, c, w->shape->cols)] += weight * w->staging[c];
}

static int
hidden_sees(const work *w, uint32_t row, int32_t i)
{
    const int32_t *span = w->span + 2 * (size_t)(row / w->shape->group);
    return w->value_rows[i] == w->zero && w->tile_lo + i >= span[0] && w->tile_lo + i < span[1];
}

#endif
