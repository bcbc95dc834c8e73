/* SPDX-License-Identifier: Apache-2.0 */
#define MLA_TABLE mla_kernels_avx512
#include "mla/cpu/mla_body.h"
