/* SPDX-License-Identifier: Apache-2.0 */
/* mend.h - sums that are not finite, once more, key by key.
 *
 * A matrix product takes in the values of keys that a row does not see, with weight zero; and zero
 * times infinity is NaN. Such values may lie in a cache (a padded prompt, a page that a window has
 * left behind), so a row whose sums came out NaN or infinite is summed again over the keys it sees.
 * If it saw such a value itself, the same comes out again. Slow, and never taken otherwise. */
#ifndef ATTN_FLASH_CUDA_MEND_H
#define ATTN_FLASH_CUDA_MEND_H

#include "flash/cuda/load.h"
#include "flash/cuda/score.h"

namespace flash
{

/* Element `col` of a cache row. */
template <class T>
GPU_FN float
element_of(const Keys &k, const uint8_t *row, int col)
{
    if (k.kind == gpu::kKv16)
        return to_float(T{gpu::gload(reinterpret_cast<const uint16_t *>(row) + col)});
    return gpu::fp8_to_float(gpu::gload(row + col), k.kind == gpu::kKvE5M2 ? 2 : 3);
}

/* Whether packed row `row` sees a key, and its score in log2 units. */
template <class T>
GPU_FN bool
seen(const Forward &p, const Request &r, const Item &item, int row, int key, float &score)
{
    const Layer &l = p.layer;
    const Row sight = row_of(l, *p.batch, r, p.slopes, item.head, row);
    if (!sight.sees(key))
        return false;
    const Keys k = keys_of(l, *p.batch, r, p.k, item.head, l.d);
    const uint8_t *of_key = k.row(key);
    const uint16_t *q = static_cast<const uint16_t *>(p.q) +
                        int64_t{r.start + row / l.group} * p.q_token +
                        int64_t{item.head * l.group + row % l.group} * p.q_head;
    float product = 0.0f;
    GPU_ROLLED
    for (int i = 0; i < l.d; i++)
        product += to_float(T{gpu::gload(q + i)}) * element_of<T>(k, of_key, i);
    score = score_of(p, item.head).shape(product, sight, key);
    return true;
}

/* Calls add(V, its row of the key, weight) for each of the item's keys that packed row `row` sees.
 * Little is kept from key to key: registers are the sums'. */
template <class T, class Add>
GPU_FN void
each_seen(const Forward &p, const Request &r, const Item &item, int row, float max, Add add)
{
    const Layer &l = p.layer;
    const Keys v = keys_of(l, *p.batch, r, p.v, item.head, l.dv);
    const float base = max == FLASH_NONE ? 0.0f : max;
    GPU_ROLLED
    for (int key = item.key_from; key < item.key_to; key++) {
        float score;
        if (seen<T>(p, r, item, gpu::fresh(row), key, score))
            add(v, v.row(key), gpu::exp2f_(score - base));
    }
}

/* Packed row `row`'s Count sums sum(0), sum(1), ..., of columns column(0), ...; max: its statistic,
 * to which the sums are scaled. */
template <class T, int Count, class Sum, class Column>
GPU_FN void
mend(const Forward &p, const Request &r, const Item &item, int row, float max, Sum sum,
     Column column)
{
    float probe = 0.0f; /* stays zero while all are finite */
    GPU_UNROLL
    for (int i = 0; i < Count; i++)
        probe += sum(i) * 0.0f;
    if (probe == 0.0f)
        return;
    GPU_UNROLL
    for (int i = 0; i < Count; i++)
        sum(i) = 0.0f;
    each_seen<T>(p, r, item, row, max,
                 [&](const Keys &v, const uint8_t *values, float weight) GPU_INLINE {
                     const int width = gpu::fresh(v.width); /* or a mask for each column is kept */
                     GPU_UNROLL
                     for (int i = 0; i < Count; i++)
                         if (column(i) < width)
                             sum(i) += weight * element_of<T>(v, values, column(i));
                 });
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_MEND_H */
