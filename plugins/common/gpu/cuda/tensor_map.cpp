// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/tensor_map.h"

#include "common/gpu/device.h"

#include <cstring>
#include <cuda.h>
#include <cuda_runtime_api.h>

namespace gpu
{

typedef CUresult (*Encode)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                           const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                           const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's function by name: libcuda is not linked. */
static Encode
encode()
{
    static const Encode found = [] {
        void *f = nullptr;
        cudaDriverEntryPointQueryResult result;
        const cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000,
                                                               cudaEnableDefault, &result);
        return e == cudaSuccess && result == cudaDriverEntryPointSuccess
                   ? reinterpret_cast<Encode>(f)
                   : nullptr;
    }();
    return found;
}

attn_status
tensor_map(const TensorShape &shape, TensorMap *map, attn_error *err)
{
    if (!encode())
        return attn_fail(err, ATTN_E_DEVICE, "tensor map", "the driver has no tensor maps");
    CUtensorMap m;
    static_assert(sizeof m == sizeof *map, "the driver's size");
    const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    const CUtensorMapDataType type =
        shape.bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    cuuint64_t size[5], stride[5];
    for (uint32_t d = 0; d < shape.dims; d++) {
        size[d] = shape.size[d];
        stride[d] = d + 1 < shape.dims ? shape.stride[d + 1] : 0;
    }
    const CUtensorMapSwizzle swizzle =
        shape.plain ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B;
    const CUresult r =
        encode()(&m, type, shape.dims, const_cast<void *>(shape.base), size, stride, shape.box,
                 steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (r != CUDA_SUCCESS)
        return failf(err, ATTN_E_DEVICE, "tensor map", "refused by the driver: %d", int(r));
    memcpy(map, &m, sizeof m);
    return ATTN_OK;
}

} // namespace gpu
