/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_body.h - the kernel table of one level. MAMBA_TABLE is set by the
 * file that includes it. */
#include "mamba/cpu/mamba_wide1.h"
#include "mamba/cpu/mamba_wide2.h"

const mamba_kernels MAMBA_TABLE = {
    .epc = EPC,
    .scan2 = mamba2_task,
    .scan1 = mamba1_task,
    .chunk = scan2_chunk,
    .windows = windows_task,
};
