/* SPDX-License-Identifier: Apache-2.0 */
/* fault.h - mistakes that engines make, made on purpose: each must be caught
 * by --verify. All of them leave valid metadata behind. */
#ifndef ENGINE_FAULT_H
#define ENGINE_FAULT_H

#include "step.h"

enum fault {
    FAULT_NONE,
    FAULT_WRONG_SLOT,      /* a token is written where another belongs */
    FAULT_STALE_LENGTH,    /* a sequence one token short */
    FAULT_SWAPPED_REQUEST, /* two requests exchange a page */
    FAULT_BLOCK_OFF,       /* one entry of a block table is one too far */
    FAULT_WRONG_POSITION,  /* rotary positions one too far */
    FAULT_SKIPPED_UPDATE,  /* a layer forgets to write its cache */
    FAULT_KEPT_REJECTED,   /* rejected drafts stay in the sequence */
    FAULT_LOST_RESUME,     /* a resumed request skips its first page */
    FAULT_BAD_SHARING,     /* a page is shared though its last token differs */
    FAULT_FREED_PAGE,      /* a page in use goes back to the free list */
    FAULT_SWAPPED_TOKENS,  /* two tokens of a chunk exchange places */
    NUM_FAULTS
};

/* "wrong-slot"; NULL past the last. */
const char *fault_name(enum fault fault);
/* By name; NUM_FAULTS when unknown. */
enum fault fault_find(const char *name);
/* Spoils a finished step, where the fault is one of metadata. */
void fault_apply(enum fault fault, struct step *step);

#endif
