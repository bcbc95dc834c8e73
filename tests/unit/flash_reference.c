/* SPDX-License-Identifier: Apache-2.0 */
#include "flash_problem.h"

#include <math.h>
#include <stdlib.h>

#include "small_float.h"

static double
kv_value(const problem *p, const array *a, int64_t block, int64_t slot,
         int64_t h, int64_t d)
{
    const int64_t i = array_at(a, block, slot, h, d);
    if (p->c->kv)
        return fp8_value(((uint8_t *)a->host)[i], p->c->kv == 2);
    return half_value(((uint16_t *)a->host)[i], p->c->bf16);
}

static int
visible(const problem *p, int r, int pos, int j)
{
    const spec *c = p->c;
    if (c->cross)
        return 1;
    const int causal = c->per_request ? r % 2 == 0 : c->causal;
    const int plain = (!causal || j <= pos) &&
                      (c->left < 0 || j >= pos - c->left) &&
                      (c->right < 0 || j <= pos + c->right);
    return plain || (c->ranges && pos >= 5 && pos <= 70 && j >= 5 && j <= 70);
}

double
problem_reference(const problem *p, int r, int t, int h, double *out)
{
    const spec *c = p->c;
    const int kh = h / (c->heads / c->kv_heads), pos = c->s[r] - c->q[r] + t;
    const double ks = c->kv ? (double)((float *)p->k_scale.host)[kh] : 1;
    const double vs = c->kv ? (double)((float *)p->v_scale.host)[kh] : 1;
    double s[PROBLEM_MAX_SEQ], max = -INFINITY, sum = 0;
    for (int j = 0; j < c->s[r]; j++) {
        const int32_t b =
            ((int32_t *)p->table.host)[r * p->cols + j / c->block];
        double x = 0;
        for (int d = 0; d < c->d; d++)
            x += half_value(
                     ((uint16_t *)
                          p->q.host)[array_at(&p->q, p->start[r] + t, h, d, 0)],
                     c->bf16) *
                 kv_value(p, &p->k, b, j % c->block, kh, d);
        x *= (double)p->layer.scale * ks;
        if (c->softcap > 0)
            x = (double)c->softcap * tanh(x / (double)c->softcap);
        if (c->slopes)
            x -= (double)((float *)p->slopes.host)[h] * abs(pos - j);
        s[j] = visible(p, r, pos, j) ? x : -INFINITY;
        max = fmax(max, s[j]);
    }
    for (int d = 0; d < c->dv; d++)
        out[d] = 0;
    if (isinf(max))
        return -INFINITY;
    for (int j = 0; j < c->s[r]; j++) {
        const int32_t b =
            ((int32_t *)p->table.host)[r * p->cols + j / c->block];
        const double w = exp(s[j] - max);
        sum += w;
        for (int d = 0; w > 0 && d < c->dv; d++)
            out[d] += w * vs * kv_value(p, &p->v, b, j % c->block, kh, d);
    }
    if (c->sinks)
        sum += exp((double)((float *)p->sinks.host)[h] - max);
    for (int d = 0; d < c->dv; d++)
        out[d] /= sum;
    return max + log(sum);
}
