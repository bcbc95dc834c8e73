// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/kernels.h"

namespace flash
{

/* Smallest first: the first that holds a pair is taken. */
#define FLASH_WIDTHS(X, type) \
    X(type, 64, 64)           \
    X(type, 96, 96) X(type, 128, 128) X(type, 192, 128) X(type, 192, 192) X(type, 256, 256)

#define FLASH_DECLARE(type, d, dv) extern const Instance instance_##type##_##d##_##dv;
#define FLASH_ADDRESS(type, d, dv) &instance_##type##_##d##_##dv,

FLASH_WIDTHS(FLASH_DECLARE, bf16)
FLASH_WIDTHS(FLASH_DECLARE, f16)

static const Instance *const instances[] = {FLASH_WIDTHS(FLASH_ADDRESS, bf16)
                                                FLASH_WIDTHS(FLASH_ADDRESS, f16)};

const Instance *
instance_find(bool bf16, int d, int dv)
{
    for (const Instance *i : instances)
        if (i->bf16 == bf16 && i->d >= d && i->dv >= dv)
            return i;
    return nullptr;
}

} // namespace flash
