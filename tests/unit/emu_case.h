/* SPDX-License-Identifier: Apache-2.0 */
/* emu_case.h - one launch on the emulated GPU, and what it said. */
#ifndef EMU_CASE_H
#define EMU_CASE_H

#include "common/gpu/launch.h"
#include "common/gpu/tile.h"

#include <check.h>
#include <string>

/* The error of one block of `threads`, "" when there was none. */
template <class P>
std::string
outcome(void (*kernel)(const void *), uint32_t threads, uint32_t shared,
        const P &params, uint32_t warp_size = 32)
{
    char message[emu::kMessage] = "";
    const emu::Launch l = {"test",    1,      threads, shared,
                           warp_size, kernel, &params};
    return emu::run(l, message) ? "" : message;
}

inline void
expect(const std::string &got, const char *part)
{
    ck_assert_msg(got.find(part) != std::string::npos, "'%s' in '%s'", part,
                  got.c_str());
    ck_assert_msg(got.find("(test_emu") != std::string::npos, "place in '%s'",
                  got.c_str());
    ck_assert_msg(got.find("test block 0 thread ") == 0,
                  "kernel and thread in '%s'", got.c_str());
}

inline void
clean(const std::string &got)
{
    ck_assert_msg(got.empty(), "%s", got.c_str());
}

/* Small integers, so that every order of sums is exact. */
inline float
a_of(int i, int k)
{
    return float((i * 3 + k * 5) % 11 - 5);
}
inline float
b_of(int k, int j)
{
    return float((k * 7 + j * 2) % 13 - 6);
}
inline float
product_of(int i, int j, int depth)
{
    float sum = 0;
    for (int k = 0; k < depth; k++)
        sum += a_of(i, k) * b_of(k, j);
    return sum;
}

#endif
