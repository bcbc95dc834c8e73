/* SPDX-License-Identifier: Apache-2.0 */
#define CELL_BF16 1
#define MAMBA_TABLE mamba_kernels_avx512bf16
#include "mamba/cpu/mamba_body.h"
