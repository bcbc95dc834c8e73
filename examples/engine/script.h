/* SPDX-License-Identifier: Apache-2.0 */
/* script.h - sequences with the logits and greedy tokens that the dense
 * model gives them: what every schedule must reproduce. */
#ifndef ENGINE_SCRIPT_H
#define ENGINE_SCRIPT_H

#include "model.h"

#define MAX_LEN 96

struct script {
    uint32_t prompt_len, total_len;
    int32_t tokens[MAX_LEN]; /* prompt, then the greedy continuation */
    float *logits;           /* [total_len, vocab] */
};

struct scripts {
    const struct model *model;
    uint32_t count;
    struct script *all;
};

/* `count` sequences; half of them share the start of their prompts. 0, or -1
 * without memory. */
int scripts_create(const struct model *model, uint32_t count, uint64_t seed,
                   struct scripts *scripts);
void scripts_destroy(struct scripts *scripts);

/* What came of comparing rows. */
struct tally {
    uint64_t rows, ties, tokens;
    uint64_t drafted, accepted;
    uint64_t preempted, shared_tokens, chunks, microbatches;
    double worst; /* largest error / max|logit| */
};

/* One row of logits at a position. 0 when it is as it must be, else -1 and a
 * line in text. */
int script_check(const struct scripts *scripts, const struct script *script,
                 uint32_t position, const float *logits, struct tally *tally,
                 char *text, size_t size);

/* Seeded random numbers: one step of a 64-bit generator. */
uint64_t random_next(uint64_t *state);
/* lo..hi, both included. */
uint32_t random_range(uint64_t *state, uint32_t lo, uint32_t hi);
/* Index of the largest. */
uint32_t argmax(const float *row, uint32_t count);

#endif
