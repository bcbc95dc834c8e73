/* SPDX-License-Identifier: Apache-2.0 */
#define MLA_TABLE mla_kernels_avx2
#include "mla/cpu/mla_body.h"
