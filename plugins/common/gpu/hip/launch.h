/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h - a kernel by its host stub. */
#ifndef ATTN_GPU_HIP_LAUNCH_H
#define ATTN_GPU_HIP_LAUNCH_H

#include "common/gpu/device.h"

namespace gpu
{

attn_status hip_prepare(const void *stub, const char *name, attn_error *err);
attn_status hip_launch(const void *stub, const char *name, const attn_stream &stream,
                       uint32_t blocks, uint32_t threads, uint32_t shared, const void *params,
                       attn_error *err);

} // namespace gpu

#endif /* ATTN_GPU_HIP_LAUNCH_H */
