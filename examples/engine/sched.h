/* SPDX-License-Identifier: Apache-2.0 */
/* sched.h - continuous batching: which tokens of which requests run in a
 * step, where their pages are, and what is done with the logits. */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H

#include "blocks.h"
#include "fault.h"
#include "runner.h"
#include "script.h"

#define MAX_REQS 8
#define MAX_DRAFTS 4
#define MAX_PARTS 4

/* One schedule: everything that must not change a result. */
struct plan {
    uint64_t seed;
    uint32_t num_requests; /* scripts taken */
    uint32_t max_running;  /* requests in one step */
    uint32_t chunk;        /* prompt tokens of one request in one step */
    uint32_t budget;       /* tokens of one step */
    uint32_t microbatches; /* a step is run in so many parts */
    uint32_t max_drafts;   /* 0: no speculation */
    uint32_t preempt;      /* percent of steps that throw a request out */
    uint32_t share;        /* 1: prefix sharing */
    enum local_mode local_mode;
    uint32_t block_size[NUM_KINDS];
    uint32_t spare; /* pages beyond one full sequence, percent */
};

enum phase { WAITING, RUNNING, DONE };

struct request {
    const struct script *script;
    enum phase phase;
    uint32_t known;     /* tokens sampled or given */
    uint32_t computed;  /* tokens whose keys are in the cache */
    uint32_t scheduled; /* tokens of this step */
    uint32_t resumed;   /* 1: was thrown out before */
    int32_t accepted;   /* tokens kept of the last step, >= 1 */
    uint32_t num_drafts;
    int32_t drafts[MAX_DRAFTS];
    int32_t pages[NUM_KINDS][MAX_LEN];
    uint32_t num_pages[NUM_KINDS];
    int32_t draft_pages[MAX_LEN];
    uint32_t draft_computed;
};

struct sched {
    const struct plan *plan;
    const struct scripts *scripts;
    enum fault fault;
    struct runner *runner, *draft; /* draft NULL: no speculation */
    struct blocks blocks[NUM_KINDS];
    struct step step, draft_step;
    attn_batch_room rooms[NUM_KINDS]; /* of a microbatch */
    void *memory[NUM_KINDS];
    struct request *requests;
    float *logits;
    uint64_t random;
    struct tally *tally;
    attn_error err;
    char text[512]; /* what went wrong */
};

/* Runs every request of the plan to its end. 0, or -1 with sched->text. */
int sched_run(const struct plan *plan, const struct scripts *scripts,
              const struct model *draft_model, attn_registry *registry,
              enum fault fault, struct tally *tally, double *seconds,
              char *text, size_t size);

/* pages.c: the pages of one request. */
/* Pages for the first `tokens` positions. 0, or -1 when none is left. */
int pages_reserve(struct sched *s, struct request *r, uint32_t tokens);
void pages_release(struct sched *s, struct request *r);
/* Takes over full pages with the same tokens; sets r->computed. */
void pages_share(struct sched *s, struct request *r);
/* Makes the full pages of a request findable. */
void pages_publish(struct sched *s, const struct request *r);
/* Fills row `row` of every block table of a step. */
void pages_table(const struct sched *s, const struct request *r, uint32_t row);

/* draft.c: asks the draft model for tokens to try. */
int draft_propose(struct sched *s);

#endif
