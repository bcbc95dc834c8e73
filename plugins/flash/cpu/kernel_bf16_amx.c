/* SPDX-License-Identifier: Apache-2.0 */
#define KERNEL_AMX 1
#define GEMM_ROWS 32
#define GEMM_VECS 4
#define KEY_ALIGN 32
#define KERNEL_SYMBOL flash_bf16_amx
#include "flash/cpu/kernel_bf16.h"
