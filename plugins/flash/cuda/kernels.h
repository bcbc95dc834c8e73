/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.h - the host's view of the kernels: which instances exist, and how to launch them. */
#ifndef ATTN_FLASH_CUDA_KERNELS_H
#define ATTN_FLASH_CUDA_KERNELS_H

#include "common/gpu/device.h"
#include "flash/cuda/params.h"

namespace flash
{

/* A kernel of one element type and one pair of padded widths. */
struct Kernel {
    int rows, keys; /* of its tiles */
    /* Sets the kernel up on the current device; how many blocks fit one multiprocessor. */
    attn_status (*prepare)(int *blocks, attn_error *err);
    attn_status (*launch)(const attn_stream &stream, uint32_t blocks, const Forward &p,
                          attn_error *err);
};

struct Instance {
    bool bf16;
    int d, dv; /* padded */
    Kernel decode, prefill;
    Kernel decode8[2] = {}; /* of e4m3 and e5m2 caches, where they have kernels of their own */

    const Kernel &decode_of(int kv_kind) const
    {
        return kv_kind != 0 && decode8[kv_kind - 1].launch ? decode8[kv_kind - 1] : decode;
    }
};

/* A prefill kernel of sm_90a. */
struct HopperInstance {
    bool bf16, bytes; /* bytes: of fp8 caches */
    int d, dv;
    int rows, keys; /* of its tiles */
    attn_status (*prepare)(int *blocks, attn_error *err);
    attn_status (*launch)(const attn_stream &stream, uint32_t blocks, const HopperForward &p,
                          attn_error *err);
};

/* The smallest instance that holds (d, dv), or NULL. */
const Instance *instance_find(bool bf16, int d, int dv);

/* Makes the current device load the kernels of the launches below, so that none is loaded in a
 * step; what their code was compiled for: 80, 90; gpu::code_arch. */
attn_status load_support(int *arch, attn_error *err);
attn_status launch_plan(const attn_stream &stream, const Plan &p, attn_error *err);
attn_status launch_update(const attn_stream &stream, uint32_t blocks, bool bf16, const Update &p,
                          attn_error *err);
attn_status launch_constants(const attn_stream &stream, const Constants &p, attn_error *err);

} // namespace flash

#endif /* ATTN_FLASH_CUDA_KERNELS_H */
