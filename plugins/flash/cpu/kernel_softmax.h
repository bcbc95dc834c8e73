/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_softmax.h - part of kernel.h: scores of a row into weights.
 *
 * Scores are in base 2: score * scale * log2(e), so that exp2 serves. */
#ifndef FLASH_CPU_KERNEL_SOFTMAX_H
#define FLASH_CPU_KERNEL_SOFTMAX_H

/* What one query row sees of the tile: keys lo..hi-1, inside vectors first..last-1. */
typedef struct row_range {
    int lo, hi;
    int first, last;
} row_range;

/* Softcap, ALiBi, or a scale that is not positive: scores into base 2, in place. distance: the
 * query's position minus the tile's first key. */
static void
softmax_transform(float *s, row_range range, float scale, float softcap, float slope,
                  float distance)
{
    const float inverse = softcap > 0 ? scale / softcap : 0;
    for (int v = range.first; v < range.last; v++) {
        vf x = vf_load(s + v * VF_LANES);
        if (softcap > 0)
            x = vf_mul(vf_tanh(vf_mul(x, vf_set1(inverse))), vf_set1(softcap));
        else
            x = vf_mul(x, vf_set1(scale));
        const vf key = vf_add(vf_iota(), vf_set1((float)(v * VF_LANES)));
        const vf away = vf_abs(vf_sub(key, vf_set1(distance)));
        if (slope != 0)
            x = vf_fma(vf_set1(-slope), away, x);
        vf_store(s + v * VF_LANES, vf_mul(x, vf_set1(CPU_LOG2E)));
    }
}

/* Hides what the edge vectors hold beside the range. */
CPU_INLINE void
softmax_edges(float *s, row_range range)
{
    const vf hidden = vf_set1(-INFINITY);
    if (range.lo % VF_LANES) {
        float *at = s + range.first * VF_LANES;
        vf_store(at, vf_keep(vf_load(at), range.lo % VF_LANES, VF_LANES, hidden));
    }
    if (range.hi % VF_LANES) {
        float *at = s + (range.last - 1) * VF_LANES;
        vf_store(at, vf_keep(vf_load(at), 0, range.hi % VF_LANES, hidden));
    }
}

CPU_INLINE float
softmax_max(const float *s, row_range range)
{
    vf m0 = vf_set1(-INFINITY), m1 = m0;
    int v = range.first;
    for (; v + 2 <= range.last; v += 2) {
        m0 = vf_max(vf_load(s + v * VF_LANES), m0);
        m1 = vf_max(vf_load(s + (v + 1) * VF_LANES), m1);
    }
    if (v < range.last)
        m0 = vf_max(vf_load(s + v * VF_LANES), m0);
    return vf_hmax(vf_max(m0, m1));
}

/* Weights 2^(s * scale - shift) into p; returns their sum. */
CPU_INLINE float
softmax_weights(const float *s, row_range range, float scale, float shift, float *p)
{
    const vf mul = vf_set1(scale), sub = vf_set1(-shift);
    vf sum0 = vf_zero(), sum1 = vf_zero();
    int v = range.first;
    for (; v + 2 <= range.last; v += 2) {
        const vf e0 = WEIGHT_EXP(vf_fma(vf_load(s + v * VF_LANES), mul, sub));
        const vf e1 = WEIGHT_EXP(vf_fma(vf_load(s + (v + 1) * VF_LANES), mul, sub));
        sum0 = vf_add(sum0, e0);
        sum1 = vf_add(sum1, e1);
        weight_store(p, v, e0);
        weight_store(p, v + 1, e1);
    }
    if (v < range.last) {
        const vf e0 = WEIGHT_EXP(vf_fma(vf_load(s + v * VF_LANES), mul, sub));
        sum0 = vf_add(sum0, e0);
        weight_store(p, v, e0);
    }
    return vf_hsum(vf_add(sum0, sum1));
}

#endif
