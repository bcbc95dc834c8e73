/* SPDX-License-Identifier: 0BSD */
/* attn/types.h - part of plugin.h: status, errors, tensors, streams. */
#ifndef ATTN_TYPES_H
#define ATTN_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_ABI_MAJOR 1
#define ATTN_ABI_MINOR 0

/* True when the maker of *p knew field f of struct T. */
#define ATTN_KNOWS(p, T, f) \
    ((p)->struct_size >= offsetof(T, f) + sizeof((p)->f))
/* True when it also set it to something. */
#define ATTN_HAS(p, T, f) (ATTN_KNOWS(p, T, f) && (p)->f)

/* ------------------------------------------------------------------ status */

/* 0 is success. Numbers are never reused; a number unknown to the reader
 * counts as ATTN_E_INTERNAL. */
typedef int32_t attn_status;
#define ATTN_OK 0
#define ATTN_E_ARG 1         /* the caller broke the contract */
#define ATTN_E_UNSUPPORTED 2 /* valid, but not by this backend */
#define ATTN_E_VERSION 3     /* ABI ranges do not meet */
#define ATTN_E_NOMEM 4
#define ATTN_E_DEVICE 5    /* device fault; sticky for the context */
#define ATTN_E_WORKSPACE 6 /* bound memory missing, short or misaligned */
#define ATTN_E_CAPTURE 7   /* not legal while the stream is captured */
#define ATTN_E_INTERNAL 8
#define ATTN_E_NO_DEVICE 9 /* the device kind is absent: skipped, no error */
#define ATTN_E_CONFIG 10   /* host only: configuration */
#define ATTN_E_IO 11       /* host only: a file, with errno in native */
#define ATTN_E_NOT_FOUND 12
#define ATTN_E_REFUSED 13 /* host only: a plugin was refused */
#define ATTN_E_FORMAT 14  /* host only: a malformed input file */

/* Caller-owned error text. Wherever an attn_error pointer is taken it may be
 * NULL. `where` names the argument or field ("layer.head_dim"); `message` is
 * one lower-case line with the offending value. Frozen, 384 bytes. */
typedef struct attn_error {
    uint32_t struct_size; /* set by the caller */
    attn_status status;
    int64_t native; /* errno, cudaError_t, hipError_t; 0 if none */
    char where[64];
    char message[304];
} attn_error;

/* -------------------------------------------- tensors (layout of DLTensor) */

/* Device types: DLPack's numbers. Frozen. */
typedef struct attn_device {
    int32_t type;
    int32_t id;
} attn_device;
#define ATTN_DEVICE_CPU 1
#define ATTN_DEVICE_CUDA 2
#define ATTN_DEVICE_ROCM 10
#define ATTN_DEVICE_EXT 12 /* emulated: "emu:sm_90a", "emu:gfx942" */

/* Element types: DLPack's codes. lanes is 1. Frozen. */
typedef struct attn_dtype {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} attn_dtype;
#define ATTN_CODE_INT 0
#define ATTN_CODE_UINT 1
#define ATTN_CODE_FLOAT 2
#define ATTN_CODE_BFLOAT 4
#define ATTN_CODE_FP8_E4M3FN 10
#define ATTN_CODE_FP8_E4M3FNUZ 11
#define ATTN_CODE_FP8_E5M2 12
/* Initialisers: attn_dtype t = ATTN_BF16; */
/* clang-format off */
#define ATTN_F64  { ATTN_CODE_FLOAT, 64, 1 }
#define ATTN_F32  { ATTN_CODE_FLOAT, 32, 1 }
#define ATTN_F16  { ATTN_CODE_FLOAT, 16, 1 }
#define ATTN_BF16 { ATTN_CODE_BFLOAT, 16, 1 }
#define ATTN_E4M3 { ATTN_CODE_FP8_E4M3FN, 8, 1 }
#define ATTN_E5M2 { ATTN_CODE_FP8_E5M2, 8, 1 }
#define ATTN_I32  { ATTN_CODE_INT, 32, 1 }
#define ATTN_I64  { ATTN_CODE_INT, 64, 1 }
#define ATTN_U8   { ATTN_CODE_UINT, 8, 1 }
/* clang-format on */

/* A DLTensor: any DLPack tensor is one cast away. Stricter than DLPack:
 * strides is never NULL when ndim > 0, byte_offset is always honoured, and a
 * tensor with a zero dimension may have data NULL. shape and strides count
 * elements, may lie on the caller's stack, and are borrowed for the call.
 * No alignment is promised beyond the element's. Frozen, 48 bytes. */
typedef struct attn_tensor {
    void *data;
    attn_device device;
    int32_t ndim;
    attn_dtype dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} attn_tensor;

/* An ordered queue of device work: the native handle (cudaStream_t,
 * hipStream_t) widened. On the CPU handle is 0 and calls are synchronous; on
 * a GPU it is a real stream, never the legacy default. Frozen, 24 bytes. */
typedef struct attn_stream {
    uint64_t handle;
    attn_device device;
    uint32_t capturing; /* 1: a graph capture is active on this stream */
    uint32_t reserved;
} attn_stream;

#ifdef __cplusplus
}
#endif

#endif /* ATTN_TYPES_H */
