// SPDX-License-Identifier: Apache-2.0
#include "rocm_aiter/flash/instance.h"

FLASH_INSTANCE(f16, 96, 96)
