/* SPDX-License-Identifier: Apache-2.0 */
/* score.h - from a product q.k to a score in log2 units: scale, cap, slope, mask. */
#ifndef ATTN_FLASH_CUDA_SCORE_H
#define ATTN_FLASH_CUDA_SCORE_H

#include "flash/cuda/rows.h"

namespace flash
{

#define FLASH_NONE (-__builtin_inff()) /* the score of a key that is not seen */

struct Score {
    float scale;          /* of products; log2 units unless there is a cap */
    float cap, cap_scale; /* cap in log2 units, cap_scale = 2 log2e / softcap; 0: none */
    bool special;         /* more than a positive scale: cap, slopes */

    GPU_FN float shape(float product, const Row &row, int key) const
    {
        float x = product * scale;
        if (cap > 0.0f) /* tanh(y) = 1 - 2 / (1 + e^2y) */
            x = cap - 2.0f * cap * gpu::rcpf_(1.0f + gpu::exp2f_(x * cap_scale));
        const int away = row.position - key;
        x -= row.slope * float(away < 0 ? -away : away);
        return row.sees(key) ? x : FLASH_NONE;
    }
};

GPU_FN Score
score_of(const Forward &p, int kv_head)
{
    const Layer &l = p.layer;
    const bool capped = l.softcap > 0.0f;
    float scale = l.scale;
    if (p.k_scale)
        scale *= gpu::gload(p.k_scale + kv_head);
    return {capped ? scale : scale * kLog2e, capped ? l.softcap * kLog2e : 0.0f,
            capped ? 2.0f * kLog2e / l.softcap : 0.0f, capped || p.slopes || !(scale > 0.0f)};
}

/* The keys [from, to] that every row of a tile sees: no mask is needed there. */
GPU_FN void
open_keys(const Layer &l, const Batch &b, const Request &r, int row, int rows, int &from, int &to)
{
    const int end = r.q * l.group, last = min_(row + rows, end) - 1;
    int ignored;
    row = min_(row, end - 1);
    interval(l, b, r, r.position(last / l.group), from, ignored);
    interval(l, b, r, r.position(row / l.group), ignored, to);
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_SCORE_H */
