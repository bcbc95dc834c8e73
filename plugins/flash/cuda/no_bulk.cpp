// SPDX-License-Identifier: Apache-2.0
// For devices without bulk copies and warpgroup products.
#include "flash/cuda/builder.h"

namespace flash
{

const HopperInstance *
choose_hopper(const attn_builder *)
{
    return nullptr;
}

attn_status
launch_hopper(const attn_builder *, const attn_flash_forward *, const Forward &, attn_error *err)
{
    return attn_fail(err, ATTN_E_INTERNAL, "kernel", "this device has no such kernel");
}

} // namespace flash
