/* SPDX-License-Identifier: Apache-2.0 */
#include "device_array.h"

#include <stdlib.h>

#include "gpu_plugin.h"

void
array_make(array *a, attn_dtype type, int ndim, const int64_t *shape, int odd)
{
    const size_t shift = odd ? 1 : 0;
    size_t last = 0;
    int64_t n = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        a->shape[i] = shape[i];
        a->strides[i] = n;
        last += (size_t)((shape[i] > 0 ? shape[i] - 1 : 0) * n);
        n *= shape[i];
        if (odd && i == ndim - 1)
            n += 1;
    }
    a->bytes = (last + 1 + shift) * type.bits / 8;
    a->host = calloc(1, a->bytes);
    void *memory;
    GPU_OK(gpu.service->alloc(gpu.device, ATTN_MEM_DEVICE, a->bytes, &memory,
                              &gpu.err));
    a->t = (attn_tensor){memory,     gpu.device,           ndim, type, a->shape,
                         a->strides, shift * type.bits / 8};
}

void
array_drop(array *a)
{
    free(a->host);
    gpu.service->free(gpu.device, ATTN_MEM_DEVICE, a->t.data);
}

void
array_upload(array *a)
{
    GPU_OK(gpu.service->copy(&gpu.stream, ATTN_COPY_TO_DEVICE, a->t.data,
                             a->host, a->bytes, &gpu.err));
    GPU_OK(gpu.service->stream_synchronize(&gpu.stream, &gpu.err));
}

void
array_download(array *a)
{
    GPU_OK(gpu.service->copy(&gpu.stream, ATTN_COPY_TO_HOST, a->host, a->t.data,
                             a->bytes, &gpu.err));
    GPU_OK(gpu.service->stream_synchronize(&gpu.stream, &gpu.err));
}

void
array_fill(array *a, uint8_t value)
{
    GPU_OK(
        gpu.service->fill(&gpu.stream, a->t.data, value, a->bytes, &gpu.err));
}

int64_t
array_at(const array *a, int64_t i, int64_t j, int64_t k, int64_t l)
{
    const int64_t x[4] = {i, j, k, l};
    int64_t n = (int64_t)(a->t.byte_offset * 8 / a->t.dtype.bits);
    for (int d = 0; d < a->t.ndim; d++)
        n += x[d] * a->strides[d];
    return n;
}

double
draw(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-52 - 1;
}
