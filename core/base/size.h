/* SPDX-License-Identifier: Apache-2.0 */
/* base/size.h - structs of applications that were built with another minor.
 *
 * What ends with its field `last` was all of struct T in 1.0: an application
 * gives at least that much. Later fields are read under ATTN_KNOWS. */
#ifndef ATTN_BASE_SIZE_H
#define ATTN_BASE_SIZE_H

#include <stddef.h>

#define ATTN_UP_TO(T, last) (offsetof(T, last) + sizeof(((T *)0)->last))

#endif /* ATTN_BASE_SIZE_H */
