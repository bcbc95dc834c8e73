// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/instance.h"

FLASH_INSTANCE(bf16, 64, 64)
FLASH_HOPPER(bf16, 64, 64, 128)
