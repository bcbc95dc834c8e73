/* SPDX-License-Identifier: Apache-2.0 */
/* bench_builders.h - the builders of the CPU backends, as things to time. */
#ifndef BENCH_BUILDERS_H
#define BENCH_BUILDERS_H

#include "batch_make.h"
#include "host.h"

typedef struct bench_builder {
    const attn_entry *entry;
    attn_session *session;
    attn_group *group;
    attn_kv_group kv; /* the batch's, or its states */
    const batch_made *made;
} bench_builder;

/* The next ready CPU backend from *index on; NULL past the end. */
const attn_entry *bench_builder_next(const host *h, size_t *index);

/* A group of one typical layer of the entry's family. CLI_OK, or an exit code
 * after the message. Closed in either case. */
int bench_builder_open(const host *h, const attn_entry *entry,
                       const batch_made *made, bench_builder *b);
/* One build, with the validation that a session does before it. */
attn_status bench_builder_run(bench_builder *b, attn_error *err);
void bench_builder_close(bench_builder *b);

#endif /* BENCH_BUILDERS_H */
