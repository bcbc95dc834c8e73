/* SPDX-License-Identifier: Apache-2.0 */
/* batch_case.h - one run of an operation: its input as C arrays. */
#ifndef BATCH_CASE_H
#define BATCH_CASE_H

#include "batch_ops.h"

struct ops_case {
    const batch_op *op;
    const json_t *input;
    attn_error *err;
    void **blocks; /* freed with the case */
    size_t num_blocks;
    attn_batch batch;
    attn_kv_group group;
    const attn_kv_group *kv; /* &group; NULL where the input has none */
    attn_ext_prefix_ranges prefix_ranges;
    /* Where a transform writes its result. */
    attn_batch_room room;
    attn_batch out;
    attn_kv_group out_group;
    attn_kv_group *out_kv; /* &out_group; NULL where kv is */
};

/* CLOSE releases what ALLOC gave. ALLOC: zeroed; NULL and c->err when memory
 * ran out. */
void *ops_alloc(ops_case *c, size_t count, size_t size);
void ops_close(ops_case *c);
attn_status ops_error(ops_case *c, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The batch and the group out of c->input, validated. */
attn_status ops_load_batch(ops_case *c);

/* A parameter, or its default. */
json_t *ops_value(const ops_case *c, const char *name);
attn_status ops_u32(ops_case *c, const char *name, uint32_t *value);
attn_status ops_flag(ops_case *c, const char *name, uint32_t *value);
/* An array of whole numbers; null entries become 0x7fffffff. An absent key
 * gives NULL and *count 0. */
attn_status ops_i32_array(ops_case *c, const char *name, int32_t **array,
                          uint32_t *count);
/* The same with exactly `count` entries, which must be there. */
attn_status ops_i32_exact(ops_case *c, const char *name, uint32_t count,
                          int32_t **array);

/* Makes c->room for a result of at most this size, or of the input's. */
attn_status ops_room(ops_case *c, const attn_batch_size *size);
attn_status ops_room_same(ops_case *c);

/* Adding results. */
void ops_put(json_t *to, const char *name, int64_t value);
json_t *ops_list_i32(const int32_t *array, size_t count);
json_t *ops_list_u32(const uint32_t *array, size_t count);
json_t *ops_list_i64(const int64_t *array, size_t count);
void ops_put_i32(json_t *to, const char *name, const int32_t *array,
                 size_t count);
/* The fields of a batch, and of its group (may be NULL), after validation. */
attn_status ops_put_batch(ops_case *c, json_t *to, const attn_batch *batch,
                          const attn_kv_group *group);
/* The same of c->out, unless `status` says that there is none. */
attn_status ops_put_out(ops_case *c, attn_status status, json_t *to);

/* The operations, by file. */
extern const batch_op batch_ops_transforms[];
extern const size_t batch_ops_num_transforms;
extern const batch_op batch_ops_plans[];
extern const size_t batch_ops_num_plans;
extern const batch_op batch_ops_spec[];
extern const size_t batch_ops_num_spec;

#define OPS_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif /* BATCH_CASE_H */
