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
template <class Decode, class Prefill>
Instance
instance_of(bool bf16, int d, int dv)
{
    return {bf16,
            d,
            dv,
            {Decode::kRows, 64, prepare_kernel<Decode>, launch_kernel<Decode>},
            {Prefill::kRows, 64, prepare_kernel<Prefill>, launch_kernel<Prefill>}};
}

} // namespace flash

#define FLASH_INSTANCE(type, d, dv)                                                   \
    namespace flash                                                                   \
    {                                                                                 \
    extern const Instance instance_##type##_##d##_##dv;                               \
    const Instance instance_##type##_##d##_##dv =                                     \
        instance_of<DecodeKernel<gpu::type, d, dv>, PrefillKernel<gpu::type, d, dv>>( \
            gpu::Element<gpu::type>::is_bf16, d, dv);                                 \
    }

#endif /* ATTN_ROCM_FLASH_INSTANCE_H */
