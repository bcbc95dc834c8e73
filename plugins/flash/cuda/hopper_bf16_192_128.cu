// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/hopper_instance.h"

FLASH_HOPPER(bf16, 192, 128)
