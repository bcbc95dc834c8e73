/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "runtime/record.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime/dense.h"
#include "runtime/group.h"

#define DEFAULT_LIMIT (1ull << 30)
#define UNUSED 0x7FFFFFFF /* block-table entries past a sequence */

/* Of the process: its sessions share the directory and the limit, and no call
 * may take another's name. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t written; /* bytes of files */
static uint32_t calls;

struct attn_recorder {
    char *dir;
    uint64_t limit;
    _Atomic int full; /* groups read it without the lock */
};

attn_status
attn_recorder_create(attn_recorder **recorder, attn_error *err)
{
    const char *dir = secure_getenv("ATTN_DUMP_DIR");
    const char *limit = secure_getenv("ATTN_DUMP_LIMIT");
    uint64_t bytes = DEFAULT_LIMIT;
    struct stat st;
    *recorder = NULL;
    if (!dir || !*dir)
        return ATTN_OK;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return attn_error_set(err, ATTN_E_CONFIG, "ATTN_DUMP_DIR",
                              "ATTN_DUMP_DIR: %s is no directory", dir);
    if (limit && *limit &&
        attn_text_parse_size(limit, "ATTN_DUMP_LIMIT", &bytes, err) != ATTN_OK)
        return ATTN_E_CONFIG;
    attn_recorder *r = calloc(1, sizeof *r);
    char *copy = r ? strdup(dir) : NULL;
    if (!copy) {
        free(r);
        return attn_error_nomem(err, "recorder", 0);
    }
    r->dir = copy;
    r->limit = bytes;
    *recorder = r;
    return ATTN_OK;
}

void
attn_recorder_destroy(attn_recorder *recorder)
{
    if (!recorder)
        return;
    free(recorder->dir);
    free(recorder);
}

attn_status
attn_record_constants(const attn_group *group, const attn_head *constants,
                      attn_call **call, attn_error *err)
{
    const attn_block *block = &group->blocks.constants;
    attn_call *c;
    attn_status s = attn_call_create(group->layer, &c, err);
    if (s != ATTN_OK)
        return s;
    for (uint32_t i = 0; constants && i < block->num_args && s == ATTN_OK;
         i++) {
        const attn_tensor *t = attn_block_tensor(constants, &block->args[i]);
        if (t)
            s = attn_dense_add(c, block->args[i].name, t, NULL, 0,
                               &group->place, &group->setup, err);
    }
    if (s != ATTN_OK)
        attn_call_free(c);
    else
        *call = c;
    return s;
}

/* ------------------------------------------------------------- metadata */

/* Old block ids in the order of their first use, and their new numbers. */
struct renumbering {
    int32_t *rows; /* [count] old ids */
    int32_t *map;  /* [num_blocks] new id, or -1 */
    int64_t count;
};

static void
renumbering_free(struct renumbering *n)
{
    free(n->rows);
    free(n->map);
}

static attn_status
renumbering_create(uint32_t num_blocks, struct renumbering *n, attn_error *err)
{
    *n = (struct renumbering){0};
    n->rows = calloc((size_t)num_blocks + 1, sizeof *n->rows);
    n->map = malloc(((size_t)num_blocks + 1) * sizeof *n->map);
    if (!n->rows || !n->map) {
        renumbering_free(n);
        return attn_error_nomem(err, "recorder", 0);
    }
    for (uint32_t i = 0; i < num_blocks; i++)
        n->map[i] = -1;
    return ATTN_OK;
}

/* -1 stays -1. */
static int32_t
renumber(struct renumbering *n, uint32_t num_blocks, int32_t id)
{
    if (id < 0 || (uint32_t)id >= num_blocks)
        return -1;
    if (n->map[id] < 0) {
        n->map[id] = (int32_t)n->count;
        n->rows[n->count++] = id;
    }
    return n->map[id];
}

static attn_status
add_array(attn_call *c, const char *name, attn_dtype dtype, uint32_t ndim,
          int64_t rows, int64_t cols, const void *data, attn_error *err)
{
    const int64_t shape[] = {rows, cols};
    return data ? attn_call_add(c, name, dtype, ndim, shape, data, NULL, err)
                : ATTN_OK;
}

static const attn_dtype type_i32 = ATTN_I32;
static const attn_dtype type_u8 = ATTN_U8;

static attn_status
add_table(attn_call *c, const attn_batch *b, const attn_kv_group *kv,
          struct renumbering *n, attn_error *err)
{
    int state = (kv->flags & ATTN_KV_STATE) != 0;
    uint32_t cols = kv->block_table_cols;
    const int64_t shape[] = {b->num_reqs, cols};
    attn_call_tensor *t;
    attn_status s =
        attn_call_add(c, state ? "state_indices" : "block_table", type_i32,
                      state && cols == 1 ? 1 : 2, shape, NULL, &t, err);
    if (s != ATTN_OK)
        return s;
    int32_t *out = t->data;
    for (uint32_t r = 0; r < b->num_reqs; r++) {
        const int32_t *row = kv->block_table + r * kv->block_table_stride;
        uint32_t used = cols;
        if (!state)
            used = ((uint32_t)b->seq_lens[r] + kv->block_size - 1) /
                   kv->block_size;
        for (uint32_t j = 0; j < cols; j++)
            *out++ = j < used ? renumber(n, kv->num_blocks, row[j]) : UNUSED;
    }
    return ATTN_OK;
}

static attn_status
add_checkpoints(attn_call *c, const attn_batch *b, const attn_ext_state *e,
                uint32_t num_blocks, struct renumbering *n, attn_error *err)
{
    const int64_t shape[] = {b->num_reqs, e->max_checkpoints};
    int32_t interval = (int32_t)e->checkpoint_interval;
    attn_call_tensor *t;
    attn_status s =
        attn_call_add(c, "checkpoint_slots", type_i32, 2, shape, NULL, &t, err);
    if (s != ATTN_OK)
        return s;
    for (uint64_t i = 0; i < t->bytes / sizeof(int32_t); i++)
        ((int32_t *)t->data)[i] =
            renumber(n, num_blocks, e->checkpoint_slots[i]);
    return add_array(c, "checkpoint_interval", type_i32, 1, 1, 0, &interval,
                     err);
}

static attn_status
add_state(attn_call *c, const attn_batch *b, const attn_kv_group *kv,
          struct renumbering *n, attn_error *err)
{
    const attn_ext_state *e =
        (const attn_ext_state *)attn_ext_find(kv->ext, ATTN_EXT_STATE);
    const int64_t shape[] = {b->num_reqs};
    attn_call_tensor *t;
    attn_status s =
        attn_call_add(c, "has_initial_state", type_u8, 1, shape, NULL, &t, err);
    if (s != ATTN_OK)
        return s;
    for (uint32_t r = 0; r < b->num_reqs; r++) {
        int32_t q = b->query_start_loc[r + 1] - b->query_start_loc[r];
        ((uint8_t *)t->data)[r] = e && e->has_initial_state
                                      ? e->has_initial_state[r]
                                      : b->seq_lens[r] > q;
    }
    if (e)
        s = add_array(c, "num_accepted_tokens", type_i32, 1, b->num_reqs, 0,
                      e->num_accepted_tokens, err);
    if (s == ATTN_OK && e && e->checkpoint_slots && e->max_checkpoints)
        s = add_checkpoints(c, b, e, kv->num_blocks, n, err);
    return s;
}

static attn_status
add_metadata(attn_call *c, const attn_batch *b, const attn_kv_group *kv,
             struct renumbering *n, attn_error *err)
{
    const attn_ext_prefix_ranges *p =
        (const attn_ext_prefix_ranges *)attn_ext_find(b->ext,
                                                      ATTN_EXT_PREFIX_RANGES);
    attn_status s =
        add_array(c, "query_start_loc", type_i32, 1, (int64_t)b->num_reqs + 1,
                  0, b->query_start_loc, err);
    if (s == ATTN_OK)
        s = add_array(c, "seq_lens", type_i32, 1, b->num_reqs, 0, b->seq_lens,
                      err);
    if (s == ATTN_OK)
        s = add_array(c, "causal", type_u8, 1, b->num_reqs, 0, b->causal, err);
    if (s == ATTN_OK && p && p->ranges) {
        const int64_t shape[] = {b->num_reqs, p->max_ranges, 2};
        s = attn_call_add(c, "prefix_ranges", type_i32, 3, shape, p->ranges,
                          NULL, err);
    }
    if (s == ATTN_OK)
        s = add_table(c, b, kv, n, err);
    if (s == ATTN_OK && (kv->flags & ATTN_KV_STATE))
        s = add_state(c, b, kv, n, err);
    return s;
}

/* ---------------------------------------------------------------- tensors */

static attn_status
add_constants(attn_call *c, const attn_call *from, attn_error *err)
{
    const attn_call_tensor *t;
    attn_status s = ATTN_OK;
    for (size_t i = 0; from && (t = attn_call_at(from, i)) && s == ATTN_OK; i++)
        s = attn_call_add(c, t->name, t->dtype, t->ndim, t->shape, t->data,
                          NULL, err);
    return s;
}

/* Inputs, and caches whether or not forward writes them. */
static attn_status
add_arguments(attn_call *c, const attn_group *g, const attn_head *args,
              const attn_stream *stream, const struct renumbering *n,
              attn_error *err)
{
    const attn_block *block = &g->blocks.forward;
    attn_status s = ATTN_OK;
    for (uint32_t i = 0; i < block->num_args && s == ATTN_OK; i++) {
        const attn_arg *arg = &block->args[i];
        const attn_tensor *t = attn_block_tensor(args, arg);
        int cache = (arg->flags & ATTN_ARG_SLOTS) != 0;
        if (t && (cache || !(arg->flags & ATTN_ARG_OUTPUT)))
            s = attn_dense_add(c, arg->name, t, cache ? n->rows : NULL,
                               n->count, &g->place, stream, err);
    }
    return s;
}

static attn_status
check_recordable(const attn_group *g, const attn_stream *stream,
                 attn_error *err)
{
    const attn_batch *b = g->batch;
    const char *why = NULL;
    if (g->blocks.forward.size == 0)
        why = "a family without a table of arguments";
    else if (stream->capturing)
        why = "the stream is being captured";
    else if (b->query_start_loc_state != ATTN_EXACT ||
             b->seq_lens_state != ATTN_EXACT || !g->kv->block_table)
        why = "lengths or block table are not exact on the host";
    return why ? attn_error_set(err, ATTN_E_UNSUPPORTED, "record", "%s", why)
               : ATTN_OK;
}

static attn_status
make_call(const attn_group *g, const attn_group_layer *layer,
          const attn_head *args, attn_call **call, attn_error *err)
{
    /* Every forward block: head, stream. */
    const attn_stream *stream = (const attn_stream *)(args + 1);
    struct renumbering n;
    attn_call *c;
    attn_status s = check_recordable(g, stream, err);
    if (s == ATTN_OK)
        s = renumbering_create(g->kv->num_blocks, &n, err);
    if (s != ATTN_OK)
        return s;
    s = attn_call_create(g->layer, &c, err);
    if (s == ATTN_OK) {
        s = add_metadata(c, g->batch, g->kv, &n, err);
        if (s == ATTN_OK)
            s = add_constants(c, layer->constants, err);
        if (s == ATTN_OK)
            s = add_arguments(c, g, args, stream, &n, err);
        if (s != ATTN_OK)
            attn_call_free(c);
        else
            *call = c;
    }
    renumbering_free(&n);
    return s;
}

/* --------------------------------------------------------------- the file */

/* 1 when the call's file still fits; it is then counted. */
static int
reserve(attn_recorder *r, uint64_t bytes, uint32_t *number)
{
    pthread_mutex_lock(&lock);
    const int fits =
        !r->full && written <= r->limit && bytes <= r->limit - written;
    if (fits) {
        written += bytes;
        *number = calls++;
    } else if (!r->full) {
        r->full = 1;
        attn_log_write(ATTN_LOG_WARN, "runtime",
                       "recording ends: ATTN_DUMP_LIMIT %" PRIu64
                       " would be passed after %u calls",
                       r->limit, calls);
    }
    pthread_mutex_unlock(&lock);
    return fits;
}

static attn_status
store_call(const attn_recorder *r, const attn_call *call, const char *backend,
           uint32_t number, attn_error *err)
{
    attn_strbuf path = {0};
    attn_strbuf_addf(&path, "%s/%ld-%06u-%s.safetensors", r->dir,
                     (long)getpid(), number, backend);
    attn_status s = path.failed ? attn_error_nomem(err, "record", 0)
                                : attn_call_store(call, path.data, err);
    attn_strbuf_free(&path);
    return s;
}

void
attn_record_forward(const attn_group *group, const attn_group_layer *layer,
                    const attn_head *args)
{
    attn_recorder *r = group->session->recorder;
    const char *backend = group->parts[0].entry->name;
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    uint64_t bytes;
    uint32_t number;
    if (r->full)
        return;
    attn_status s = make_call(group, layer, args, &call, &err);
    if (s == ATTN_OK) {
        s = attn_call_measure(call, &bytes, &err);
        if (s == ATTN_OK && reserve(r, bytes, &number))
            s = store_call(r, call, backend, number, &err);
        attn_call_free(call);
    }
    if (s != ATTN_OK)
        attn_log_write(ATTN_LOG_WARN, "runtime", "%s: not recorded: %s",
                       backend, err.message);
}
