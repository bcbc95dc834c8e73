/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - what every unit test starts with. */
#ifndef ATTN_TESTS_UNIT_H
#define ATTN_TESTS_UNIT_H

#include <string.h>

#include <attn/plugin.h>

#include "base/error.h"
#include "suite.h"

/* expr fails with this status and this text somewhere in the message. */
#define ck_assert_error(expr, err, wanted, text)                       \
    do {                                                               \
        (err) = ATTN_ERROR_INIT;                                       \
        ck_assert_int_eq((expr), (wanted));                            \
        ck_assert_int_eq((err).status, (wanted));                      \
        ck_assert_msg(strstr((err).message, (text)) != NULL,           \
                      "'%s' does not hold '%s'", (err).message, text); \
    } while (0)

/* expr succeeds; its message is shown otherwise. */
#define ck_assert_good(expr, err)                                         \
    do {                                                                  \
        (err) = ATTN_ERROR_INIT;                                          \
        attn_status s_ = (expr);                                          \
        ck_assert_msg(s_ == ATTN_OK, "status %d: %s", s_, (err).message); \
    } while (0)

#endif /* ATTN_TESTS_UNIT_H */
