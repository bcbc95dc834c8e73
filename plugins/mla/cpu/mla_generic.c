/* SPDX-License-Identifier: Apache-2.0 */
#define MLA_TABLE mla_kernels_generic
#define MLA_NAME "generic"
#include "mla/cpu/mla_body.h"
