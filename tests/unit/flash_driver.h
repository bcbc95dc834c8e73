/* SPDX-License-Identifier: Apache-2.0 */
/* flash_driver.h - runs attn_flash_cpu.so through the bare ABI, beside an f64
 * reference.
 *
 * No part of libattn is used: what fails here is the plugin's own fault. */
#ifndef FLASH_DRIVER_H
#define FLASH_DRIVER_H

#include <attn/plugin.h>

#define DRIVER_MAX_REQS 16

/* A layer and a step. What a request holds follows from its req_seed alone, so
 * that it is the same in any batch. */
typedef struct flash_case {
    uint32_t heads, kv_heads, dim, dim_v, block_size;
    attn_dtype q_type, kv_type, out_type;
    float softcap;
    int32_t window_left, window_right; /* -1: none */
    int causal; /* 0, 1, or 2: by request, those of odd seed */
    int sinks, alibi, ranges, cross, scales;
    int once;        /* an output may err by its own rounding only */
    int far;         /* pages before a request's last are one, and only its last
                        block_size tokens hold anything */
    int token_major; /* caches [block, token, head, dim], else [block, head,
                        token, dim] */
    uint32_t num_reqs;
    uint32_t query_len[DRIVER_MAX_REQS], seq_len[DRIVER_MAX_REQS];
    uint32_t req_seed[DRIVER_MAX_REQS];
    uint32_t page_seed; /* where the pages lie */
    uint32_t threads;   /* at most 8 */
} flash_case;

typedef struct driver driver;
typedef struct flash_data flash_data;

/* The plugin of $top_builddir, initialised with these options; NULL with the
 * reason on stderr. */
driver *driver_open(const attn_key_value *options, uint32_t num_options);
void driver_close(driver *d);

/* Tensors of a case. Cache slots that no request owns hold NaN. */
flash_data *flash_data_create(const flash_case *c);
void flash_data_free(flash_data *data);
uint64_t flash_data_out_count(const flash_data *data); /* tokens */
const void *flash_data_out(const flash_data *data);    /* [T, H, Dv] out_type */
const float *flash_data_lse(const flash_data *data);   /* [T, H] */
uint64_t flash_data_token(const flash_data *data,
                          uint32_t r); /* first token of request r */
const void *flash_data_cache(const flash_data *data, int value);
/* Element of the cache where position p of request r starts, and its slot
 * number. */
uint64_t flash_data_slot(const flash_case *c, const flash_data *data,
                         uint32_t r, uint32_t p, int value, uint32_t head);
int64_t flash_data_slot_id(const flash_case *c, const flash_data *data,
                           uint32_t r, uint32_t p);

/* Builder, bind, prepare, build, `times` forwards. The reason of a failure goes
 * to stderr. seconds (or NULL) gets the fastest forward. */
attn_status driver_run(driver *d, const flash_case *c, flash_data *data,
                       int times, double *seconds);

/* update_cache with k [T, Hkv, D], v [T, Hkv, Dv] of q_type and slots [T]. */
attn_status driver_update(driver *d, const flash_case *c, flash_data *data,
                          void *k, void *v, const int64_t *slots);

/* Compares out and lse with an f64 reference: at most twice the maximal and 1.5
 * times the mean error of a plain f32 implementation that rounds P to q_type. 1
 * when inside; else 0 with the figures on stderr. */
int flash_data_check(const flash_case *c, const flash_data *data);

#endif
