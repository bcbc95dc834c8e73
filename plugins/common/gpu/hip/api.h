/* SPDX-License-Identifier: Apache-2.0 */
/* api.h - libamdhip64, found at run time: the plugin loads where there is none.
 *
 * Types come from the header it was built with; only functions whose binary interface has not
 * changed between ROCm 5 and 6 are used (no struct of device properties). */
#ifndef ATTN_GPU_HIP_API_H
#define ATTN_GPU_HIP_API_H

#include <hip/hip_runtime_api.h>

/* clang-format off */
#define GPU_HIP_FUNCTIONS(F)                                                                       \
    F(hipInit) F(hipGetDeviceCount) F(hipGetDevice) F(hipSetDevice) F(hipDeviceGetName)            \
    F(hipDeviceGetAttribute) F(hipDeviceTotalMem) F(hipMemGetInfo) F(hipGetErrorString)            \
    F(hipGetLastError) F(hipFree) F(hipHostFree)                     \
    F(hipMemcpyAsync) F(hipMemsetAsync) F(hipStreamCreateWithFlags) F(hipStreamSynchronize)        \
    F(hipStreamDestroy) F(hipEventCreateWithFlags) F(hipEventRecord) F(hipStreamWaitEvent)         \
    F(hipEventElapsedTime) F(hipEventDestroy) F(hipStreamBeginCapture) F(hipStreamEndCapture)      \
    F(hipGraphInstantiate) F(hipGraphLaunch) F(hipGraphDestroy) F(hipGraphExecDestroy)             \
    F(hipModuleLoadData) F(hipModuleGetFunction) F(hipModuleLaunchKernel)
/* clang-format on */

namespace gpu
{

struct HipApi {
#define GPU_HIP_FIELD(name) decltype(&::name) name;
    GPU_HIP_FUNCTIONS(GPU_HIP_FIELD)
#undef GPU_HIP_FIELD
    /* overloaded in C++ */
    hipError_t (*hipMalloc)(void **, size_t);
    hipError_t (*hipHostMalloc)(void **, size_t, unsigned);
};

/* The table, or NULL with why it is absent ("no HIP device: libamdhip64.so: cannot open ..."). */
const HipApi *hip_api(const char **why);

/* The device function behind a kernel's host stub, of the module loaded on the current device.
 * 0 or the error of loading. */
hipError_t hip_function(const HipApi *api, int device, const void *stub, hipFunction_t *function);

} // namespace gpu

#endif /* ATTN_GPU_HIP_API_H */
