/* SPDX-License-Identifier: Apache-2.0 */
#include "sched.h"

#include <string.h>

/* The draft model has pages of its own, one range per request: its cache is
 * small, and a rejected token's keys are simply written over. */

/* Requests that may try tokens, in the order of the step's rows. */
static uint32_t
candidates(struct sched *s, struct request **list, uint32_t *want)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->plan->num_requests; i++) {
        struct request *r = &s->requests[i];
        uint32_t room = r->script->total_len - r->known;
        uint32_t most = s->plan->max_drafts < room ? s->plan->max_drafts : room;
        r->num_drafts = 0;
        if (r->phase != RUNNING || r->known != r->computed + 1 || !most)
            continue;
        want[count] = random_range(&s->random, 0, most);
        if (want[count])
            list[count++] = r;
    }
    return count;
}

/* Row `row`: tokens [from, to) of what r knows and has drafted. */
static void
add_row(struct sched *s, const struct request *r, uint32_t row, uint32_t from,
        uint32_t to)
{
    struct step *st = &s->draft_step;
    uint32_t cols = step_columns(&st->limits, KIND_FULL);
    int32_t at = st->query_start_loc[row];
    for (uint32_t p = from; p < to; p++, at++) {
        st->tokens[at] =
            p < r->known ? r->script->tokens[p] : r->drafts[p - r->known];
        st->positions[at] = (int32_t)p;
    }
    st->query_start_loc[row + 1] = at;
    st->seq_lens[row] = (int32_t)to;
    memcpy(st->groups[KIND_FULL].table + row * cols, r->draft_pages,
           cols * sizeof(int32_t));
}

/* One pass of the draft model over the rows; one more draft for each. */
static int
pass(struct sched *s, struct request **list, uint32_t count)
{
    struct step *st = &s->draft_step;
    uint32_t vocab = s->draft->model->shape.vocab;
    struct view view;
    if (step_finish(st, count, &s->err))
        return -1;
    step_view(st, &view);
    if (runner_forward(s->draft, &view, s->logits, &s->err))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = (uint32_t)st->query_start_loc[i + 1] - 1;
        list[i]->drafts[list[i]->num_drafts++] =
            (int32_t)argmax(s->logits + (size_t)last * vocab, vocab);
    }
    return 0;
}

/* Where the draft model goes on: it must see the last token at least. */
static uint32_t
first_row(const struct request *r)
{
    return r->draft_computed < r->known ? r->draft_computed : r->known - 1;
}

int
draft_propose(struct sched *s)
{
    struct request *list[MAX_REQS];
    uint32_t want[MAX_REQS], count = candidates(s, list, want);
    if (!count)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        add_row(s, list[i], i, first_row(list[i]), list[i]->known);
    if (pass(s, list, count))
        return -1;
    for (;;) {
        uint32_t left = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct request *r = list[i];
            r->draft_computed = r->known;
            if (r->num_drafts >= want[i])
                continue;
            uint32_t end = r->known + r->num_drafts;
            want[left] = want[i];
            list[left] = r;
            add_row(s, r, left++, end - 1, end);
        }
        count = left;
        if (!count)
            return 0;
        if (pass(s, list, count))
            return -1;
    }
}
