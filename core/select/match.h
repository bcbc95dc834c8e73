/* SPDX-License-Identifier: Apache-2.0 */
/* select/match.h - a layer against a backend's claims, then its check. */
#ifndef ATTN_SELECT_MATCH_H
#define ATTN_SELECT_MATCH_H

#include <attn/select.h>

/* What a layer asks of a backend beyond its own fields. */
typedef struct attn_wish {
    const attn_layer *layer; /* finished */
    const char *arch;        /* of the device, "" when unknown */
    uint64_t max_seq_len;    /* 0: not said */
    uint32_t capture;        /* ATTN_CAPTURE_* */
} attn_wish;

/* [any] Whether the backend can run it: ATTN_OK, or ATTN_E_UNSUPPORTED with
 * every reason. Of several sets of claims the one that misses least speaks;
 * only where one fits the backend's own check is asked. */
attn_status attn_backend_match(const attn_backend *backend,
                               const attn_wish *wish, attn_reasons *reasons);

/* [any] "never", "decode", "uniform", "always". */
const char *attn_capture_str(uint32_t capture);

#endif /* ATTN_SELECT_MATCH_H */
