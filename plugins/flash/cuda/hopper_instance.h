/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_instance.h - FLASH_HOPPER(bf16, 128, 128): the kernels of hopper.h for one type and
 * widths, one for 16-bit and one for fp8 caches. */
#ifndef ATTN_FLASH_CUDA_HOPPER_INSTANCE_H
#define ATTN_FLASH_CUDA_HOPPER_INSTANCE_H

#include "flash/cuda/hopper.h"
#include "flash/cuda/instance.h"

namespace flash
{

template <class T, int DQ, int DV, bool Bytes>
constexpr HopperInstance
hopper_of()
{
    using K = Hopper<T, DQ, DV, Bytes>;
    return {gpu::Element<T>::is_bf16, Bytes,           DQ, DV, K::kRows, K::kKeys,
            prepare_kernel<K>,        launch_kernel<K>};
}

} // namespace flash

#define FLASH_HOPPER(type, d, dv)                                                               \
    namespace flash                                                                             \
    {                                                                                           \
    extern const HopperInstance hopper_##type##_##d##_##dv[2];                                  \
    const HopperInstance hopper_##type##_##d##_##dv[2] = {hopper_of<gpu::type, d, dv, false>(), \
                                                          hopper_of<gpu::type, d, dv, true>()}; \
    }

#endif /* ATTN_FLASH_CUDA_HOPPER_INSTANCE_H */
