/* SPDX-License-Identifier: Apache-2.0 */
/* batch_make.h - a batch and its block table out of a batch spec. */
#ifndef BATCH_MAKE_H
#define BATCH_MAKE_H

#include "cli.h"

#define BATCH_MADE_SPARE 4u /* columns behind the longest sequence */

/* Requests with one new token of a longer sequence are decodes, all others
 * still prefill. Each sequence has blocks of its own in random order; table
 * entries past a sequence and its spare columns are 0x7fffffff. */
typedef struct batch_made {
    attn_batch batch;
    attn_kv_group group;
    int32_t *start, *lens, *prompt, *table;
    uint8_t *prefilling;
    int64_t *slots;
} batch_made;

#define BATCH_MAX_REQUESTS ((1u << 24) - 1)

/* A batch spec's requests, at most BATCH_MAX_REQUESTS. CLI_OK, or an exit code
 * after the message. The caller frees *requests. */
int batch_requests(const char *spec, attn_spec_request **requests,
                   uint32_t *count);

/* A batch of at most max_tokens new tokens. CLI_OK, or an exit code after the
 * message. Freed by batch_made_free in either case. */
int batch_make(const char *spec, uint32_t block_size, uint64_t seed,
               uint32_t max_tokens, batch_made *made);
void batch_made_free(batch_made *made);

#endif /* BATCH_MAKE_H */
