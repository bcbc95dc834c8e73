/* SPDX-License-Identifier: Apache-2.0 */
/* alloc_fail.h - allocation failure injected into the code under test.
 *
 * A test program that compiles alloc_fail.c and links with
 * $(ALLOC_FAIL_LINK) sees every malloc, calloc, realloc, strdup, strndup,
 * aligned_alloc and posix_memalign made by objects linked into it (not those
 * inside shared libraries). Thread-safe; counts all threads. Check itself may
 * allocate in an assertion: stop first, then assert. */
#ifndef ATTN_TESTS_ALLOC_FAIL_H
#define ATTN_TESTS_ALLOC_FAIL_H

#include <stddef.h>
#include <stdint.h>

#define ALLOC_FAIL_NEVER SIZE_MAX

/* Starts counting; the allocation number fail_at (from 0) fails, and only
 * that one. ALLOC_FAIL_NEVER only counts. */
void alloc_fail_start(size_t fail_at);

/* Stops; how many allocations were asked for since start. */
size_t alloc_fail_stop(void);

#endif /* ATTN_TESTS_ALLOC_FAIL_H */
