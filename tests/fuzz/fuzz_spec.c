/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a batch spec: refused in one line, or its requests, written as
 * a spec again, parse to the same requests. */
#include <attn/batch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int good)
{
    if (!good)
        abort();
}

static void
check_again(const attn_spec_request *requests, uint32_t count)
{
    static char text[MOST * 32];
    static attn_spec_request again[MOST];
    size_t used = 0;
    uint32_t n = 0;

    for (uint32_t r = 0; r < count; r++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%sq%us%u",
                                 r ? "_" : "", requests[r].query_len,
                                 requests[r].seq_len);
    require(attn_batch_spec_parse(text, again, MOST, &n, NULL) == ATTN_OK);
    require(n == count);
    require(memcmp(again, requests, count * sizeof *again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static attn_spec_request requests[MOST];
    attn_error err = {.struct_size = sizeof err};
    char *text = malloc(size + 1);
    uint32_t sized = 0, count = 0, shown;

    require(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (attn_batch_spec_parse(text, NULL, 0, &sized, &err)) {
        require(err.status == ATTN_E_ARG && err.message[0] != '\0');
        require(strpbrk(err.message, "\r\n") == NULL);
        free(text);
        return 0;
    }
    require(attn_batch_spec_parse(text, requests, MOST, &count, NULL) ==
            ATTN_OK);
    require(count == sized && count > 0);
    shown = count < MOST ? count : MOST;
    for (uint32_t r = 0; r < shown; r++)
        require(requests[r].query_len >= 1 &&
                requests[r].query_len <= requests[r].seq_len);
    check_again(requests, shown);
    free(text);
    return 0;
}
