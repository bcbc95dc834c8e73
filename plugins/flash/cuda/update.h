/* SPDX-License-Identifier: Apache-2.0 */
/* update.h - new tokens into the cache, and a layer's constants to float. */
#ifndef ATTN_FLASH_CUDA_UPDATE_H
#define ATTN_FLASH_CUDA_UPDATE_H

#include "flash/cuda/rows.h"

namespace flash
{

template <class T> struct UpdateKernel {
    using Params = Update;
    static constexpr int kThreads = 256, kMinBlocks = 1;
    static constexpr const char *kName = "flash_update";

    static GPU_FN void write(const Layer &l, const Cache &c, int64_t to, uint16_t value,
                             float scale)
    {
        uint8_t *data = static_cast<uint8_t *>(const_cast<void *>(c.data));
        if (l.kv_kind == gpu::kKv16) {
            gpu::gstore(reinterpret_cast<uint16_t *>(data) + to, value);
            return;
        }
        const float x = gpu::to_float(T{value}) / scale;
        gpu::gstore(data + to, gpu::float_to_fp8(x, l.kv_kind == gpu::kKvE4M3 ? 3u : 2u));
    }

    static GPU_FN void copy(const Layer &l, const void *from, int64_t token, int64_t head,
                            const Cache &c, const float *scales, int width, int t, int64_t slot)
    {
        const int64_t page = slot / l.block_size, offset = slot % l.block_size;
        for (int i = gpu::tid(); i < l.num_kv_heads * width; i += kThreads) {
            const int h = i / width, e = i % width;
            const uint16_t value =
                gpu::gload(static_cast<const uint16_t *>(from) + t * token + h * head + e);
            write(l, c, page * c.block + offset * c.token + h * c.head + e, value,
                  scales ? gpu::gload(scales + h) : 1.0f);
        }
    }

    static GPU_FN void run(const Update &p)
    {
        const Batch b = *p.batch;
        for (int t = gpu::bid(); t < b.num_tokens; t += gpu::nblocks()) {
            const int64_t slot = b.slots ? gpu::gload(b.slots + t) : -1;
            if (slot < 0)
                continue;
            copy(p.layer, p.k, p.k_token, p.k_head, p.k_cache, p.k_scale, p.layer.d, t, slot);
            copy(p.layer, p.v, p.v_token, p.v_head, p.v_cache, p.v_scale, p.layer.dv, t, slot);
        }
    }
};

struct ConstantsKernel {
    using Params = Constants;
    static constexpr int kThreads = 128, kMinBlocks = 1;
    static constexpr const char *kName = "flash_constants";

    static GPU_FN float sink(const Constants &p, int h)
    {
        const int64_t at = h * p.sinks_stride;
        if (p.sinks_type == 0)
            return gpu::gload(static_cast<const float *>(p.sinks) + at);
        const uint16_t bits = gpu::gload(static_cast<const uint16_t *>(p.sinks) + at);
        return p.sinks_type == 1 ? gpu::to_float(gpu::bf16{bits}) : gpu::to_float(gpu::f16{bits});
    }

    static GPU_FN void run(const Constants &p)
    {
        for (int h = gpu::tid(); h < p.num_heads; h += kThreads) {
            if (p.sinks)
                gpu::gstore(p.sinks_out + h, sink(p, h));
            if (p.slopes)
                gpu::gstore(p.slopes_out + h, gpu::gload(p.slopes + h * p.slopes_stride));
        }
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_UPDATE_H */
