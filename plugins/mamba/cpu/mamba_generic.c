/* SPDX-License-Identifier: Apache-2.0 */
#define MAMBA_TABLE mamba_kernels_generic
#define MAMBA_NAME "generic"
#include "mamba/cpu/mamba_body.h"
