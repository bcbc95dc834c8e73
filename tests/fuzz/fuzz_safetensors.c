/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a recorded call: refused with a line, or every tensor lies
 * whole in memory and the oracle can compute it without leaving it. */
#include <attn/verify.h>
#include <stdlib.h>
#include <string.h>

#define MOST_FLOPS 1e6
#define MOST_BYTES 1e6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int good)
{
    if (!good)
        abort();
}

static uint64_t
touch(const attn_call *call)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < attn_call_count(call); i++) {
        const attn_call_tensor *t = attn_call_at(call, i);
        require(attn_call_find(call, t->name) == t);
        for (uint64_t k = 0; k < t->bytes; k++)
            sum += ((const uint8_t *)t->data)[k];
    }
    return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    attn_error err = {.struct_size = sizeof err};
    attn_call *call = NULL;
    attn_reference *ref = NULL;
    attn_cost cost;
    const attn_status s = attn_call_parse("fuzz", data, size, &call, &err);
    if (s) {
        require(!call && strncmp(err.message, "fuzz: ", 6) == 0);
        return 0;
    }
    touch(call);
    attn_call_cost(call, &cost);
    if (cost.flops < MOST_FLOPS && cost.bytes < MOST_BYTES &&
        !attn_reference_create(call, 0, ATTN_REFERENCE_USE_EXPECTED, &ref,
                               &err))
        require(attn_reference_count(ref) > 0);
    attn_reference_free(ref);
    attn_call_free(call);
    return 0;
}
