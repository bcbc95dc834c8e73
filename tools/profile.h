/* SPDX-License-Identifier: Apache-2.0 */
/* profile.h - a file of [profile] sections, as attn.ini(5) has them. */
#ifndef PROFILE_H
#define PROFILE_H

#include "bench.h"

/* A file being made; it appears whole, or not at all. */
typedef struct profile {
    char *path; /* NULL: none is open */
    FILE *file; /* of the text so far */
    char *text;
    size_t size;
    const char *name;
    unsigned sections;
} profile;

/* What a section says beside its times. */
typedef struct profile_case {
    const attn_any_layer *layer;
    const char *phase, *batch;
    uint32_t threads;
    int any_pages; /* 1: it speaks for pages of any size */
} profile_case;

/* Opens `out`, or where it is NULL the drop-in name.ini of the configuration,
 * whose directory is made. CLI_OK or an exit code after the message. */
int profile_open(const attn_config *config, const char *out, const char *name,
                 profile *p);
/* Starts a section; profile_time then adds to it. */
void profile_section(profile *p, const profile_case *c);
void profile_time(profile *p, const char *backend, double microseconds);
/* Puts the file in its place; the same path may have an older one. CLI_OK or
 * an exit code after the message. */
int profile_keep(profile *p);
/* Forgets what was not kept. */
void profile_free(profile *p);

#endif /* PROFILE_H */
