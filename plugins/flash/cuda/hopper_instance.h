/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_instance.h - FLASH_HOPPER(bf16, 128, 128): the kernel of hopper.h for one type and
 * widths. */
#ifndef ATTN_FLASH_CUDA_HOPPER_INSTANCE_H
#define ATTN_FLASH_CUDA_HOPPER_INSTANCE_H

#include "flash/cuda/hopper.h"
#include "flash/cuda/instance.h"

#define FLASH_HOPPER(type, d, dv)                                       \
    namespace flash                                                     \
    {                                                                   \
    typedef Hopper<gpu::type, d, dv> hopper_kernel_##type##_##d##_##dv; \
    extern const HopperInstance hopper_##type##_##d##_##dv;             \
    const HopperInstance hopper_##type##_##d##_##dv = {                 \
        gpu::Element<gpu::type>::is_bf16,                               \
        d,                                                              \
        dv,                                                             \
        hopper_kernel_##type##_##d##_##dv::kRows,                       \
        hopper_kernel_##type##_##d##_##dv::kKeys,                       \
        prepare_kernel<hopper_kernel_##type##_##d##_##dv>,              \
        launch_kernel<hopper_kernel_##type##_##d##_##dv>};              \
    }

#endif /* ATTN_FLASH_CUDA_HOPPER_INSTANCE_H */
