/* SPDX-License-Identifier: Apache-2.0 */
#define MAMBA_TABLE mamba_kernels_avx2
#include "mamba/cpu/mamba_body.h"
