/* SPDX-License-Identifier: Apache-2.0 */
#define GEMM_ROWS 6
#define GEMM_VECS 4
#define KERNEL_SYMBOL flash_f32_avx512
#include "flash/cpu/kernel_f32.h"
