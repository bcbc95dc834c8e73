// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/instance.h"

FLASH_INSTANCE(bf16, 256, 256)
