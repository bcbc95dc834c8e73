/* SPDX-License-Identifier: Apache-2.0 */
/* step.h - the tokens of one step and the metadata that describes them. */
#ifndef ENGINE_STEP_H
#define ENGINE_STEP_H

#include <attn/attn.h>
#include <attn/transform.h>

#include "model.h"

/* Sizes that nothing in one run exceeds. */
struct limits {
    uint32_t max_reqs, max_tokens, max_len, max_drafts;
    uint32_t block_size[NUM_KINDS], num_blocks[NUM_KINDS];
};

/* One KV group of a step. Rows of table: max_blocks(kind) entries. */
struct step_group {
    attn_kv_group kv;
    int32_t *table;
    int64_t *slots;
};

/* Arrays are owned by the step, sized by the limits. */
struct step {
    struct limits limits;
    int32_t *tokens, *positions; /* [T] */
    int32_t *query_start_loc;    /* [R+1] */
    int32_t *seq_lens;           /* [R] */
    uint8_t *has_state;          /* [R] Mamba: continue from its state */
    int32_t *accepted;           /* [R] Mamba: of the last step, >= 1 */
    attn_batch batch;            /* points at the arrays above */
    attn_ext_state state;        /* on the Mamba group */
    struct step_group groups[NUM_KINDS];
};

/* What is run at once: a whole step or one microbatch of it. The arrays
 * belong to the step. Groups of unused kinds are zero. */
struct view {
    attn_batch batch;
    attn_kv_group groups[NUM_KINDS];
    const int32_t *tokens, *positions; /* [T] */
};

/* Columns of a block table of this kind. */
uint32_t step_columns(const struct limits *limits, enum kind kind);
/* 0, or -1 without memory. */
int step_init(struct step *step, const struct limits *limits);
void step_destroy(struct step *step);
/* Makes batch and groups describe num_reqs requests whose tokens, lengths
 * and tables were filled in; derives the slot mapping. */
attn_status step_finish(struct step *step, uint32_t num_reqs, attn_error *err);

/* All of a finished step. */
void step_view(const struct step *step, struct view *view);

#endif
