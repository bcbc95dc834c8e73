/* SPDX-License-Identifier: Apache-2.0 */
/* base/size.h - structs of applications that were built with another minor.
 *
 * What ends with its field `last` was all of struct T in 1.0: an application
 * gives at least that much. Later fields are read under ATTN_KNOWS. */
#ifndef ATTN_BASE_SIZE_H
#define ATTN_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ATTN_UP_TO(T, last) (offsetof(T, last) + sizeof(((T *)0)->last))

/* What attn_take is for inputs, for results: *to, of `room` bytes, becomes as
 * much of *from, of `size`, as it holds, and its struct_size says how much. The
 * two may be the same. */
static inline void
attn_give(void *to, uint32_t room, const void *from, size_t size)
{
    const uint32_t known = room < size ? room : (uint32_t)size;
    memmove(to, from, known);
    memcpy(to, &known, sizeof known);
}

#endif /* ATTN_BASE_SIZE_H */
