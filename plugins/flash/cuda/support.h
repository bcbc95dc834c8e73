/* SPDX-License-Identifier: Apache-2.0 */
/* support.h - the launches that do not depend on widths; included by one source a target. */
#ifndef ATTN_FLASH_CUDA_SUPPORT_H
#define ATTN_FLASH_CUDA_SUPPORT_H

#include "common/gpu/launch.h"
#include "flash/cuda/kernels.h"
#include "flash/cuda/plan.h"
#include "flash/cuda/update.h"

namespace flash
{

attn_status
launch_plan(const attn_stream &stream, const Plan &p, attn_error *err)
{
    return gpu::launch<PlanKernel>(stream, 1, PlanKernel::kSharedBytes, p, err);
}

attn_status
load_support(int *arch, attn_error *err)
{
    attn_status status = gpu::code_arch<ConstantsKernel>(arch, err);
    if (!status)
        status = gpu::code_arch<UpdateKernel<gpu::bf16>>(arch, err);
    if (!status)
        status = gpu::code_arch<UpdateKernel<gpu::f16>>(arch, err);
    return status ? status : gpu::code_arch<PlanKernel>(arch, err);
}

attn_status
launch_update(const attn_stream &stream, uint32_t blocks, bool bf16, const Update &p,
              attn_error *err)
{
    return bf16 ? gpu::launch<UpdateKernel<gpu::bf16>>(stream, blocks, 0, p, err)
                : gpu::launch<UpdateKernel<gpu::f16>>(stream, blocks, 0, p, err);
}

attn_status
launch_constants(const attn_stream &stream, const Constants &p, attn_error *err)
{
    return gpu::launch<ConstantsKernel>(stream, 1, 0, p, err);
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_SUPPORT_H */
