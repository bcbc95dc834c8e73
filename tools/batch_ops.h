/* SPDX-License-Identifier: Apache-2.0 */
/* batch_ops.h - the transforms of common metadata as JSON operations.
 *
 * An operation takes an object (the batch and its parameters) and gives one.
 * Recorded cases are lines {"op": ..., "input": ..., "expect": ...}. */
#ifndef BATCH_OPS_H
#define BATCH_OPS_H

#include <attn/attn.h>
#include <jansson.h>

#define OPS_BATCH 1u /* reads query_start_loc and what belongs to a batch */
#define OPS_LENS 2u  /* ... and cannot do without seq_lens */
#define OPS_TABLE 4u /* ... and a block table */

typedef struct batch_param {
    const char *name;
    const char *value; /* default, as JSON; NULL: must be given */
    const char *help;  /* one line */
} batch_param;

typedef struct ops_case ops_case;

typedef struct batch_op {
    const char *name;
    const char *summary; /* one line */
    const batch_param *params;
    uint32_t num_params;
    uint32_t needs; /* OPS_* */
    /* Adds its results to `result`. A failure is in case->err. */
    attn_status (*run)(ops_case *c, json_t *result);
} batch_op;

/* NULL past the end. Static. */
const batch_op *batch_op_at(size_t index);
const batch_op *batch_op_find(const char *name);
/* The keys of a batch that every operation with OPS_BATCH takes; NULL past
 * the end. Static. */
const char *batch_op_key(size_t index);

/* A new object, or NULL with *err saying why. Missing parameters take their
 * defaults; keys that the operation does not know are refused. */
json_t *batch_op_run(const batch_op *op, const json_t *input, attn_error *err);

/* 1 when `got` is what `expect` says. null matches anything; max_seq_len is a
 * bound: what was got may be less. Otherwise 0, and why says where. */
int batch_op_match(const json_t *expect, const json_t *got, char *why,
                   size_t size);

#define BATCH_LINE_PASS 0
#define BATCH_LINE_MISMATCH 1
#define BATCH_LINE_BAD 2 /* unreadable, or an unknown operation */
/* Runs one recorded case. why: what is wrong with it. op: its name when that
 * is known; static. */
int batch_check_line(const char *line, size_t length, const char **op,
                     char *why, size_t size);

#endif /* BATCH_OPS_H */
