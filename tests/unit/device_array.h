/* SPDX-License-Identifier: Apache-2.0 */
/* device_array.h - tensors on the device of gpu_plugin.h. */
#ifndef DEVICE_ARRAY_H
#define DEVICE_ARRAY_H

#include <attn/plugin.h>

/* A tensor there and its bytes here; t points into the struct, which must not
 * move. */
typedef struct array {
    attn_tensor t;
    int64_t shape[4], strides[4];
    void *host; /* zeros at first */
    size_t bytes;
} array;

/* Dense; or odd: one element past the start and rows one element apart, so
 * that nothing is aligned. */
void array_make(array *a, attn_dtype type, int ndim, const int64_t *shape,
                int odd);
void array_drop(array *a);
void array_upload(array *a);
void array_download(array *a);
/* Each byte on the device; the host's stay. */
void array_fill(array *a, uint8_t value);
/* Which element of the host's bytes [i, j, k, l] is. */
int64_t array_at(const array *a, int64_t i, int64_t j, int64_t k, int64_t l);

/* The next of a fixed sequence in (-1, 1). */
double draw(void);

#endif
