/* SPDX-License-Identifier: Apache-2.0 */
/* dense.h - the model from its definition, one sequence, no library: what
 * every schedule is held against. */
#ifndef ENGINE_DENSE_H
#define ENGINE_DENSE_H

#include "model.h"

/* History of one sequence: rows of every layer, or recurrent states. */
struct dense;

struct dense *dense_create(const struct model *model, uint32_t max_len);
void dense_free(struct dense *dense);
/* Appends one token and gives its logits [vocab]. 0, or -1 when full. */
int dense_append(struct dense *dense, int32_t token, float *logits);

#endif
