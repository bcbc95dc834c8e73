/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_case.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTHING 0x7fffffff

attn_status
ops_error(ops_case *c, const char *where, const char *format, ...)
{
    va_list ap;

    if (!c->err)
        return ATTN_E_ARG;
    c->err->status = ATTN_E_ARG;
    snprintf(c->err->where, sizeof c->err->where, "%s", where);
    va_start(ap, format);
    vsnprintf(c->err->message, sizeof c->err->message, format, ap);
    va_end(ap);
    return ATTN_E_ARG;
}

void *
ops_alloc(ops_case *c, size_t count, size_t size)
{
    void **blocks = realloc(c->blocks, (c->num_blocks + 1) * sizeof *blocks);
    void *block;

    if (!blocks)
        return NULL;
    c->blocks = blocks;
    block = calloc(count ? count : 1, size ? size : 1);
    if (block)
        c->blocks[c->num_blocks++] = block;
    else
        ops_error(c, "memory", "no memory for %zu elements", count);
    return block;
}

void
ops_close(ops_case *c)
{
    for (size_t i = 0; i < c->num_blocks; i++)
        free(c->blocks[i]);
    free(c->blocks);
}

/* ------------------------------------------------------------------ reading */

/* "NAME: VALUE: what is wanted", a long value cut. */
static attn_status
bad_value(ops_case *c, const char *name, const json_t *v, const char *wanted)
{
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    const int length = text ? (int)strnlen(text, 48) : 0;

    ops_error(c, name, "%s: %.*s%s: %s", name, length ? length : 7,
              length ? text : "missing", length == 48 ? "..." : "", wanted);
    free(text);
    return ATTN_E_ARG;
}

json_t *
ops_value(const ops_case *c, const char *name)
{
    return json_object_get(c->input, name);
}

attn_status
ops_u32(ops_case *c, const char *name, uint32_t *value)
{
    json_t *v = ops_value(c, name);
    json_int_t n = json_integer_value(v);

    if (!json_is_integer(v) || n < 0 || n > UINT32_MAX)
        return bad_value(c, name, v, "a whole number from 0 is needed");
    *value = (uint32_t)n;
    return ATTN_OK;
}

attn_status
ops_flag(ops_case *c, const char *name, uint32_t *value)
{
    json_t *v = ops_value(c, name);

    if (!json_is_boolean(v))
        return bad_value(c, name, v, "true or false is needed");
    *value = json_is_true(v);
    return ATTN_OK;
}

static int
number_of(const json_t *v, int64_t lo, int64_t hi, int64_t *number)
{
    if (json_is_null(v))
        *number = NOTHING;
    else if (json_is_boolean(v))
        *number = json_is_true(v);
    else if (json_is_integer(v))
        *number = json_integer_value(v);
    else
        return 0;
    return *number >= lo && *number <= hi;
}

attn_status
ops_i32_array(ops_case *c, const char *name, int32_t **array, uint32_t *count)
{
    json_t *list = ops_value(c, name);
    size_t n = json_array_size(list);
    int64_t number;

    *array = NULL;
    *count = 0;
    if (!list || json_is_null(list))
        return ATTN_OK;
    if (!json_is_array(list) || n > INT32_MAX)
        return bad_value(c, name, list, "a list of whole numbers is needed");
    *array = ops_alloc(c, n, sizeof **array);
    if (!*array)
        return ATTN_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!number_of(json_array_get(list, i), INT32_MIN, INT32_MAX, &number))
            return bad_value(c, name, json_array_get(list, i),
                             "a 32-bit whole number is needed");
        (*array)[i] = (int32_t)number;
    }
    *count = (uint32_t)n;
    return ATTN_OK;
}

attn_status
ops_i32_exact(ops_case *c, const char *name, uint32_t count, int32_t **array)
{
    uint32_t n;
    attn_status status = ops_i32_array(c, name, array, &n);

    if (!status && n != count)
        return ops_error(c, name, "%s: %u entries, %u are needed", name, n,
                         count);
    return status;
}

/* An optional array with one entry for each of `count`. */
static attn_status
optional(ops_case *c, const char *name, uint32_t count, int32_t **array)
{
    *array = NULL;
    return ops_value(c, name) ? ops_i32_exact(c, name, count, array) : ATTN_OK;
}

static attn_status
optional_bytes(ops_case *c, const char *name, uint32_t count,
               const uint8_t **bytes)
{
    int32_t *array;
    uint8_t *copy;
    attn_status status = optional(c, name, count, &array);

    if (status || !array)
        return status;
    copy = ops_alloc(c, count, 1);
    for (uint32_t i = 0; copy && i < count; i++) {
        if (array[i] != 0 && array[i] != 1)
            return ops_error(c, name, "%s[%u] is %d: 0 or 1", name, i,
                             array[i]);
        copy[i] = (uint8_t)array[i];
    }
    *bytes = copy;
    return copy ? ATTN_OK : ATTN_E_NOMEM;
}

static uint32_t
largest(const int32_t *array, uint32_t count)
{
    int32_t most = 0;

    for (uint32_t i = 0; i < count; i++)
        most = array[i] > most ? array[i] : most;
    return (uint32_t)most;
}

/* Lengths: seq_lens, or num_computed_tokens and the queries. */
static attn_status
load_lengths(ops_case *c)
{
    attn_batch *b = &c->batch;
    uint32_t n = b->num_reqs;
    int32_t *lens, *computed;
    attn_status status = optional(c, "seq_lens", n, &lens);

    if (!status)
        status = optional(c, "num_computed_tokens", n, &computed);
    if (status)
        return status;
    if (!lens && computed) {
        lens = computed;
        for (uint32_t r = 0; r < n; r++)
            lens[r] += b->query_start_loc[r + 1] - b->query_start_loc[r];
    }
    if (!lens && (c->op->needs & OPS_LENS))
        return ops_error(c, "seq_lens", "seq_lens: missing");
    b->seq_lens = lens;
    b->seq_lens_state = lens ? ATTN_EXACT : ATTN_ABSENT;
    b->max_seq_len = lens ? largest(lens, n) : 0;
    return ATTN_OK;
}

static attn_status
load_starts(ops_case *c)
{
    attn_batch *b = &c->batch;
    int32_t *start;
    uint32_t n;
    attn_status status = ops_i32_array(c, "query_start_loc", &start, &n);

    if (status)
        return status;
    if (n == 0)
        return ops_error(c, "query_start_loc",
                         "query_start_loc: missing or "
                         "empty");
    b->num_reqs = n - 1;
    b->query_start_loc = start;
    b->query_start_loc_state = ATTN_EXACT;
    b->num_tokens = start[n - 1] > 0 ? (uint32_t)start[n - 1] : 0;
    for (uint32_t r = 0; r + 1 < n; r++) {
        int64_t len = (int64_t)start[r + 1] - start[r];
        if (len > b->max_query_len)
            b->max_query_len = (uint32_t)len;
    }
    return ops_value(c, "num_tokens") ? ops_u32(c, "num_tokens", &b->num_tokens)
                                      : ATTN_OK;
}

static attn_status
load_ranges(ops_case *c)
{
    json_t *rows = ops_value(c, "ranges"), *row, *pair;
    uint32_t n = c->batch.num_reqs, most = 0;
    size_t r, i;
    int32_t *ranges;
    int64_t first, last;

    if (!rows)
        return ATTN_OK;
    if (json_array_size(rows) != n)
        return ops_error(c, "ranges", "ranges: %zu rows, %u are needed",
                         json_array_size(rows), n);
    json_array_foreach(rows, r, row) if (json_array_size(row) > most) most =
        (uint32_t)json_array_size(row);
    ranges = ops_alloc(c, (size_t)n * most, 2 * sizeof *ranges);
    if (!ranges)
        return ATTN_E_NOMEM;
    for (size_t k = 0; k < 2 * (size_t)n * most; k++)
        ranges[k] = -1;
    json_array_foreach(rows, r, row) json_array_foreach(row, i, pair)
    {
        if (json_array_size(pair) != 2 ||
            !number_of(json_array_get(pair, 0), 0, INT32_MAX, &first) ||
            !number_of(json_array_get(pair, 1), 0, INT32_MAX, &last))
            return ops_error(c, "ranges", "ranges[%zu][%zu]: not [first, last]",
                             r, i);
        ranges[2 * (r * most + i)] = (int32_t)first;
        ranges[2 * (r * most + i) + 1] = (int32_t)last;
    }
    c->prefix_ranges = (attn_ext_prefix_ranges){
        .head = {sizeof c->prefix_ranges, 0, ATTN_EXT_PREFIX_RANGES, NULL},
        .max_ranges = most,
        .ranges = ranges};
    c->batch.ext = &c->prefix_ranges.head;
    return ATTN_OK;
}

static attn_status
load_table(ops_case *c)
{
    json_t *rows = ops_value(c, "block_table"), *row;
    attn_kv_group *g = &c->group;
    uint32_t n = c->batch.num_reqs;
    size_t cols = json_array_size(json_array_get(rows, 0)), r;
    int32_t *table;
    int64_t number;

    if (json_array_size(rows) != n || cols > INT32_MAX)
        return ops_error(c, "block_table",
                         "block_table: %zu rows, %u are "
                         "needed",
                         json_array_size(rows), n);
    table = ops_alloc(c, n * cols, sizeof *table);
    if (!table)
        return ATTN_E_NOMEM;
    json_array_foreach(rows, r, row) for (size_t j = 0; j < cols; j++)
    {
        if (json_array_size(row) != cols ||
            !number_of(json_array_get(row, j), 0, INT32_MAX, &number))
            return ops_error(c, "block_table",
                             "block_table[%zu]: not %zu block numbers", r,
                             cols);
        table[r * cols + j] = (int32_t)number;
    }
    g->block_table = table;
    g->block_table_cols = (uint32_t)cols;
    g->block_table_stride = (int64_t)cols;
    return ops_u32(c, "block_size", &g->block_size);
}

static void
has_group(ops_case *c)
{
    c->kv = &c->group;
    c->out_kv = &c->out_group;
}

static attn_status
load_slots(ops_case *c)
{
    json_t *list = ops_value(c, "slot_mapping");
    uint32_t n = c->batch.num_tokens;
    int64_t *slots;

    if (!list)
        return ATTN_OK;
    if (json_array_size(list) != n)
        return ops_error(c, "slot_mapping",
                         "slot_mapping: %zu entries, %u are "
                         "needed",
                         json_array_size(list), n);
    slots = ops_alloc(c, n, sizeof *slots);
    if (!slots)
        return ATTN_E_NOMEM;
    for (uint32_t t = 0; t < n; t++)
        if (!number_of(json_array_get(list, t), -1, INT64_MAX, &slots[t]))
            return ops_error(c, "slot_mapping", "slot_mapping[%u]: not a slot",
                             t);
    c->group.slot_mapping = slots;
    has_group(c);
    return ATTN_OK;
}

static attn_status
load_group(ops_case *c)
{
    attn_status status = ATTN_OK;

    c->group = (attn_kv_group){.struct_size = sizeof c->group,
                               .block_size = 1,
                               .num_blocks = INT32_MAX};
    if (ops_value(c, "block_table")) {
        has_group(c);
        status = load_table(c);
    } else if (c->op->needs & OPS_TABLE) {
        return ops_error(c, "block_table", "block_table: missing");
    }
    return status ? status : load_slots(c);
}

static attn_status
load_optional(ops_case *c)
{
    attn_batch *b = &c->batch;
    int32_t *prompt = NULL;
    attn_status status =
        optional_bytes(c, "is_prefilling", b->num_reqs, &b->is_prefilling);

    if (!status)
        status = optional_bytes(c, "causal", b->num_reqs, &b->causal);
    if (!status)
        status = optional(c, "num_prompt_tokens", b->num_reqs, &prompt);
    b->num_prompt_tokens = prompt;
    return status ? status : load_ranges(c);
}

attn_status
ops_load_batch(ops_case *c)
{
    attn_status status;

    c->batch.struct_size = sizeof c->batch;
    status = load_starts(c);
    if (!status)
        status = load_lengths(c);
    if (!status)
        status = load_optional(c);
    if (!status)
        status = load_group(c);
    if (!status && c->batch.seq_lens)
        status = attn_batch_validate(&c->batch, c->err);
    if (!status && c->batch.seq_lens && c->group.block_table)
        status = attn_kv_group_validate(&c->group, &c->batch, ATTN_CHECK_TABLE,
                                        c->err);
    return status;
}

attn_status
ops_room(ops_case *c, const attn_batch_size *size)
{
    uint64_t bytes;
    attn_status status = attn_batch_room_bytes(size, &bytes, c->err);
    char *memory;

    if (status)
        return status;
    memory = ops_alloc(c, bytes + 64, 1);
    if (!memory)
        return ATTN_E_NOMEM;
    memory += -(uintptr_t)memory % 64;
    return attn_batch_room_bind(size, memory, bytes, &c->room, c->err);
}

attn_status
ops_room_same(ops_case *c)
{
    attn_batch_size size;
    attn_status status = attn_batch_size_of(&c->batch, c->kv, &size, c->err);

    return status ? status : ops_room(c, &size);
}

/* ------------------------------------------------------------------ writing */

void
ops_put(json_t *to, const char *name, int64_t value)
{
    json_object_set_new(to, name, json_integer(value));
}

json_t *
ops_list_i32(const int32_t *array, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(array[i]));
    return list;
}

json_t *
ops_list_u32(const uint32_t *array, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(array[i]));
    return list;
}

json_t *
ops_list_i64(const int64_t *array, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(array[i]));
    return list;
}

void
ops_put_i32(json_t *to, const char *name, const int32_t *array, size_t count)
{
    json_object_set_new(to, name, ops_list_i32(array, count));
}

static void
put_bytes(json_t *to, const char *name, const uint8_t *bytes, uint32_t count)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_boolean(bytes[i]));
    json_object_set_new(to, name, list);
}

/* Entries past the sequence are nobody's: null. */
static json_t *
table_rows(const attn_batch *batch, const attn_kv_group *group)
{
    json_t *rows = json_array();

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        const int32_t *row = group->block_table + r * group->block_table_stride;
        json_t *list = json_array();

        for (uint32_t j = 0; j < group->block_table_cols; j++)
            json_array_append_new(list, (int64_t)j * group->block_size <
                                                batch->seq_lens[r]
                                            ? json_integer(row[j])
                                            : json_null());
        json_array_append_new(rows, list);
    }
    return rows;
}

static void
put_fields(json_t *to, const attn_batch *b, const attn_kv_group *group)
{
    ops_put_i32(to, "query_start_loc", b->query_start_loc,
                (size_t)b->num_reqs + 1);
    if (b->seq_lens)
        ops_put_i32(to, "seq_lens", b->seq_lens, b->num_reqs);
    ops_put(to, "num_reqs", b->num_reqs);
    ops_put(to, "num_actual_tokens", b->num_tokens);
    ops_put(to, "max_query_len", b->max_query_len);
    ops_put(to, "max_seq_len", b->max_seq_len);
    if (b->is_prefilling)
        put_bytes(to, "is_prefilling", b->is_prefilling, b->num_reqs);
    if (b->num_prompt_tokens)
        ops_put_i32(to, "num_prompt_tokens", b->num_prompt_tokens, b->num_reqs);
    if (b->causal)
        put_bytes(to, "causal", b->causal, b->num_reqs);
    if (group && group->block_table && b->seq_lens)
        json_object_set_new(to, "block_table", table_rows(b, group));
    if (group && group->slot_mapping)
        json_object_set_new(to, "slot_mapping",
                            ops_list_i64(group->slot_mapping, b->num_tokens));
}

attn_status
ops_put_batch(ops_case *c, json_t *to, const attn_batch *batch,
              const attn_kv_group *group)
{
    attn_status status = ATTN_OK;

    if (batch->seq_lens)
        status = attn_batch_validate(batch, c->err);
    if (!status)
        put_fields(to, batch, group);
    return status;
}

attn_status
ops_put_out(ops_case *c, attn_status status, json_t *to)
{
    return status ? status : ops_put_batch(c, to, &c->out, c->out_kv);
}
