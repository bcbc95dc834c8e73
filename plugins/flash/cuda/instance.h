/* SPDX-License-Identifier: Apache-2.0 */
/* instance.h - FLASH_INSTANCE(bf16, 128, 128): the general kernels of one type and widths. */
#ifndef ATTN_FLASH_CUDA_INSTANCE_H
#define ATTN_FLASH_CUDA_INSTANCE_H

#include "flash/cuda/decode.h"
#include "flash/cuda/general.h"
#include "flash/cuda/launchers.h"

namespace flash
{

template <class K>
attn_status
launch_early(const attn_stream &stream, uint32_t blocks, const typename K::Params &p,
             attn_error *err)
{
    return gpu::launch<K>(stream, blocks, K::kSharedBytes, p, err, p.early != 0);
}

template <class T, int DQ, int DV, int Kind>
constexpr Kernel
decode_of()
{
    using K = Decode<T, DQ, DV, Kind>;
    return {K::kRows, K::kKeys, prepare_kernel<K>, launch_early<K>};
}

template <class T, int DQ, int DV>
constexpr Instance
instance_of()
{
    using Prefill = General<T, DQ, DV>;
    return {gpu::Element<T>::is_bf16,
            DQ,
            DV,
            decode_of<T, DQ, DV, gpu::kKv16>(),
            {Prefill::kRows, 64, prepare_kernel<Prefill>, launch_kernel<Prefill>},
            {decode_of<T, DQ, DV, gpu::kKvE4M3>(), decode_of<T, DQ, DV, gpu::kKvE5M2>()}};
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_INSTANCE_H */
