/* SPDX-License-Identifier: Apache-2.0 */
#define CELL_BF16 1
#define MLA_TABLE mla_kernels_avx512bf16
#include "mla/cpu/mla_body.h"
