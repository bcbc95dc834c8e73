/* SPDX-License-Identifier: Apache-2.0 */
#define MAMBA_TABLE mamba_kernels_avx512
#include "mamba/cpu/mamba_body.h"
