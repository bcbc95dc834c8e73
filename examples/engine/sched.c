/* SPDX-License-Identifier: Apache-2.0 */
#include "sched.h"

#include <stdio.h>
#include <stdlib.h>

/* ----------------------------------------------------------------- set-up */

static void
plan_limits(const struct plan *plan, const struct shape *shape,
            struct limits *l)
{
    *l = (struct limits){.max_reqs = MAX_REQS,
                         .max_tokens = plan->budget,
                         .max_len = MAX_LEN,
                         .max_drafts = plan->max_drafts};
    for (uint32_t i = 0; i < shape->num_layers; i++) {
        enum kind kind = shape->kinds[i];
        uint32_t pages =
            (MAX_LEN + plan->block_size[kind] - 1) / plan->block_size[kind];
        l->block_size[kind] = plan->block_size[kind];
        l->num_blocks[kind] = pages + pages * plan->spare / 100;
    }
    if (l->num_blocks[KIND_MAMBA]) {
        l->block_size[KIND_MAMBA] = 0;
        l->num_blocks[KIND_MAMBA] = (MAX_REQS + 1) * (1 + plan->max_drafts);
    }
}

/* Each request owns a fixed range of the draft model's pages. */
static void
draft_limits(const struct plan *plan, struct limits *l)
{
    uint32_t size = plan->block_size[KIND_FULL];
    *l = (struct limits){.max_reqs = MAX_REQS,
                         .max_tokens = MAX_REQS * MAX_LEN,
                         .max_len = MAX_LEN};
    l->block_size[KIND_FULL] = size;
    l->num_blocks[KIND_FULL] =
        plan->num_requests * ((MAX_LEN + size - 1) / size);
}

static attn_status
make_draft(struct sched *s, const struct model *model, attn_registry *registry)
{
    struct runner_params p = {.model = model, .registry = registry};
    draft_limits(s->plan, &p.limits);
    if (step_init(&s->draft_step, &p.limits))
        return attn_fail(&s->err, ATTN_E_NOMEM, "engine", "out of memory");
    uint32_t pages = step_columns(&p.limits, KIND_FULL);
    for (uint32_t i = 0; i < s->plan->num_requests; i++)
        for (uint32_t j = 0; j < pages; j++)
            s->requests[i].draft_pages[j] = (int32_t)(i * pages + j);
    return runner_create(&p, &s->draft, &s->err);
}

/* Room for the metadata of one microbatch, a room for each kind. */
static attn_status
make_rooms(struct sched *s)
{
    attn_batch_size size = {.struct_size = sizeof size,
                            .num_reqs = MAX_REQS,
                            .num_tokens = s->plan->budget};
    uint64_t bytes;
    attn_status st = attn_batch_room_bytes(&size, &bytes, &s->err);
    for (int kind = 0; kind < NUM_KINDS && !st; kind++) {
        s->rooms[kind].struct_size = sizeof s->rooms[kind];
        s->memory[kind] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        st = s->memory[kind]
                 ? attn_batch_room_bind(&size, s->memory[kind], bytes,
                                        &s->rooms[kind], &s->err)
                 : attn_fail(&s->err, ATTN_E_NOMEM, "engine", "out of memory");
    }
    return st;
}

static attn_status
setup(struct sched *s, const struct model *draft_model, attn_registry *registry)
{
    const struct plan *plan = s->plan;
    struct runner_params p = {.model = s->scripts->model,
                              .registry = registry,
                              .local_mode = plan->local_mode};
    plan_limits(plan, &p.model->shape, &p.limits);
    s->requests = calloc(plan->num_requests, sizeof *s->requests);
    s->logits = calloc((size_t)MAX_REQS * MAX_LEN * p.model->shape.vocab,
                       sizeof(float));
    int bad = !s->requests || !s->logits || step_init(&s->step, &p.limits);
    for (int kind = 0; kind < NUM_KINDS && !bad; kind++)
        if (p.limits.num_blocks[kind])
            bad = blocks_init(&s->blocks[kind], p.limits.block_size[kind],
                              p.limits.num_blocks[kind], plan->seed);
    if (bad)
        return attn_fail(&s->err, ATTN_E_NOMEM, "engine", "out of memory");
    for (uint32_t i = 0; i < plan->num_requests; i++) {
        struct request *r = &s->requests[i];
        r->script =
            &s->scripts
                 ->all[random_range(&s->random, 0, s->scripts->count - 1)];
        r->known = r->script->prompt_len;
        r->accepted = 1;
    }
    attn_status st = make_rooms(s);
    if (!st)
        st = runner_create(&p, &s->runner, &s->err);
    if (!st && s->fault == FAULT_SKIPPED_UPDATE)
        s->runner->skip_update = 5;
    if (!st && plan->max_drafts)
        st = make_draft(s, draft_model, registry);
    return st;
}

static void
teardown(struct sched *s)
{
    runner_destroy(s->runner);
    runner_destroy(s->draft);
    step_destroy(&s->step);
    step_destroy(&s->draft_step);
    for (int kind = 0; kind < NUM_KINDS; kind++) {
        blocks_destroy(&s->blocks[kind]);
        free(s->memory[kind]);
    }
    free(s->requests);
    free(s->logits);
}

/* ------------------------------------------------------- choosing the work */

static uint32_t
num_in(const struct sched *s, enum phase phase)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->plan->num_requests; i++)
        n += s->requests[i].phase == phase;
    return n;
}

static void
throw_out(struct sched *s, struct request *r)
{
    pages_release(s, r);
    r->phase = WAITING;
    r->resumed = 1;
    r->scheduled = 0;
    s->tally->preempted++;
}

/* The youngest running request but `keep`, or NULL. */
static struct request *
victim(struct sched *s, const struct request *keep)
{
    for (uint32_t i = s->plan->num_requests; i-- > 0;)
        if (s->requests[i].phase == RUNNING && &s->requests[i] != keep)
            return &s->requests[i];
    return NULL;
}

static void
admit(struct sched *s)
{
    for (uint32_t i = 0; i < s->plan->num_requests; i++) {
        struct request *r = &s->requests[i];
        if (r->phase != WAITING || num_in(s, RUNNING) >= s->plan->max_running ||
            random_range(&s->random, 0, 3) == 0)
            continue;
        r->phase = RUNNING;
        pages_share(s, r);
        if (s->fault == FAULT_LOST_RESUME && r->resumed && r->known > 1)
            r->computed = r->known / 2;
    }
}

/* Tokens of r in this step, given what the budget leaves. */
static uint32_t
want_tokens(const struct sched *s, const struct request *r, uint32_t left)
{
    uint32_t want = r->known - r->computed;
    if (want == 1)
        want += r->num_drafts;
    else if (want > s->plan->chunk)
        want = s->plan->chunk;
    return want < left ? want : left;
}

/* Gives r its pages, throwing others out where none are left. */
static void
reserve(struct sched *s, struct request *r)
{
    struct request *other;
    while (pages_reserve(s, r, r->computed + r->scheduled)) {
        if (!(other = victim(s, r)))
            other = r; /* cannot be: one sequence always fits */
        throw_out(s, other);
        if (other == r)
            return;
    }
}

static void
choose(struct sched *s)
{
    uint32_t left = s->plan->budget;
    if (random_range(&s->random, 1, 100) <= s->plan->preempt &&
        num_in(s, RUNNING) > 1)
        throw_out(s, victim(s, NULL));
    admit(s);
    for (uint32_t i = 0; i < s->plan->num_requests; i++) {
        struct request *r = &s->requests[i];
        r->scheduled = 0;
        if (r->phase != RUNNING)
            continue;
        r->scheduled = want_tokens(s, r, left);
        if (r->scheduled)
            reserve(s, r);
    }
    /* A later request may have thrown out an earlier one. */
    for (uint32_t i = 0; i < s->plan->num_requests; i++) {
        struct request *r = &s->requests[i];
        uint32_t fits = r->scheduled < left ? r->scheduled : left;
        r->scheduled = r->phase == RUNNING ? fits : 0;
        left -= r->scheduled;
    }
}

/* ------------------------------------------------------------- one step */

static void
add_row(struct sched *s, const struct request *r, uint32_t row)
{
    struct step *st = &s->step;
    int32_t at = st->query_start_loc[row];
    for (uint32_t i = 0; i < r->scheduled; i++, at++) {
        uint32_t p = r->computed + i;
        st->tokens[at] =
            p < r->known ? r->script->tokens[p] : r->drafts[p - r->known];
        st->positions[at] = (int32_t)p;
    }
    st->query_start_loc[row + 1] = at;
    st->seq_lens[row] = (int32_t)(r->computed + r->scheduled);
    st->has_state[row] = r->computed > 0;
    st->accepted[row] = r->accepted;
    pages_table(s, r, row);
}

/* Decodes stand first, as backends for two phases want them. */
static uint32_t
assemble(struct sched *s, struct request **rows)
{
    uint32_t count = 0;
    for (int decode = 1; decode >= 0; decode--)
        for (uint32_t i = 0; i < s->plan->num_requests; i++) {
            struct request *r = &s->requests[i];
            if (r->scheduled && (r->known == r->computed + 1) == decode)
                rows[count++] = r;
        }
    for (uint32_t i = 0; i < count; i++)
        add_row(s, rows[i], i);
    return count;
}

/* A part of the step as a view of its own. */
static attn_status
cut(struct sched *s, const attn_batch_slice *slice, attn_batch_room *rooms,
    struct view *view)
{
    *view = (struct view){.batch = {.struct_size = sizeof view->batch},
                          .tokens = s->step.tokens + slice->first_token,
                          .positions = s->step.positions + slice->first_token};
    attn_status st = ATTN_OK;
    for (int kind = 0; kind < NUM_KINDS && !st; kind++) {
        attn_kv_group *kv = &view->groups[kind];
        kv->struct_size = sizeof *kv;
        if (s->step.groups[kind].table)
            st =
                attn_microbatch(&s->step.batch, &s->step.groups[kind].kv, slice,
                                &rooms[kind], &view->batch, kv, &s->err);
    }
    return st;
}

static attn_status
forward_parts(struct sched *s)
{
    attn_batch_slice slices[MAX_PARTS];
    uint32_t parts, vocab = s->scripts->model->shape.vocab;
    attn_status st = attn_microbatch_plan(&s->step.batch, s->plan->microbatches,
                                          0, slices, &parts, &s->err);
    for (uint32_t i = 0; i < parts && !st; i++) {
        struct view view;
        st = cut(s, &slices[i], s->rooms, &view);
        if (!st)
            st = runner_forward(
                s->runner, &view,
                s->logits + (size_t)slices[i].first_token * vocab, &s->err);
    }
    s->tally->microbatches += parts > 1 ? parts : 0;
    return st;
}

static attn_status
forward(struct sched *s)
{
    struct view view;
    if (s->plan->microbatches > 1 &&
        s->step.batch.num_tokens >= s->plan->microbatches)
        return forward_parts(s);
    step_view(&s->step, &view);
    return runner_forward(s->runner, &view, s->logits, &s->err);
}

/* Checks the rows of one request and moves it on. 0, or -1 at a difference. */
static int
digest(struct sched *s, struct request *r, const float *rows)
{
    const struct script *script = r->script;
    uint32_t vocab = s->scripts->model->shape.vocab, kept = 0;
    uint32_t given = r->known - r->computed; /* tokens that are no drafts */
    for (; kept < r->scheduled; kept++) {
        uint32_t p = r->computed + kept;
        if (kept >= given && r->drafts[kept - given] != script->tokens[p] &&
            s->fault != FAULT_KEPT_REJECTED)
            break;
        if (script_check(s->scripts, script, p, rows + (size_t)kept * vocab,
                         s->tally, s->text, sizeof s->text))
            return -1;
    }
    s->tally->drafted += r->scheduled > given ? r->scheduled - given : 0;
    s->tally->accepted += kept > given ? kept - given : 0;
    s->tally->chunks += given > 1 && r->scheduled < given;
    r->computed += kept;
    /* A recurrent layer leaves a state per token only where they fit. */
    r->accepted = r->scheduled <= 1 + s->plan->max_drafts ? (int32_t)kept : 1;
    r->num_drafts = 0;
    if (r->known < r->computed + 1)
        r->known = r->computed + 1;
    if (r->computed >= script->total_len) {
        pages_publish(s, r);
        pages_release(s, r);
        r->phase = DONE;
    }
    return 0;
}

static int
one_step(struct sched *s)
{
    struct request *rows[MAX_REQS];
    uint32_t vocab = s->scripts->model->shape.vocab;
    choose(s);
    uint32_t count = assemble(s, rows);
    if (!count)
        return 0;
    if (step_finish(&s->step, count, &s->err))
        return -1;
    fault_apply(s->fault, &s->step);
    if (forward(s))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        size_t first = (size_t)s->step.query_start_loc[i];
        if (digest(s, rows[i], s->logits + first * vocab)) {
            size_t used = 0;
            while (s->text[used])
                used++;
            snprintf(s->text + used, sizeof s->text - used,
                     " (request %d, %u tokens of %u)",
                     (int)(rows[i] - s->requests), rows[i]->scheduled, count);
            return -1;
        }
        if (rows[i]->phase == RUNNING)
            pages_publish(s, rows[i]);
        if (s->fault == FAULT_FREED_PAGE && rows[i]->phase == RUNNING)
            for (int kind = 0; kind < NUM_KINDS; kind++)
                if (rows[i]->num_pages[kind])
                    blocks_release(
                        &s->blocks[kind],
                        rows[i]->pages[kind][--rows[i]->num_pages[kind]]);
    }
    return s->draft ? draft_propose(s) : 0;
}

int
sched_run(const struct plan *plan, const struct scripts *scripts,
          const struct model *draft_model, attn_registry *registry,
          enum fault fault, struct tally *tally, double *seconds, char *text,
          size_t size)
{
    struct sched s = {.plan = plan,
                      .scripts = scripts,
                      .fault = fault,
                      .random = plan->seed,
                      .tally = tally,
                      .err = {.struct_size = sizeof s.err}};
    int rc = setup(&s, draft_model, registry) ? -1 : 0;
    for (uint32_t i = 0; !rc && num_in(&s, DONE) < plan->num_requests; i++) {
        rc = one_step(&s);
        if (!rc && i == 100000) {
            snprintf(s.text, sizeof s.text, "no progress after %u steps", i);
            rc = -1;
        }
    }
    if (rc)
        snprintf(text, size, "%s", s.text[0] ? s.text : s.err.message);
    for (int i = 0; i < NUM_SHARES && s.runner; i++)
        seconds[i] += s.runner->seconds[i];
    teardown(&s);
    return rc;
}
