/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/scan.h"
#include "verify/support.h"

#define SAMPLED_UNITS 8

/* Both Mamba families, told apart by where a unit's inputs come from. */
typedef struct model {
    const attn_problem *p;
    uint32_t num_units, rows, states, channels, width, chunk_size;
    uint32_t silu, softplus;
    attn_dtype x, conv, ssm, out;
    const attn_call_tensor *in, *dt, *z, *weight, *bias, *a, *d, *dt_bias;
    const attn_call_tensor *conv_state, *ssm_state;
} model;

/* Where the results go: nu sampled units. */
typedef struct sink {
    const uint32_t *units;
    uint32_t nu;
    int64_t *token_row; /* [T] index of a token among the checked, or -1 */
    double *out, *plain_out, *ssm, *plain_ssm, *conv, *plain_conv;
} sink;

static double
at(const attn_call_tensor *t, size_t index)
{
    double v;
    attn_number_load(&v, (const uint8_t *)t->data + index * t->dtype.bits / 8,
                     t->dtype, 1);
    return v;
}

static const attn_call_tensor *
find(const model *m, const char *name)
{
    return attn_call_find(m->p->call, name);
}

static void
open_common(model *m, const char *in)
{
    m->in = find(m, in);
    m->dt = find(m, "dt");
    m->z = find(m, "z");
    m->weight = find(m, "conv_weight");
    m->bias = find(m, "conv_bias");
    m->a = find(m, "a");
    m->d = find(m, "d");
    m->dt_bias = find(m, "dt_bias");
    m->conv_state = find(m, "conv_state");
    m->ssm_state = find(m, "ssm_state");
}

static model
open_mamba2(const attn_problem *p)
{
    const attn_mamba2_layer *l = attn_problem_mamba2(p);
    model m = {.p = p,
               .num_units = l->num_heads,
               .rows = l->head_dim,
               .states = l->state_dim,
               .channels = l->num_heads * l->head_dim +
                           2 * l->num_groups * l->state_dim,
               .width = l->conv_width,
               .chunk_size = l->chunk_size,
               .silu = l->activation == ATTN_ACTIVATION_SILU,
               .softplus = l->dt_softplus,
               .x = l->x_dtype,
               .conv = l->conv_state_dtype,
               .ssm = l->ssm_state_dtype,
               .out = l->out_dtype};
    open_common(&m, "xbc");
    return m;
}

static model
open_mamba1(const attn_problem *p)
{
    const attn_mamba1_layer *l = attn_problem_mamba1(p);
    model m = {.p = p,
               .num_units = l->num_channels,
               .rows = 1,
               .states = l->state_dim,
               .channels = l->num_channels,
               .width = l->conv_width,
               .silu = l->activation == ATTN_ACTIVATION_SILU,
               .softplus = l->dt_softplus,
               .x = l->x_dtype,
               .conv = l->conv_state_dtype,
               .ssm = l->ssm_state_dtype,
               .out = l->out_dtype};
    open_common(&m, "x");
    return m;
}

static int
has_initial(const attn_problem *p, uint32_t r)
{
    if (p->has_initial)
        return p->has_initial[r];
    return (uint32_t)p->seq_lens[r] > attn_problem_query(p, r);
}

/* The slot of the state before the step; -1: zeros. */
static int32_t
initial_slot(const attn_problem *p, uint32_t r)
{
    const uint32_t col =
        p->cols > 1 && p->num_accepted ? (uint32_t)p->num_accepted[r] - 1 : 0;
    return has_initial(p, r) ? p->block_table[(size_t)r * p->cols + col] : -1;
}

static int
skipped(const attn_problem *p, uint32_t r)
{
    return p->block_table[(size_t)r * p->cols] < 0 ||
           attn_problem_query(p, r) == 0;
}

/* Raw input of one channel at token i of the request, i < 0: its window. */
static double
raw(const model *m, uint32_t r, int32_t slot, uint32_t channel, int64_t i)
{
    if (i >= 0)
        return at(m->in,
                  ((size_t)m->p->query_start_loc[r] + (size_t)i) * m->channels +
                      channel);
    if (slot < 0)
        return 0;
    const size_t w = m->width - 1;
    return at(m->conv_state, ((size_t)slot * m->channels + channel) * w +
                                 (size_t)((int64_t)w + i));
}

/* One channel through the convolution; u->in and u->taps are scratch. */
static void
convolve(const model *m, attn_unit *u, uint32_t r, int32_t slot,
         uint32_t channel, size_t stride, double *to, float *tof)
{
    const size_t q = attn_problem_query(m->p, r), w = m->width;
    const attn_operand kind = attn_operand_of(m->x);
    const double bias = m->bias ? at(m->bias, channel) : 0;
    for (size_t i = 0; i < q + w - 1; i++)
        u->in[i] = raw(m, r, slot, channel, (int64_t)i - (int64_t)(w - 1));
    for (size_t k = 0; k < w; k++)
        u->taps[k] = at(m->weight, (size_t)channel * w + k);
    for (size_t i = 0; i < q; i++) {
        double s = bias;
        float f = (float)bias;
        for (size_t k = 0; k < w; k++) {
            s += u->taps[k] * u->in[i + k];
            f += (float)u->taps[k] * (float)u->in[i + k];
        }
        to[i * stride] = m->silu ? s / (1 + exp(-s)) : s;
        tof[i * stride] =
            attn_operand_round(m->silu ? f / (1 + expf(-f)) : f, kind);
    }
}

static void
load_direct(const model *m, const char *name, uint32_t r, double *to,
            float *tof)
{
    const attn_call_tensor *t = find(m, name);
    const size_t n = m->states, q = attn_problem_query(m->p, r);
    const size_t first = (size_t)m->p->query_start_loc[r] * n;
    attn_number_load(to, (const uint8_t *)t->data + first * t->dtype.bits / 8,
                     t->dtype, q * n);
    attn_narrow(tof, to, q * n);
}

/* B and C are those of the unit's group: kept while it lasts. */
static void
load_shared(const model *m, attn_unit *u, uint32_t r, int32_t slot,
            uint32_t unit)
{
    const int mamba2 = m->p->kind == ATTN_KIND_MAMBA2;
    const uint32_t groups = mamba2 ? attn_problem_mamba2(m->p)->num_groups : 1;
    const uint32_t group = unit / (m->num_units / groups);
    if (u->loaded_request == r + 1 && u->loaded_group == group)
        return;
    u->loaded_request = r + 1;
    u->loaded_group = group;
    if (!mamba2) {
        load_direct(m, "b", r, u->b, u->bf);
        load_direct(m, "c", r, u->c, u->cf);
        return;
    }
    const uint32_t b = m->num_units * m->rows + group * m->states;
    for (uint32_t i = 0; i < m->states; i++) {
        convolve(m, u, r, slot, b + i, m->states, u->b + i, u->bf + i);
        convolve(m, u, r, slot, b + groups * m->states + i, m->states, u->c + i,
                 u->cf + i);
    }
}

static void
load_inputs(const model *m, attn_unit *u, uint32_t r, int32_t slot,
            uint32_t unit)
{
    for (uint32_t i = 0; i < m->rows; i++)
        convolve(m, u, r, slot, unit * m->rows + i, m->rows, u->x + i,
                 u->xf + i);
    load_shared(m, u, r, slot, unit);
}

static void
load_steps(const model *m, attn_unit *u, uint32_t r, uint32_t unit)
{
    const size_t first = (size_t)m->p->query_start_loc[r];
    const double bias = m->dt_bias ? at(m->dt_bias, unit) : 0;
    for (size_t i = 0; i < u->tokens; i++) {
        const double v = at(m->dt, (first + i) * m->num_units + unit) + bias;
        const float f =
            (float)at(m->dt, (first + i) * m->num_units + unit) + (float)bias;
        u->dt[i] = !m->softplus ? v : v > 30 ? v : log1p(exp(v));
        u->dtf[i] = !m->softplus ? f : f > 20 ? f : log1pf(expf(f));
    }
    for (size_t i = 0; i < m->states; i++)
        u->a[i] = m->p->kind == ATTN_KIND_MAMBA1
                      ? at(m->a, unit * m->states + i)
                      : at(m->a, unit);
    u->d = m->d ? at(m->d, unit) : 0;
    for (size_t i = 0; m->z && i < u->tokens * m->rows; i++)
        u->z[i] =
            at(m->z, ((first + i / m->rows) * m->num_units + unit) * m->rows +
                         i % m->rows);
}

static void
load_state(const model *m, attn_unit *u, int32_t slot, uint32_t unit)
{
    const size_t n = (size_t)m->rows * m->states;
    if (slot < 0)
        memset(u->h, 0, n * sizeof *u->h);
    else
        attn_number_load(u->h,
                         (const uint8_t *)m->ssm_state->data +
                             ((size_t)slot * m->num_units + unit) * n *
                                 m->ssm.bits / 8,
                         m->ssm, n);
    attn_narrow(u->hf, u->h, n);
}

static int
unit_alloc(const model *m, attn_unit *u, size_t q)
{
    const size_t n = m->states, rows = m->rows;
    *u = (attn_unit){.rows = rows,
                     .states = n,
                     .chunk_size = m->chunk_size,
                     .kind = attn_operand_of(m->x)};
    double **d[] = {&u->x, &u->b, &u->c,  &u->dt, &u->a,   &u->z,
                    &u->h, &u->y, &u->yf, &u->in, &u->taps};
    const size_t dn[] = {q * rows, q * n,        q * n,    q,
                         n,        q * rows,     rows * n, q * rows,
                         q * rows, q + m->width, m->width};
    float **f[] = {&u->xf, &u->bf, &u->cf, &u->dtf, &u->hf, &u->chunk};
    const size_t fn[] = {q * rows, q * n,    q * n,
                         q,        rows * n, 2 * (size_t)m->chunk_size};
    int ok = 1;
    for (size_t i = 0; i < sizeof d / sizeof *d; i++)
        ok &= (*d[i] = malloc((dn[i] + 1) * sizeof(double))) != NULL;
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        ok &= (*f[i] = malloc((fn[i] + 1) * sizeof(float))) != NULL;
    return ok;
}

static void
unit_clear(attn_unit *u, double *z)
{
    void *all[] = {u->in, u->taps, u->x,   u->b,  u->c,    u->dt,
                   u->a,  z,       u->h,   u->y,  u->yf,   u->xf,
                   u->bf, u->cf,   u->dtf, u->hf, u->chunk};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void
store_state(const model *m, const attn_unit *u, const sink *to, uint32_t k,
            int32_t slot)
{
    const size_t n = u->rows * u->states;
    if (slot < 0)
        return;
    const size_t row = ((size_t)slot * to->nu + k) * n;
    for (size_t i = 0; i < n; i++) {
        to->ssm[row + i] = u->h[i];
        to->plain_ssm[row + i] = attn_number_round((double)u->hf[i], m->ssm);
    }
}

/* The slot that receives the state after token i: a draft column, a
 * checkpoint, or the request's own at its end. -1: none. */
static int32_t
target_slot(const attn_problem *p, uint32_t r, uint32_t i)
{
    const uint32_t q = attn_problem_query(p, r);
    if (p->cols > 1 && q <= p->cols)
        return p->block_table[(size_t)r * p->cols + i];
    return i + 1 == q ? p->block_table[(size_t)r * p->cols] : -1;
}

static int32_t
checkpoint_slot(const attn_problem *p, uint32_t r, uint32_t i)
{
    if (!p->checkpoints)
        return -1;
    const int64_t context = p->seq_lens[r] - (int64_t)attn_problem_query(p, r);
    const int64_t seen = context + i + 1, every = p->checkpoint_interval;
    const int64_t j = seen / every - context / every - 1;
    return seen % every || j >= p->max_checkpoints
               ? -1
               : p->checkpoints[(size_t)r * p->max_checkpoints + (size_t)j];
}

static void
run_unit(const model *m, attn_unit *u, const sink *to, uint32_t r, uint32_t k)
{
    const attn_problem *p = m->p;
    const uint32_t unit = to->units[k], q = attn_problem_query(p, r);
    const int32_t slot = initial_slot(p, r);
    const int chunked = q > 1 && !(p->cols > 1 && q <= p->cols);
    u->tokens = q;
    load_inputs(m, u, r, slot, unit);
    load_steps(m, u, r, unit);
    load_state(m, u, slot, unit);
    for (uint32_t i = 0, from = 0; i < q; i++) {
        const int32_t own = target_slot(p, r, i),
                      check = checkpoint_slot(p, r, i);
        if (own < 0 && check < 0 && i + 1 < q)
            continue;
        attn_scan_exact(u, from, i + 1);
        attn_scan_plain(u, from, i + 1, chunked);
        from = i + 1;
        store_state(m, u, to, k, own);
        store_state(m, u, to, k, check);
    }
    for (size_t i = 0; i < q; i++) {
        const size_t row =
            (size_t)to->token_row[(size_t)p->query_start_loc[r] + i] * to->nu +
            k;
        for (size_t j = 0; j < u->rows; j++) {
            to->out[row * u->rows + j] = u->y[i * u->rows + j];
            to->plain_out[row * u->rows + j] =
                attn_number_round(u->yf[i * u->rows + j], m->out);
        }
    }
}

static void
store_window(const model *m, const sink *to, uint32_t r, int32_t slot,
             uint32_t i)
{
    const size_t w = m->width - 1;
    const int32_t from = initial_slot(m->p, r);
    for (uint32_t c = 0; slot >= 0 && c < m->channels; c++)
        for (size_t k = 0; k < w; k++) {
            const size_t e = ((size_t)slot * m->channels + c) * w + k;
            to->conv[e] =
                raw(m, r, from, c, (int64_t)i - (int64_t)w + 1 + (int64_t)k);
            to->plain_conv[e] = attn_number_round(to->conv[e], m->conv);
        }
}

static void
run_request(const model *m, attn_unit *u, const sink *to, uint32_t r)
{
    for (uint32_t k = 0; k < to->nu; k++)
        run_unit(m, u, to, r, k);
    for (uint32_t i = 0; i < attn_problem_query(m->p, r); i++) {
        store_window(m, to, r, target_slot(m->p, r, i), i);
        store_window(m, to, r, checkpoint_slot(m->p, r, i), i);
    }
}

static attn_status
add_out(const model *m, sink *to, attn_reference *ref, int64_t *rows,
        attn_error *err)
{
    const attn_problem *p = m->p;
    size_t tokens = 0, n = 0;
    memset(to->token_row, -1, p->num_tokens * sizeof *to->token_row);
    for (uint32_t r = 0; r < p->num_reqs; r++)
        for (int32_t t = p->query_start_loc[r];
             !skipped(p, r) && t < p->query_start_loc[r + 1]; t++) {
            to->token_row[t] = (int64_t)tokens++;
            for (uint32_t k = 0; k < to->nu; k++)
                rows[n++] = (int64_t)t * m->num_units + to->units[k];
        }
    return attn_reference_add(ref, "out", m->out, n, m->rows, rows, &to->out,
                              &to->plain_out, err);
}

static attn_status
add_states(const model *m, sink *to, attn_reference *ref, int64_t *rows,
           attn_error *err)
{
    const size_t slots = m->p->num_blocks, row = (size_t)m->rows * m->states;
    size_t n = 0;
    for (size_t s = 0; s < slots; s++)
        for (uint32_t k = 0; k < to->nu; k++)
            rows[n++] = (int64_t)(s * m->num_units + to->units[k]);
    attn_status status = attn_reference_add(
        ref, "ssm_state", m->ssm, n, row, rows, &to->ssm, &to->plain_ssm, err);
    for (size_t i = 0; !status && i < n; i++)
        attn_number_load(to->ssm + i * row,
                         (const uint8_t *)m->ssm_state->data +
                             (size_t)rows[i] * row * m->ssm.bits / 8,
                         m->ssm, row);
    if (!status)
        memcpy(to->plain_ssm, to->ssm, n * row * sizeof *to->ssm);
    return status;
}

static attn_status
add_windows(const model *m, sink *to, attn_reference *ref, attn_error *err)
{
    const size_t n = (size_t)m->p->num_blocks * m->channels, w = m->width - 1;
    int64_t *rows = malloc((n + 1) * sizeof *rows);
    if (!rows)
        return attn_error_nomem(err, "reference", n * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        rows[i] = (int64_t)i;
    attn_status status =
        attn_reference_add(ref, "conv_state", m->conv, n, w, rows, &to->conv,
                           &to->plain_conv, err);
    free(rows);
    if (status)
        return status;
    attn_number_load(to->conv, m->conv_state->data, m->conv, n * w);
    memcpy(to->plain_conv, to->conv, n * w * sizeof *to->conv);
    return ATTN_OK;
}

static attn_status
run(const model *m, sink *to, attn_reference *ref, int64_t *rows,
    attn_error *err)
{
    attn_unit u = {0};
    attn_status status = add_out(m, to, ref, rows, err);
    if (!status)
        status = add_states(m, to, ref, rows, err);
    if (!status)
        status = add_windows(m, to, ref, err);
    if (!status && !unit_alloc(m, &u, m->p->max_query_len))
        status = attn_error_nomem(err, "oracle", m->p->max_query_len);
    double *z = u.z;
    if (!m->z)
        u.z = NULL;
    for (uint32_t r = 0; !status && r < m->p->num_reqs; r++)
        if (!skipped(m->p, r))
            run_request(m, &u, to, r);
    unit_clear(&u, z);
    return status;
}

static attn_status
oracle(const model *m, uint32_t max_rows, attn_reference *ref, attn_error *err)
{
    const size_t most = m->p->num_tokens > m->p->num_blocks ? m->p->num_tokens
                                                            : m->p->num_blocks;
    uint32_t nu = m->num_units;
    if (max_rows && nu > SAMPLED_UNITS)
        nu = m->rows > 1 ? SAMPLED_UNITS : nu < 512 ? nu : 512;
    uint32_t *units = malloc((nu + 1) * sizeof *units);
    int64_t *rows = malloc((most * nu + 1) * sizeof *rows);
    int64_t *token_row = malloc((m->p->num_tokens + 1u) * sizeof *token_row);
    attn_status status = ATTN_OK;
    if (!units || !rows || !token_row)
        status = attn_error_nomem(err, "oracle", most * nu * sizeof *rows);
    for (uint32_t k = 0; !status && k < nu; k++)
        units[k] =
            nu == 1 ? 0
                    : (uint32_t)((uint64_t)k * (m->num_units - 1) / (nu - 1));
    sink to = {.units = units, .nu = nu, .token_row = token_row};
    if (!status)
        status = run(m, &to, ref, rows, err);
    free(units);
    free(rows);
    free(token_row);
    return status;
}

attn_status
attn_oracle_mamba(const attn_problem *p, uint32_t max_rows, attn_reference *to,
                  attn_error *err)
{
    const model m =
        p->kind == ATTN_KIND_MAMBA1 ? open_mamba1(p) : open_mamba2(p);
    return oracle(&m, max_rows, to, err);
}
