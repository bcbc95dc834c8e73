/* SPDX-License-Identifier: 0BSD */
/* attn/op.h - part of plugin.h: capabilities and operations of a backend.
 *
 * Thread classes and rules of memory and growth: see attn/plugin.h. */
#ifndef ATTN_OP_H
#define ATTN_OP_H

#include <attn/layer.h>
#include <attn/metadata.h>
#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------ capabilities */

/* Values lo, lo+step, ..., <= hi; step 0 means lo only. Frozen. */
typedef struct attn_range {
    uint32_t lo;
    uint32_t hi;
    uint32_t step;
} attn_range;

/* A claim on one integer field of the layer, by the field's name
 * ("head_dim", "block_size", "gqa_ratio" = num_heads / num_kv_heads). Several
 * claims of one name add up. A field nobody names is unrestricted. Frozen. */
typedef struct attn_dim_claim {
    const char *name;
    attn_range range;
    uint32_t reserved;
} attn_dim_claim;

/* A claim on one dtype field ("q_dtype", "kv_dtype"). Frozen. */
typedef struct attn_dtype_claim {
    const char *name;
    attn_dtype dtype;
    uint32_t reserved;
} attn_dtype_claim;

/* How far forward can be captured in a graph and replayed with changed
 * metadata of the same limits. */
#define ATTN_CAPTURE_NEVER 0u
#define ATTN_CAPTURE_DECODE 1u  /* batches of one query token each */
#define ATTN_CAPTURE_UNIFORM 2u /* batches of one query length */
#define ATTN_CAPTURE_ALWAYS 3u

/* Properties a backend claims and `attnctl test` proves. */
#define ATTN_P_DETERMINISTIC (1ull << 0) /* equal input, equal bits */
#define ATTN_P_BATCH_INVARIANT                   \
    (1ull << 1) /* ... whatever the batch mates, \
their order, the thread count and the pages' places */

/* One set of claims; a layer must fit at least one of a backend's sets.
 * Static data, readable without a device. */
typedef struct attn_caps {
    uint32_t struct_size;
    uint32_t capture;         /* ATTN_CAPTURE_* */
    uint64_t features;        /* ATTN_F_* it can do */
    uint64_t properties;      /* ATTN_P_* */
    uint64_t max_seq_len;     /* 0: no limit */
    const char *const *archs; /* "x86-64", "sm_90a", "gfx942", "*" */
    const attn_dim_claim *dims;
    const attn_dtype_claim *dtypes;
    uint32_t num_archs;
    uint32_t num_dims;
    uint32_t num_dtypes;
    uint32_t reserved0;
    uint64_t reserved[4];
} attn_caps;

/* Caller-owned list of reasons, each NUL-terminated, one after the other.
 * A reason starts with the field and its value and says what would fit:
 * "head_dim 96: supports 64, 128". count may exceed what fitted. */
typedef struct attn_reasons {
    uint32_t struct_size;
    uint32_t count;
    char *buf;
    uint64_t capacity; /* bytes of buf */
    uint64_t used;
} attn_reasons;

/* How an engine lays out one cache of a layer. Frozen. */
typedef struct attn_cache_spec {
    char name[16]; /* "k", "v", "kv", "conv_state", "ssm_state" */
    attn_dtype dtype;
    uint32_t ndim;            /* dimensions inside a block, <= 4 */
    int64_t shape[4];         /* of one block */
    int64_t strides[4];       /* preferred for this shape, in elements; the last
                               * is 1 */
    uint64_t bytes_per_block; /* what one block occupies at these strides */
    uint64_t alignment;       /* of a block's first byte, preferred */
} attn_cache_spec;

typedef struct attn_kv_spec {
    uint32_t struct_size;
    uint32_t num_caches;
    attn_range block_sizes; /* that this layer may use */
    uint32_t preferred_block_size;
    attn_cache_spec caches[4];
} attn_kv_spec;

/* -------------------------------------------------------------- operations */

typedef struct attn_ctx attn_ctx;           /* the plugin's, one per device */
typedef struct attn_builder attn_builder;   /* the plugin's */
typedef struct attn_prepared attn_prepared; /* the plugin's, inside memory
                                               given to layer_prepare */

/* The largest step a builder must take; fixed for its life. */
typedef struct attn_limits {
    uint32_t struct_size;
    uint32_t max_reqs;
    uint32_t max_tokens;
    uint32_t max_query_len;
    uint32_t max_seq_len;
    uint32_t max_blocks_per_req; /* columns of the block table */
    uint32_t num_threads;        /* the most workers for parallel_for, >= 1 */
    uint32_t steps_in_flight;    /* builds that may be pending, >= 1 */
    uint32_t capture;            /* level wanted, ATTN_CAPTURE_* */
    uint32_t reserved;
} attn_limits;

/* Bytes and alignments (powers of two; 0 bytes: none needed). */
typedef struct attn_workspace {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t host_bytes, host_align;
    uint64_t pinned_bytes, pinned_align;
    uint64_t device_bytes, device_align;
} attn_workspace;

/* Memory for such a need. The caller owns it and keeps it, at its address,
 * until the builder (or prepared layer) is no longer used. Content is
 * undefined at first. */
typedef struct attn_binding {
    uint32_t struct_size;
    uint32_t reserved;
    void *host;
    void *pinned;
    void *device;
} attn_binding;

/* The head of every argument block below. Frozen, 8 bytes. */
typedef struct attn_head {
    uint32_t struct_size; /* of the whole block */
    uint32_t reserved;
} attn_head;

/* Constants of a layer, for layer_prepare; NULL where the layer has none. */
typedef struct attn_flash_constants {
    attn_head head;
    const attn_tensor *sinks;        /* [H] float32 or q_dtype */
    const attn_tensor *alibi_slopes; /* [H] float32 */
} attn_flash_constants;

typedef struct attn_mla_constants {
    attn_head head;
    const attn_tensor *w_uk; /* [H, dn, c] weight_dtype */
    const attn_tensor *w_uv; /* [H, dv, c] weight_dtype */
} attn_mla_constants;

typedef struct attn_mamba_constants { /* both Mamba families */
    attn_head head;
    const attn_tensor *conv_weight; /* [C, width]; last tap: newest token */
    const attn_tensor *conv_bias;   /* [C] or NULL */
    const attn_tensor *a;           /* [H] float32; Mamba-1: [C, N] */
    const attn_tensor *d;           /* [H] float32 or NULL; Mamba-1: [C] */
    const attn_tensor *dt_bias;     /* [H] float32 or NULL; Mamba-1: [C] */
} attn_mamba_constants;

/* update_cache: write the step's new tokens through slot_mapping of the
 * group that was built (-1: skip). fp8 caches store x / scale, rounded to
 * nearest even, saturating. */
typedef struct attn_flash_update {
    attn_head head;
    attn_stream stream;
    const attn_tensor *k;       /* [T, Hkv, D] q_dtype */
    const attn_tensor *v;       /* [T, Hkv, Dv] q_dtype */
    const attn_tensor *k_cache; /* [blocks, block_size, Hkv, D] kv_dtype */
    const attn_tensor *v_cache; /* [blocks, block_size, Hkv, Dv] */
    const attn_tensor *k_scale; /* [Hkv] float32 or NULL (1.0) */
    const attn_tensor *v_scale; /* [Hkv] float32 or NULL */
} attn_flash_update;

typedef struct attn_mla_update {
    attn_head head;
    attn_stream stream;
    const attn_tensor *latent;   /* [T, c] q_dtype */
    const attn_tensor *k_pe;     /* [T, dr] q_dtype */
    const attn_tensor *kv_cache; /* [blocks, block_size, c + dr] kv_dtype */
    const attn_tensor *kv_scale; /* [1] float32 or NULL */
} attn_mla_update;

/* forward: out (and lse where wanted) of the step that was built last, for
 * one layer. Inner strides of q, caches and out are 1, outer ones free. */
typedef struct attn_flash_forward {
    attn_head head;
    attn_stream stream;
    const attn_prepared *layer; /* from layer_prepare */
    const attn_tensor *q;       /* [T, H, D] */
    const attn_tensor *k_cache; /* [blocks, block_size, Hkv, D] */
    const attn_tensor *v_cache; /* [blocks, block_size, Hkv, Dv] */
    const attn_tensor *k_scale; /* [Hkv] float32 or NULL (1.0) */
    const attn_tensor *v_scale; /* [Hkv] float32 or NULL */
    attn_tensor *out;           /* [T, H, Dv] */
    attn_tensor *lse;           /* [T, H] float32 or NULL */
} attn_flash_forward;

typedef struct attn_mla_forward {
    attn_head head;
    attn_stream stream;
    const attn_prepared *layer;
    const attn_tensor *q_nope;   /* [T, H, dn] */
    const attn_tensor *q_pe;     /* [T, H, dr] */
    const attn_tensor *kv_cache; /* [blocks, block_size, c + dr] */
    const attn_tensor *kv_scale; /* [1] float32 or NULL */
    attn_tensor *out;            /* [T, H, dv] */
    attn_tensor *lse;            /* [T, H] float32 or NULL */
} attn_mla_forward;

typedef struct attn_mamba2_forward {
    attn_head head;
    attn_stream stream;
    const attn_prepared *layer;
    const attn_tensor *xbc;  /* [T, C] before the convolution */
    const attn_tensor *dt;   /* [T, H] before softplus */
    const attn_tensor *z;    /* [T, H, P] gate or NULL */
    attn_tensor *conv_state; /* [slots, C, width-1], oldest first */
    attn_tensor *ssm_state;  /* [slots, H, P, N] */
    attn_tensor *out;        /* [T, H, P] */
} attn_mamba2_forward;

typedef struct attn_mamba1_forward {
    attn_head head;
    attn_stream stream;
    const attn_prepared *layer;
    const attn_tensor *x;    /* [T, C] before the convolution */
    const attn_tensor *dt;   /* [T, C] before softplus */
    const attn_tensor *b;    /* [T, N] */
    const attn_tensor *c;    /* [T, N] */
    const attn_tensor *z;    /* [T, C] gate or NULL */
    attn_tensor *conv_state; /* [slots, C, width-1], oldest first */
    attn_tensor *ssm_state;  /* [slots, C, N] */
    attn_tensor *out;        /* [T, C] */
} attn_mamba1_forward;

typedef struct attn_backend attn_backend;

/* The work of a backend. All required but update_cache and kv_spec.
 * Contract: check OK means builder_create fails only for memory or device
 * faults. A failed forward leaves its outputs undefined and nothing else; a
 * builder that answered ATTN_E_DEVICE may only be destroyed. */
typedef struct attn_op {
    uint32_t struct_size;
    uint32_t reserved;
    /* [any] Pure, no device. ATTN_OK, or ATTN_E_UNSUPPORTED with every
     * reason. What caps say the host has checked; here stand combinations.
     * arch: the device's, or NULL when unknown. */
    attn_status (*check)(const attn_backend *self, const char *arch,
                         const attn_layer *layer, attn_reasons *reasons);
    /* [any] Pure. How to lay out this layer's caches. NULL: contiguous in
     * the order of the shapes above, any block size. */
    attn_status (*kv_spec)(const attn_backend *self, const attn_layer *layer,
                           attn_kv_spec *spec);
    /* [ctx][nocap] May allocate, compile, load. layer and limits are
     * copied. */
    attn_status (*builder_create)(attn_ctx *ctx, const attn_backend *self,
                                  const attn_layer *layer,
                                  const attn_limits *limits,
                                  attn_builder **builder, attn_error *err);
    /* [any] Constant for the builder's life. */
    attn_status (*workspace)(const attn_builder *builder, attn_workspace *need);
    /* [builder][nocap] Before the first build. */
    attn_status (*bind)(attn_builder *builder, const attn_binding *memory,
                        attn_error *err);
    /* [any] Memory for one prepared layer; constant. */
    attn_status (*layer_bytes)(const attn_builder *builder,
                               attn_workspace *need);
    /* [builder][nocap] constants: the family's block (its attn_head). The
     * result lives in `memory` and is not freed. Tensors are copied or
     * packed, not kept. */
    attn_status (*layer_prepare)(attn_builder *builder,
                                 const attn_head *constants,
                                 const attn_binding *memory,
                                 const attn_stream *stream,
                                 attn_prepared **layer, attn_error *err);
    /* [builder][hot][nocap] Once per step. Validated metadata; may enqueue
     * copies on stream. On the CPU the host arrays stay valid and unchanged
     * until the last forward of the step; a GPU backend reads the mirrors. */
    attn_status (*build)(attn_builder *builder, const attn_batch *batch,
                         const attn_kv_group *group, const attn_stream *stream,
                         attn_error *err);
    /* [builder][hot] args: the family's update block. NULL: the family has
     * no cache apart from forward (Mamba). */
    attn_status (*update_cache)(attn_builder *builder, const attn_head *args,
                                attn_error *err);
    /* [builder][hot] args: the family's forward block. Beyond the capture
     * level: ATTN_E_CAPTURE before anything is enqueued. */
    attn_status (*forward)(attn_builder *builder, const attn_head *args,
                           attn_error *err);
    /* [ctx][nocap] The host has synchronised. */
    void (*builder_destroy)(attn_builder *builder);
} attn_op;

/* One implementation a plugin offers. */
struct attn_backend {
    uint32_t struct_size;
    int32_t device_type; /* ATTN_DEVICE_* it runs on */
    const char *name;    /* [a-z0-9._-], 1..31 bytes: "flash.cpu" */
    const char *summary; /* one line, at most 120 bytes */
    const char *family;  /* "attn.op.flash/1", at most 127 bytes */
    const attn_op *op;
    const attn_caps *const *caps; /* pointers: the element may grow */
    uint32_t num_caps;            /* 1..64 */
    uint32_t reserved;
};

#ifdef __cplusplus
}
#endif

#endif /* ATTN_OP_H */
