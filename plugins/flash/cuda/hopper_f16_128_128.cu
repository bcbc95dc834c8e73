// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/hopper_instance.h"

FLASH_HOPPER(f16, 128, 128)
