// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/instance.h"

FLASH_INSTANCE(f16, 128, 128)
