/* SPDX-License-Identifier: Apache-2.0 */
/* builder.h - the objects behind the ABI's handles. */
#ifndef ATTN_FLASH_CUDA_BUILDER_H
#define ATTN_FLASH_CUDA_BUILDER_H

#include "common/gpu/device.h"
#include "flash/cuda/kernels.h"

#include <attn/plugin.h>

struct attn_ctx {
    gpu::Device device;
};

/* Lies in the memory given to layer_prepare. */
struct attn_prepared {
    const float *sinks, *slopes; /* device, or NULL */
};

struct attn_builder {
    gpu::Device device;
    attn_flash_layer layer;
    attn_limits limits;
    const flash::Instance *instance;
    const flash::Kernel *decode_kernel;
    const flash::HopperInstance *hopper; /* NULL: not for this layer or device */
    int hopper_grid;
    flash::Layer kernel_layer;
    flash::List decode, prefill; /* pointers set by bind */
    uint32_t decode_items, prefill_items;
    flash::Batch *batch; /* device */
    bool bound, built;
    /* Of the step that was built. */
    bool has_decode, has_prefill, one_token_each;
    int num_tokens;
    int64_t num_blocks;
};

namespace flash
{

struct Options {
    bool split_kv = true;
    bool general_only = false;
};
extern Options options;

extern const attn_op op;
attn_status check_layer(const attn_backend *self, const char *arch, const attn_layer *layer,
                        attn_reasons *reasons);
attn_status update_cache(attn_builder *b, const attn_head *args, attn_error *err);
attn_status forward(attn_builder *b, const attn_head *args, attn_error *err);
attn_status build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
                  const attn_stream *stream, attn_error *err);

/* The kernel of hopper.h for this layer and device, or NULL; and its launch. */
const HopperInstance *choose_hopper(const attn_builder *b);
attn_status launch_hopper(const attn_builder *b, const attn_flash_forward *a, const Forward &p,
                          attn_error *err);

/* Address of a tensor's first element. */
inline const void *
data_of(const attn_tensor *t)
{
    return static_cast<const uint8_t *>(t->data) + t->byte_offset;
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_BUILDER_H */
