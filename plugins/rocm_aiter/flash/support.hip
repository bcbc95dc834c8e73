// SPDX-License-Identifier: Apache-2.0
#include "flash/cuda/support.h"
