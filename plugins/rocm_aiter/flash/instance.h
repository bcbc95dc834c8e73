/* SPDX-License-Identifier: Apache-2.0 */
/* instance.h - FLASH_INSTANCE(bf16, 128, 128) compiles the kernels of one type and widths. */
#ifndef ATTN_ROCM_FLASH_INSTANCE_H
#define ATTN_ROCM_FLASH_INSTANCE_H

#include "flash/cuda/launchers.h"
#include "rocm_aiter/flash/decode.h"
#include "rocm_aiter/flash/prefill.h"

namespace flash
{

/* Not constexpr: a constant would be compiled for the device too, with its host functions. */
template <class T, int DQ, int DV>
Instance
instance_of()
{
    using Decode = DecodeKernel<T, DQ, DV>;
    using Prefill = PrefillKernel<T, DQ, DV>;
    return {gpu::Element<T>::is_bf16,
            DQ,
            DV,
            {Decode::kRows, 64, prepare_kernel<Decode>, launch_kernel<Decode>},
            {Prefill::kRows, 64, prepare_kernel<Prefill>, launch_kernel<Prefill>}};
}

} // namespace flash

#endif /* ATTN_ROCM_FLASH_INSTANCE_H */
