/* SPDX-License-Identifier: Apache-2.0 */
/* launchers.h - the two functions that stand for a kernel on the host's side. */
#ifndef ATTN_FLASH_CUDA_LAUNCHERS_H
#define ATTN_FLASH_CUDA_LAUNCHERS_H

#include "common/gpu/launch.h"
#include "flash/cuda/kernels.h"

namespace flash
{

template <class K>
attn_status
prepare_kernel(int *blocks, attn_error *err)
{
    return gpu::prepare<K>(K::kSharedBytes, blocks, err);
}

template <class K>
attn_status
launch_kernel(const attn_stream &stream, uint32_t blocks, const typename K::Params &p,
              attn_error *err)
{
    return gpu::launch<K>(stream, blocks, K::kSharedBytes, p, err);
}

} // namespace flash

/* Compiles the kernels of one type and widths: what instance_of, of the includer's, is made of. */
#define FLASH_INSTANCE(type, d, dv)                                                \
    namespace flash                                                                \
    {                                                                              \
    extern const Instance instance_##type##_##d##_##dv;                            \
    const Instance instance_##type##_##d##_##dv = instance_of<gpu::type, d, dv>(); \
    }

#endif /* ATTN_FLASH_CUDA_LAUNCHERS_H */
