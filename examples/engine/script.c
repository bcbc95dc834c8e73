/* SPDX-License-Identifier: Apache-2.0 */
#include "script.h"

#include "dense.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TOLERANCE 1e-4 /* of max|logit| */

uint64_t
random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint32_t
random_range(uint64_t *state, uint32_t lo, uint32_t hi)
{
    return lo + (uint32_t)(random_next(state) % (hi - lo + 1u));
}

uint32_t
argmax(const float *row, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

static int
script_fill(const struct model *model, struct script *s, uint64_t seed,
            uint64_t common_seed)
{
    uint32_t vocab = model->shape.vocab, common = 0;
    struct dense *dense = dense_create(model, MAX_LEN);
    s->prompt_len = random_range(&seed, 1, MAX_LEN * 2 / 3);
    s->total_len = s->prompt_len + random_range(&seed, 1, MAX_LEN / 3);
    if (random_range(&seed, 0, 1))
        common = s->prompt_len * 3 / 4;
    for (uint32_t i = 0; i < s->prompt_len; i++)
        s->tokens[i] = (int32_t)random_range(i < common ? &common_seed : &seed,
                                             0, vocab - 1);
    s->logits = malloc((size_t)s->total_len * vocab * sizeof(float));
    int bad = !dense || !s->logits;
    for (uint32_t i = 0; i < s->total_len && !bad; i++) {
        float *row = s->logits + (size_t)i * vocab;
        bad = dense_append(dense, s->tokens[i], row);
        if (i + 1 >= s->prompt_len && i + 1 < s->total_len)
            s->tokens[i + 1] = (int32_t)argmax(row, vocab);
    }
    dense_free(dense);
    return bad ? -1 : 0;
}

int
scripts_create(const struct model *model, uint32_t count, uint64_t seed,
               struct scripts *scripts)
{
    *scripts = (struct scripts){.model = model};
    scripts->all = calloc(count, sizeof *scripts->all);
    if (!scripts->all)
        return -1;
    scripts->count = count;
    for (uint32_t i = 0; i < count; i++)
        if (script_fill(model, &scripts->all[i], seed + 1000 + i, seed)) {
            scripts_destroy(scripts);
            return -1;
        }
    return 0;
}

void
scripts_destroy(struct scripts *scripts)
{
    for (uint32_t i = 0; i < scripts->count; i++)
        free(scripts->all[i].logits);
    free(scripts->all);
    *scripts = (struct scripts){0};
}

/* The sampled token must be the script's, unless the two best are so close
 * that rounding decides. */
static int
check_token(const struct scripts *scripts, const float *want,
            const float *logits, double bound, struct tally *tally)
{
    uint32_t vocab = scripts->model->shape.vocab;
    uint32_t best = argmax(want, vocab), got = argmax(logits, vocab);
    tally->tokens++;
    if (got == best)
        return 0;
    tally->ties++;
    return (double)want[best] - (double)want[got] < 2 * bound ? 0 : -1;
}

int
script_check(const struct scripts *scripts, const struct script *s,
             uint32_t position, const float *logits, struct tally *tally,
             char *text, size_t size)
{
    uint32_t vocab = scripts->model->shape.vocab, worst = 0;
    const float *want = s->logits + (size_t)position * vocab;
    double error = 0, top = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        double e = fabs((double)logits[i] - (double)want[i]);
        if (!(e <= error)) { /* NaN too */
            error = e;
            worst = i;
        }
        top = fmax(top, fabs((double)want[i]));
    }
    tally->rows++;
    tally->worst = fmax(tally->worst, error / top);
    if (!(error <= TOLERANCE * top)) {
        snprintf(text, size,
                 "position %u logit %u is %.9g, must be %.9g (error %.3g of "
                 "max|logit|, bound %.0e)",
                 position, worst, (double)logits[worst], (double)want[worst],
                 error / top, TOLERANCE);
        return -1;
    }
    if (check_token(scripts, want, logits, TOLERANCE * top, tally)) {
        snprintf(text, size, "position %u: sampled token %u, must be %u",
                 position, argmax(logits, vocab), argmax(want, vocab));
        return -1;
    }
    return 0;
}
