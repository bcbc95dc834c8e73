/* SPDX-License-Identifier: Apache-2.0 */
#define GEMM_ROWS 6
#define GEMM_VECS 4
#define KERNEL_SYMBOL flash_bf16_vbmi
#include "flash/cpu/kernel_bf16.h"
