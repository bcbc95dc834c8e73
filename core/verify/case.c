/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/case.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "verify/number.h"
#include "verify/problem.h"

#define FILL_AT_ONCE 1024

static const attn_dtype I32 = ATTN_I32;

void *
attn_case_add(attn_case *c, const char *name, attn_dtype dtype, uint32_t ndim,
              const int64_t *shape)
{
    attn_call_tensor *t = NULL;
    if (!c->status)
        c->status =
            attn_call_add(c->call, name, dtype, ndim, shape, NULL, &t, c->err);
    return c->status ? NULL : t->data;
}

void
attn_case_fill(attn_case *c, const char *name, size_t first, size_t n,
               double mean, double deviation)
{
    const attn_call_tensor *t =
        c->status ? NULL : attn_call_find(c->call, name);
    double tmp[FILL_AT_ONCE];
    while (t && n) {
        const size_t now = n < FILL_AT_ONCE ? n : FILL_AT_ONCE;
        for (size_t i = 0; i < now; i++)
            tmp[i] =
                (double)(float)(mean + deviation * attn_random_normal(&c->rng));
        attn_number_store((uint8_t *)t->data + first * t->dtype.bits / 8, tmp,
                          t->dtype, now);
        first += now;
        n -= now;
    }
}

void
attn_case_poison(attn_case *c, const char *name, size_t first, size_t n)
{
    const attn_call_tensor *t =
        c->status ? NULL : attn_call_find(c->call, name);
    if (t)
        memset((uint8_t *)t->data + first * t->dtype.bits / 8, 0xFF,
               n * t->dtype.bits / 8);
}

uint32_t *
attn_case_shuffle(attn_case *c, uint32_t n, int in_order)
{
    uint32_t *p = c->status ? NULL : malloc((n + 1u) * sizeof *p);
    if (!p && !c->status)
        c->status = attn_error_nomem(c->err, "case", n * sizeof *p);
    for (uint32_t i = 0; p && i < n; i++)
        p[i] = i;
    for (uint32_t i = n; p && !in_order && i > 1; i--) {
        const uint32_t j = attn_random_below(&c->rng, i), t = p[i - 1];
        p[i - 1] = p[j];
        p[j] = t;
    }
    return p;
}

void
attn_case_lengths(attn_case *c)
{
    c->query_start_loc =
        ATTN_CASE_ADD(c, "query_start_loc", I32, (int64_t)c->num_reqs + 1);
    c->seq_lens = ATTN_CASE_ADD(c, "seq_lens", I32, c->num_reqs);
    if (c->status)
        return;
    for (uint32_t r = 0; r < c->num_reqs; r++) {
        const int real = r < c->in->num_reqs;
        c->query_start_loc[r + 1] =
            c->query_start_loc[r] +
            (real ? (int32_t)c->in->requests[r].query_len : 0);
        c->seq_lens[r] = real ? (int32_t)c->in->requests[r].seq_len : 0;
    }
}

static double
physical_memory(void)
{
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

static attn_status
check_requests(const attn_case_params *in, uint64_t *tokens, attn_error *err)
{
    const int cross = (in->layer->features & ATTN_F_CROSS) != 0;
    *tokens = 0;
    if (in->num_reqs >= ATTN_PROBLEM_MAX_REQS)
        return attn_error_set(err, ATTN_E_ARG, "requests",
                              "%u requests, at most %u", in->num_reqs,
                              ATTN_PROBLEM_MAX_REQS - 1);
    for (uint32_t r = 0; r < in->num_reqs; r++) {
        const attn_spec_request *q = &in->requests[r];
        if ((!cross && q->query_len > q->seq_len) || q->seq_len > 1u << 30)
            return attn_error_set(err, ATTN_E_ARG, "requests",
                                  "request %u: query_len %u, seq_len %u", r,
                                  q->query_len, q->seq_len);
        *tokens += q->query_len;
    }
    if (*tokens > 1u << 30)
        return attn_error_set(err, ATTN_E_ARG, "requests",
                              "%llu tokens, at most %u",
                              (unsigned long long)*tokens, 1u << 30);
    return attn_case_check_room(in, physical_memory(), err);
}

static void
make(attn_case *c)
{
    const char *family = c->in->layer->family;
    if (!strcmp(family, ATTN_FAMILY_FLASH) || !strcmp(family, ATTN_FAMILY_MLA))
        attn_case_attention(c);
    else if (!strcmp(family, ATTN_FAMILY_MAMBA2) ||
             !strcmp(family, ATTN_FAMILY_MAMBA1))
        attn_case_recurrent(c);
    else
        c->status = attn_error_set(c->err, ATTN_E_UNSUPPORTED, "layer.family",
                                   "no definition of family '%s' here", family);
}

attn_status
attn_case_make(const attn_case_params *params, attn_call **call,
               attn_error *err)
{
    uint64_t tokens;
    attn_status s = check_requests(params, &tokens, err);
    attn_case c = {.in = params, .rng = {params->seed}, .err = err};
    const int pad = (params->flags & ATTN_CASE_PADDING) != 0;
    if (!s)
        s = attn_call_create(params->layer, &c.call, err);
    if (s)
        return s;
    c.num_reqs = params->num_reqs + (pad ? 1 : 0);
    c.real_tokens = (uint32_t)tokens;
    c.num_tokens = c.real_tokens + (pad ? ATTN_CASE_PAD_TOKENS : 0);
    make(&c);
    attn_problem p;
    if (!c.status)
        c.status = attn_problem_read(&p, c.call, err);
    if (c.status) {
        attn_call_free(c.call);
        return c.status;
    }
    attn_problem_clear(&p);
    *call = c.call;
    return ATTN_OK;
}
