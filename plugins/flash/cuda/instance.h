/* SPDX-License-Identifier: Apache-2.0 */
/* instance.h - FLASH_INSTANCE(bf16, 128, 128): the general kernels of one type and widths. */
#ifndef ATTN_FLASH_CUDA_INSTANCE_H
#define ATTN_FLASH_CUDA_INSTANCE_H

#include "flash/cuda/general.h"
#include "flash/cuda/launchers.h"

namespace flash
{

template <class K>
constexpr Kernel
kernel_of()
{
    return {K::kRows, 64, prepare_kernel<K>, launch_kernel<K>};
}

} // namespace flash

#define FLASH_INSTANCE(type, d, dv)                                                                \
    namespace flash                                                                                \
    {                                                                                              \
    extern const Instance instance_##type##_##d##_##dv;                                            \
    const Instance instance_##type##_##d##_##dv = {gpu::Element<gpu::type>::is_bf16, d, dv,        \
                                                   kernel_of<General<gpu::type, d, dv, true>>(),   \
                                                   kernel_of<General<gpu::type, d, dv, false>>()}; \
    }

#endif /* ATTN_FLASH_CUDA_INSTANCE_H */
