/* SPDX-License-Identifier: Apache-2.0 */
/* verify/roof.h - loops that do nothing but one thing as fast as it goes. */
#ifndef ATTN_VERIFY_ROOF_H
#define ATTN_VERIFY_ROOF_H

#include <attn/types.h>
#include <stddef.h>
#include <stdint.h>

/* A loop of n rounds, and what one round does (operations or bytes). */
typedef struct attn_roof_loop {
    const char *kind;
    void (*run)(uint64_t rounds);
    double per_round;
} attn_roof_loop;

/* [any] The best of this CPU; kind NULL: it has none. Thread state that the
 * loop needs is set up by it. */
attn_roof_loop attn_roof_f32(void);
attn_roof_loop attn_roof_f64(void);
attn_roof_loop attn_roof_bf16(void);

/* [any] Bytes of the last-level cache that a core of this machine sees. */
size_t attn_roof_cache(void);

/* [any] Bytes of an array, read again and again, of which that cache holds
 * little: it does not always forget the oldest. */
size_t attn_roof_cold(void);

/* [any] Reads `bytes` (a multiple of 1024) once; returns something of it. */
uint64_t attn_roof_read(const void *data, size_t bytes);

/* So many threads, each with a part of an array that no cache holds. */
typedef struct attn_roof_reader attn_roof_reader;

/* [any] Allocates and fills the array; num_threads >= 1. ATTN_E_NOMEM. */
attn_status attn_roof_reader_create(uint32_t num_threads,
                                    attn_roof_reader **reader, attn_error *err);
void attn_roof_reader_destroy(attn_roof_reader *reader);
/* [any] All threads read for so long; bytes per second of them together. 0
 * when a thread could not be started. One call at a time. */
double attn_roof_reader_rate(attn_roof_reader *reader, double seconds);

#endif
