/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/problem.h"

static int
is_causal(const attn_problem *p, uint32_t r)
{
    if (p->causal)
        return p->causal[r];
    return p->kind == ATTN_KIND_MLA ? attn_problem_mla(p)->causal != 0
                                    : attn_problem_flash(p)->causal != 0;
}

static int
is_cross(const attn_problem *p)
{
    return (p->layer->features & ATTN_F_CROSS) != 0;
}

static int
share_range(const attn_problem *p, uint32_t r, int64_t pos, int64_t j)
{
    for (uint32_t i = 0; i < p->max_ranges; i++) {
        const int32_t *g = p->ranges + ((size_t)r * p->max_ranges + i) * 2;
        if (g[0] >= 0 && pos >= g[0] && pos <= g[1] && j >= g[0] && j <= g[1])
            return 1;
    }
    return 0;
}

int
attn_problem_visible(const attn_problem *p, uint32_t r, int64_t pos, int64_t j)
{
    if (j < 0 || j >= p->seq_lens[r])
        return 0;
    if (is_cross(p) || share_range(p, r, pos, j))
        return 1;
    if (is_causal(p, r) && j > pos)
        return 0;
    if (p->kind != ATTN_KIND_FLASH)
        return 1;
    const attn_flash_layer *l = attn_problem_flash(p);
    return (l->window_left < 0 || j >= pos - l->window_left) &&
           (l->window_right < 0 || j <= pos + l->window_right);
}

void
attn_problem_span(const attn_problem *p, uint32_t r, int64_t pos,
                  int64_t *first, int64_t *last)
{
    int64_t lo = 0, hi = p->seq_lens[r];
    if (!is_cross(p)) {
        if (is_causal(p, r) && pos + 1 < hi)
            hi = pos + 1;
        if (p->kind == ATTN_KIND_FLASH) {
            const attn_flash_layer *l = attn_problem_flash(p);
            if (l->window_left >= 0 && pos - l->window_left > lo)
                lo = pos - l->window_left;
            if (l->window_right >= 0 && pos + l->window_right + 1 < hi)
                hi = pos + l->window_right + 1;
        }
    }
    for (uint32_t i = 0; i < p->max_ranges; i++) {
        const int32_t *g = p->ranges + ((size_t)r * p->max_ranges + i) * 2;
        if (g[0] < 0 || pos < g[0] || pos > g[1])
            continue;
        lo = g[0] < lo ? g[0] : lo;
        hi = g[1] + 1 > hi ? g[1] + 1 : hi;
    }
    hi = hi < p->seq_lens[r] ? hi : p->seq_lens[r];
    *first = lo < hi ? lo : hi;
    *last = hi;
}

int64_t
attn_problem_count(const attn_problem *p, uint32_t r, int64_t pos)
{
    int64_t lo, hi, n = 0;
    attn_problem_span(p, r, pos, &lo, &hi);
    if (!p->max_ranges || is_cross(p))
        return hi - lo;
    for (int64_t j = lo; j < hi; j++)
        n += attn_problem_visible(p, r, pos, j);
    return n;
}
