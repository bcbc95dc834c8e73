/* SPDX-License-Identifier: Apache-2.0 */
/* verify/ladder.h - inside the ladder: a rung runs in a child, on one backend,
 * and reports by notes. */
#ifndef ATTN_VERIFY_LADDER_H
#define ATTN_VERIFY_LADDER_H

#include <attn/verify.h>

#include "verify/support.h"
#include "verify/trial.h"

#define ATTN_REASON 512

/* One message of a child to its parent; at most PIPE_BUF bytes, so whole. */
typedef enum attn_note_type {
    ATTN_NOTE_PROGRESS,
    ATTN_NOTE_RESULT,
    ATTN_NOTE_CLAIM,
    ATTN_NOTE_TARGET
} attn_note_type;

typedef struct attn_note {
    uint32_t type;
    uint32_t state; /* ATTN_RUNG_*; of a target: ATTN_STATE_*; claim: proven */
    uint32_t done, total, num_cases;
    uint32_t emulated;
    uint64_t seed;
    char kind[16];
    char name[128]; /* of the target, or the claim */
    char file[1024];
    char reason[ATTN_REASON];
} attn_note;

/* An executor whose loops can be told to run in unusual ways. */
typedef struct attn_switch {
    attn_executor self;
    attn_executor *pool;
    uint32_t mode; /* ATTN_LOOP_* */
} attn_switch;

#define ATTN_LOOP_POOL 0u    /* real threads */
#define ATTN_LOOP_INLINE 1u  /* the caller alone: callers run in parallel */
#define ATTN_LOOP_SHUFFLE 2u /* the caller alone, as ever changing workers */

attn_status attn_switch_create(uint32_t num_threads, attn_switch **x,
                               attn_error *err);
void attn_switch_destroy(attn_switch *x);

/* What a rung works with. */
typedef struct attn_climb {
    const attn_ladder_params *params;
    attn_switch *loops;
    attn_registry *registry;
    const attn_entry *entry;
    int fd; /* notes go here; -1: to `direct` */
    void (*direct)(void *arg, const attn_note *note);
    void *direct_arg;
    double end;  /* when to stop starting cases (attn_climb_now) */
    double rate; /* flops per second of this backend so far; 0: unknown */
    uint64_t seed;
    uint32_t num_cases;
    uint32_t num_late; /* cases that there was no time for */
    uint64_t current;  /* case that runs */
} attn_climb;

/* [main] Opens the registry of the parameters. */
attn_status attn_climb_open(attn_climb *c, attn_error *err);
void attn_climb_close(attn_climb *c);

double attn_climb_now(void);
void attn_climb_note(attn_climb *c, const attn_note *note);
void attn_climb_progress(attn_climb *c, uint32_t done, uint32_t total);
void attn_climb_claim(attn_climb *c, const char *kind, const char *claim,
                      int proven, const char *reason);

/* One problem of the ladder. Its id says all: 0xMMxxxx.. a model's shape on a
 * batch, 0x80.. a random layer, else made by a rung. */
#define ATTN_CASE_REQUESTS 40
typedef struct attn_ladder_case {
    uint64_t id;
    attn_any_layer layer;
    attn_spec_request requests[ATTN_CASE_REQUESTS];
    uint32_t num_reqs;
    uint32_t flags;     /* ATTN_CASE_* */
    uint32_t run_flags; /* ATTN_RUN_* */
    char label[256];
} attn_ladder_case;

/* [any] The case of this id for this backend's family. 0: it has no such
 * case. *reason then says why. */
int attn_ladder_case_make(attn_climb *c, uint64_t id, attn_ladder_case *out);
uint64_t attn_ladder_model_id(uint32_t model, uint32_t spec, uint32_t dtype,
                              uint32_t seed);
uint64_t attn_ladder_random_id(uint64_t seed);
uint32_t attn_ladder_num_models(const attn_climb *c);
#define ATTN_LADDER_SPECS 13u
#define ATTN_LADDER_DTYPES 3u

/* [any] What differs from the family's defaults, into k->label. */
void attn_ladder_describe(attn_ladder_case *k, const char *what);

/* [main] Generates, computes, runs and compares. ATTN_RUNG_SKIP: the backend
 * refuses the layer, or it would take too long; *reason says which. */
uint32_t attn_ladder_case_run(attn_climb *c, const attn_ladder_case *k,
                              char *reason, size_t size);

/* [main] The call of a case, NULL with *reason. */
attn_call *attn_ladder_case_call(attn_climb *c, const attn_ladder_case *k,
                                 char *reason, size_t size);

/* [main] ATTN_RUNG_PASS or FAIL: a result against its reference, and the
 * caches it had to update. */
uint32_t attn_ladder_judge(const attn_call *call, const attn_call *result,
                           char *reason, size_t size);

/* [any] The backend's simplest layer of a claim set: every field claimed. */
int attn_ladder_base(const attn_climb *c, const attn_caps *caps,
                     attn_any_layer *layer);
/* [any] Changes a field and finishes; 0 when the layer is then impossible. */
int attn_ladder_set(attn_any_layer *layer, const char *name, const char *value);
/* [any] Adds a need, with the fields it stands for. */
int attn_ladder_need(attn_any_layer *layer, uint64_t feature);
/* [any] A random layer; wild: outside the claims too. */
int attn_ladder_random(const attn_climb *c, attn_random *rng, int wild,
                       attn_any_layer *layer);
/* [any] A few short requests that fit the layer. */
void attn_ladder_requests(const attn_climb *c, attn_random *rng,
                          attn_ladder_case *k, uint32_t longest);

/* [main] A rung: ATTN_RUNG_* and a line of what was done or went wrong. */
typedef uint32_t (*attn_rung_run)(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_file(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_handshake(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_claims(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_check(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_numerics(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_memory(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_capture(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_threads(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_invariance(attn_climb *c, char *reason, size_t size);
uint32_t attn_rung_leaks(attn_climb *c, char *reason, size_t size);

/* A rung and how long it may take. */
typedef struct attn_rung_row {
    attn_rung pub;
    attn_rung_run run;
    float budget_s, quick_s; /* it starts no case after that */
} attn_rung_row;
extern const attn_rung_row attn_rungs[];
extern const size_t attn_num_rungs;

/* [main] Runs one rung of one backend ("-": none) in a child, or here, and
 * hands its notes to `sink`; the last one is always a RESULT. */
void attn_rung_isolated(const attn_ladder_params *params,
                        const attn_rung_row *row, const char *backend,
                        void (*sink)(void *arg, const attn_note *note),
                        void *arg);
/* [main] One TARGET note for each backend that the registry has, then a
 * RESULT. */
void attn_rung_discover(const attn_ladder_params *params,
                        void (*sink)(void *arg, const attn_note *note),
                        void *arg);

#endif
