/* SPDX-License-Identifier: Apache-2.0 */
#define GEMM_ROWS 4
#define GEMM_VECS 2
#define KERNEL_SYMBOL flash_f32_generic
#include "flash/cpu/kernel_f32.h"
