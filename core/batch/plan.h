/* SPDX-License-Identifier: Apache-2.0 */
/* What the planners share. */
#ifndef ATTN_BATCH_PLAN_H
#define ATTN_BATCH_PLAN_H

#include "base/error.h"
#include "batch/batch.h"

/* ATTN_E_WORKSPACE when a list was given and is too short. */
static inline attn_status
plan_fits(const char *list, const void *array, uint32_t capacity,
          uint64_t count, attn_error *err)
{
    if (!array || count <= capacity)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_WORKSPACE, list,
                          "%s: room for %u, needs %llu", list, capacity,
                          (unsigned long long)count);
}

static inline attn_status
plan_first(const attn_batch *batch, uint32_t first_request, attn_error *err)
{
    if (first_request <= batch->num_reqs)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "first_request",
                          "first_request %u of %u", first_request,
                          batch->num_reqs);
}

#endif /* ATTN_BATCH_PLAN_H */
