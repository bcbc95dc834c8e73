/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/oracle.h"

#include <math.h>

double
attn_softmax_f64(double *s, size_t n, const double *sink, double *lse)
{
    double top = sink ? *sink : -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        top = s[i] > top ? s[i] : top;
    for (size_t i = 0; i < n; i++)
        sum += s[i] = exp(s[i] - top);
    if (sink)
        sum += exp(*sink - top);
    *lse = top + log(sum);
    return sum;
}

float
attn_softmax_f32(float *s, size_t n, const double *sink, attn_operand round,
                 double *lse)
{
    float top = sink ? (float)*sink : -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        top = s[i] > top ? s[i] : top;
    for (size_t i = 0; i < n; i++) {
        const float e = expf(s[i] - top);
        sum += e;
        s[i] = attn_operand_round(e, round);
    }
    if (sink)
        sum += expf((float)*sink - top);
    *lse = (double)(top + logf(sum));
    return sum;
}
