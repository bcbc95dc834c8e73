/* SPDX-License-Identifier: Apache-2.0 */
/* A good plugin that hangs while it is loaded, as long as what is named by
 * PROBE_TEST_MARK exists. A file it takes away first, a directory it leaves. */
#include <attn/simple.h>

#include <errno.h>
#include <unistd.h>

__attribute__((constructor)) static void
hang_once(void)
{
    const char *mark = getenv("PROBE_TEST_MARK");
    if (mark && (unlink(mark) == 0 || errno == EISDIR))
        for (;;)
            pause();
}

static attn_status
forward(attn_builder *builder, const attn_head *args, attn_error *err)
{
    (void)builder, (void)args;
    return attn_fail(err, ATTN_E_INTERNAL, "forward", "computes nothing");
}

static const attn_op op = {ATTN_SIMPLE_FLASH_OP, .forward = forward};
static const attn_caps caps = {.struct_size = sizeof caps,
                               ATTN_SIMPLE_ARCHS("*")};
static const attn_backend slow = {ATTN_SIMPLE_BACKEND,
                                  .name = "slow_once",
                                  .summary = "loads at the second attempt",
                                  .family = ATTN_FAMILY_FLASH,
                                  .op = &op,
                                  ATTN_SIMPLE_CAPS(&caps)};

ATTN_SIMPLE_ENTRY(slow, "slow_once", "org.libattn.test.slow_once", "1",
                  "Apache-2.0")
