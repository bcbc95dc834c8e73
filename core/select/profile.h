/* SPDX-License-Identifier: Apache-2.0 */
/* select/profile.h - measured speed: the [profile] sections of a
 * configuration.
 *
 * A section speaks for a layer when its family is the layer's and each field
 * and the features that it states are the layer's. For a phase, sections of
 * that phase count, else those of any; for any phase, all of them. A
 * backend's time is the sum over the sections that count, and it has none
 * where one of them lacks it. */
#ifndef ATTN_SELECT_PROFILE_H
#define ATTN_SELECT_PROFILE_H

#include <attn/config.h>
#include <attn/select.h>

typedef struct attn_profile {
    const attn_config *config; /* NULL: nothing was measured */
    const attn_layer *layer;
    uint32_t phase;       /* of the sections that count */
    uint32_t every_phase; /* 1: any phase counts */
    uint32_t count;       /* sections that count */
    char where[160];      /* "[profile x] at file:3", or "2 profiles" */
} attn_profile;

/* [any] Finds what counts. ATTN_E_CONFIG, with file and line: a section of
 * the layer's family names an unknown field or feature, or a bad value. */
attn_status attn_profile_find(const attn_config *config,
                              const attn_layer *layer, uint32_t phase,
                              attn_profile *profile, attn_error *err);

/* [any] Microseconds of a backend; infinity when it was not measured. */
double attn_profile_time(const attn_profile *profile, const char *backend);

#endif /* ATTN_SELECT_PROFILE_H */
