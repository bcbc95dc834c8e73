/* SPDX-License-Identifier: Apache-2.0 */
/* The field table of every transform against what it really does, on a batch
 * in which every field is set. */
#include "config.h"

#include <attn/spec_decode.h>

#include "batch_case.h"

#define REQS 4
#define BLOCK 4u
#define NUM_TRANSFORMS 12

static attn_error err;

/* A batch with everything: arrays, mirrors, extensions known and unknown. */
typedef struct full_batch {
    batch_case *c;
    attn_batch batch;
    attn_kv_group group;
    int32_t ranges[REQS * 2 * 2], local[REQS], accepted[REQS];
    int32_t checkpoints[REQS * 2];
    uint8_t initial[REQS];
    int64_t shape[2], strides[2];
    attn_tensor mirror;
    attn_ext unknown, group_unknown;
    attn_ext_prefix_ranges prefix_ranges;
    attn_ext_context_parallel context_parallel;
    attn_ext_state state;
    attn_batch_room room;
    void *memory;
} full_batch;

static void
fill_extensions(full_batch *f, int with_unsupported)
{
    for (size_t i = 0; i < sizeof f->ranges / sizeof *f->ranges; i++)
        f->ranges[i] = -1;
    f->ranges[0] = 1;
    f->ranges[1] = 3;
    f->unknown = (attn_ext){sizeof f->unknown, 0, "vendor.thing/1", NULL};
    f->group_unknown = f->unknown;
    f->prefix_ranges = (attn_ext_prefix_ranges){
        {sizeof f->prefix_ranges, 0, ATTN_EXT_PREFIX_RANGES, &f->unknown},
        2,
        0,
        f->ranges,
        &f->mirror};
    f->context_parallel = (attn_ext_context_parallel){
        {sizeof f->context_parallel, 0, ATTN_EXT_CONTEXT_PARALLEL,
         &f->prefix_ranges.head},
        2,
        0,
        1,
        0,
        f->local,
        &f->mirror};
    f->state = (attn_ext_state){
        {sizeof f->state, 0, ATTN_EXT_STATE, &f->group_unknown},
        2,
        8,
        f->initial,
        f->accepted,
        f->checkpoints,
        &f->mirror,
        &f->mirror,
        &f->mirror};
    for (uint32_t r = 0; r < REQS; r++) {
        f->local[r] = (f->c->lens[r] + 1) / 2;
        f->accepted[r] = 1;
        f->initial[r] = 1;
        f->checkpoints[2 * r] = (int32_t)r;
        f->checkpoints[2 * r + 1] = -1;
    }
    f->batch.ext = with_unsupported ? &f->context_parallel.head : &f->unknown;
    f->group.ext = &f->state.head;
}

static full_batch *
full_make(int with_unsupported)
{
    static const int32_t q[REQS] = {1, 4, 8, 2}, lens[REQS] = {20, 24, 28, 22};
    full_batch *f = calloc(1, sizeof *f);
    attn_batch_size size;
    uint64_t bytes;

    f->c = case_make(q, lens, REQS, BLOCK);
    f->batch = f->c->batch;
    f->group = f->c->group;
    f->batch.is_prefilling = f->c->prefilling;
    f->batch.num_prompt_tokens = f->c->prompt;
    f->batch.causal = f->c->causal;
    f->mirror = (attn_tensor){f->c,     {ATTN_DEVICE_CPU, 0}, 1, ATTN_I32,
                              f->shape, f->strides,           0};
    f->batch.query_start_loc_device = &f->mirror;
    f->batch.seq_lens_device = &f->mirror;
    f->batch.causal_device = &f->mirror;
    f->group.block_table_device = &f->mirror;
    f->group.slot_mapping_device = &f->mirror;
    fill_extensions(f, with_unsupported);
    ck_assert_good(attn_batch_size_of(&f->batch, &f->group, &size, &err), err);
    size.num_reqs += 16;
    size.num_tokens += 64;
    size.max_ranges = 2;
    size.max_checkpoints = 2;
    ck_assert_good(attn_batch_room_bytes(&size, &bytes, &err), err);
    f->memory = aligned_alloc(64, bytes);
    memset(f->memory, 0x5a, bytes);
    ck_assert_good(
        attn_batch_room_bind(&size, f->memory, bytes, &f->room, &err), err);
    return f;
}

static void
full_free(full_batch *f)
{
    free(f->memory);
    free(f->c);
    free(f);
}

/* ------------------------------------------------------ running by its name */

typedef struct run_result {
    attn_batch out;
    attn_kv_group group;
    int has_group; /* the transform has a group as its result */
} run_result;

static const int32_t none[REQS] = {0};
static const int32_t last[REQS] = {19, 23, 27, 21};

static attn_status
run_named(const char *name, full_batch *f, run_result *x)
{
    static const uint32_t order[REQS] = {2, 0, 3, 1};
    static const uint32_t logits[] = {0, 4, 11, 12, 14};
    static const attn_batch_slice slice = {1, 3, 2, 9};
    const attn_spec_extend_params extend = {
        .struct_size = sizeof extend, .count = 2, .max_model_len = 64};
    const attn_batch *b = &f->batch;
    const attn_kv_group *g = &f->group;
    int32_t positions[REQS];

    x->has_group = 1;
    if (!strcmp(name, "local_attention_virtual_batches"))
        return attn_local_attention(b, g, 8, &f->room, &x->out, &x->group,
                                    &err);
    if (!strcmp(name, "split_ubatches"))
        return attn_microbatch(b, g, &slice, &f->room, &x->out, &x->group,
                               &err);
    if (!strcmp(name, "reorder_batch"))
        return attn_batch_reorder(b, g, order, NULL, &f->room, &x->out,
                                  &x->group, &err);
    if (!strcmp(name, "unpad"))
        return attn_batch_unpad(b, g, REQS, 15, &x->out, &x->group, &err);
    if (!strcmp(name, "pad"))
        return attn_batch_pad(b, g, REQS + 2, 18, &f->room, &x->out, &x->group,
                              &err);
    if (!strcmp(name, "cascade_prefix"))
        return attn_cascade_prefix(b, g, 2 * BLOCK, &f->room, &x->out,
                                   &x->group, &err);
    if (!strcmp(name, "cascade_suffix"))
        return attn_cascade_suffix(b, g, 2 * BLOCK, &f->room, &x->out,
                                   &x->group, &err);
    if (!strcmp(name, "spec_decode_prepare_inputs"))
        return attn_spec_compact(b, g, none, NULL, &f->room, &x->out, &x->group,
                                 &err);
    if (!strcmp(name, "spec_decode_draft_step"))
        return attn_spec_draft_step(b, g, last, 64, positions, &f->room,
                                    &x->out, &x->group, &err);
    if (!strcmp(name, "spec_decode_extend"))
        return attn_spec_extend(b, g, &extend, &f->room, &x->out, &x->group,
                                &err);
    x->has_group = 0;
    if (!strcmp(name, "kv_sharing_fast_prefill"))
        return attn_fast_prefill(b, logits, 5, &f->room, &x->out, &err);
    if (!strcmp(name, "dcp_local_seq_lens"))
        return attn_context_parallel(b, 2, 1, 1, &f->room, &x->out, &err);
    ck_abort_msg("no run for transform %s", name);
    return ATTN_E_INTERNAL;
}

/* --------------------------------------------------------- a field's content
 */

/* A pointer field, or a number, of one side. */
typedef struct field_view {
    const void *array; /* arrays: the pointer */
    size_t width;      /* bytes of a row of the array; 0: a number */
    size_t rows;
    uint64_t number;
} field_view;

static const void *
known_ext(const attn_ext *chain, const char *id)
{
    for (; chain; chain = chain->next)
        if (!strcmp(chain->id, id))
            return chain;
    return NULL;
}

static field_view
number(uint64_t value)
{
    return (field_view){.number = value};
}

static field_view
array(const void *pointer, size_t width, size_t rows)
{
    return (field_view){pointer, width, rows, 0};
}

static field_view
view_batch(const attn_batch *b, uint32_t field)
{
    size_t n = b->num_reqs;

    switch (field) {
    case ATTN_FIELD_BATCH_FLAGS:
        return number(b->flags);
    case ATTN_FIELD_NUM_REQS:
        return number(b->num_reqs);
    case ATTN_FIELD_NUM_TOKENS:
        return number(b->num_tokens);
    case ATTN_FIELD_MAX_QUERY_LEN:
        return number(b->max_query_len);
    case ATTN_FIELD_MAX_SEQ_LEN:
        return number(b->max_seq_len);
    case ATTN_FIELD_QUERY_START_LOC_STATE:
        return number(b->query_start_loc_state);
    case ATTN_FIELD_SEQ_LENS_STATE:
        return number(b->seq_lens_state);
    case ATTN_FIELD_QUERY_START_LOC:
        return array(b->query_start_loc, sizeof(int32_t), n + 1);
    case ATTN_FIELD_SEQ_LENS:
        return array(b->seq_lens, sizeof(int32_t), n);
    case ATTN_FIELD_IS_PREFILLING:
        return array(b->is_prefilling, 1, n);
    case ATTN_FIELD_NUM_PROMPT_TOKENS:
        return array(b->num_prompt_tokens, sizeof(int32_t), n);
    case ATTN_FIELD_CAUSAL:
        return array(b->causal, 1, n);
    case ATTN_FIELD_QUERY_START_LOC_DEVICE:
        return array(b->query_start_loc_device, 1, 1);
    case ATTN_FIELD_SEQ_LENS_DEVICE:
        return array(b->seq_lens_device, 1, 1);
    case ATTN_FIELD_CAUSAL_DEVICE:
        return array(b->causal_device, 1, 1);
    default:
        return array(known_ext(b->ext, "vendor.thing/1"), 1, 1);
    }
}

static field_view
view_batch_ext(const attn_batch *b, uint32_t field)
{
    const attn_ext_prefix_ranges *p = known_ext(b->ext, ATTN_EXT_PREFIX_RANGES);
    const attn_ext_context_parallel *cp =
        known_ext(b->ext, ATTN_EXT_CONTEXT_PARALLEL);

    switch (field) {
    case ATTN_FIELD_PREFIX_RANGES:
        return array(p ? p->ranges : NULL, 4 * sizeof(int32_t), b->num_reqs);
    case ATTN_FIELD_PREFIX_RANGES_DEVICE:
        return array(p ? p->ranges_device : NULL, 1, 1);
    case ATTN_FIELD_LOCAL_SEQ_LENS:
        return array(cp ? cp->local_seq_lens : NULL, sizeof(int32_t),
                     b->num_reqs);
    default:
        return array(cp ? cp->local_seq_lens_device : NULL, 1, 1);
    }
}

static field_view
view_state(const attn_kv_group *g, uint32_t rows, uint32_t field)
{
    const attn_ext_state *s = known_ext(g->ext, ATTN_EXT_STATE);

    if (!s)
        return array(NULL, 1, 0);
    switch (field) {
    case ATTN_FIELD_HAS_INITIAL_STATE:
        return array(s->has_initial_state, 1, rows);
    case ATTN_FIELD_NUM_ACCEPTED_TOKENS:
        return array(s->num_accepted_tokens, sizeof(int32_t), rows);
    case ATTN_FIELD_CHECKPOINT_SLOTS:
        return array(s->checkpoint_slots, 2 * sizeof(int32_t), rows);
    default:
        ck_assert_ptr_eq(s->has_initial_state_device,
                         s->num_accepted_tokens_device);
        ck_assert_ptr_eq(s->has_initial_state_device,
                         s->checkpoint_slots_device);
        return array(s->has_initial_state_device, 1, 1);
    }
}

static field_view
view_group(const attn_kv_group *g, const attn_batch *b, uint32_t field)
{
    switch (field) {
    case ATTN_FIELD_GROUP_FLAGS:
        return number(g->flags);
    case ATTN_FIELD_BLOCK_SIZE:
        return number(g->block_size);
    case ATTN_FIELD_NUM_BLOCKS:
        return number(g->num_blocks);
    case ATTN_FIELD_BLOCK_TABLE_COLS:
        return number(g->block_table_cols);
    case ATTN_FIELD_BLOCK_TABLE_STRIDE:
        return number((uint64_t)g->block_table_stride);
    case ATTN_FIELD_BLOCK_TABLE: /* one entry: rows have their own tests */
        return array(g->block_table, sizeof(int32_t), 1);
    case ATTN_FIELD_SLOT_MAPPING:
        return array(
            g->slot_mapping, sizeof(int64_t),
            b->query_start_loc ? (size_t)b->query_start_loc[b->num_reqs] : 0);
    case ATTN_FIELD_BLOCK_TABLE_DEVICE:
        return array(g->block_table_device, 1, 1);
    case ATTN_FIELD_SLOT_MAPPING_DEVICE:
        return array(g->slot_mapping_device, 1, 1);
    case ATTN_FIELD_GROUP_EXT:
        return array(known_ext(g->ext, "vendor.thing/1"), 1, 1);
    default:
        return view_state(g, b->num_reqs, field);
    }
}

static field_view
view(const attn_batch *b, const attn_kv_group *g, uint32_t field)
{
    if (field <= ATTN_FIELD_BATCH_EXT)
        return view_batch(b, field);
    if (field <= ATTN_FIELD_LOCAL_SEQ_LENS_DEVICE)
        return view_batch_ext(b, field);
    return view_group(g, b, field);
}

/* ------------------------------------------------------------- table = truth
 */

static int
inside(const full_batch *f, const void *p)
{
    const char *at = p, *memory = f->memory;
    uint64_t bytes;

    ck_assert_good(attn_batch_room_bytes(&f->room.size, &bytes, &err), err);
    return at >= memory && at < memory + bytes;
}

/* Every row of `out` is a row of `in`. */
static int
is_sliced(field_view in, field_view out, size_t in_rows_more)
{
    for (size_t i = 0; i < out.rows; i++) {
        const char *row = (const char *)out.array + i * out.width;
        size_t j = 0;

        while (j < in.rows + in_rows_more &&
               memcmp((const char *)in.array + j * in.width, row, in.width))
            j++;
        if (j == in.rows + in_rows_more)
            return 0;
    }
    return 1;
}

static void
check_field(const full_batch *f, const attn_transform *t, const run_result *x,
            uint32_t field)
{
    field_view in = view(&f->batch, &f->group, field);
    field_view out = view(&x->out, &x->group, field);
    const char *name = attn_batch_rule_name(t->rules[field]);
    int number_field = in.width == 0;
    /* the table's rows: any entry of it may be the first of a view */
    size_t more = field == ATTN_FIELD_BLOCK_TABLE ? REQS * CASE_COLS - 1 : 0;

    ck_assert_msg(name != NULL, "%s: no rule for %s", t->name,
                  attn_batch_field_name(field));
#define FIELD_MSG \
    "%s: %s is not %s", t->name, attn_batch_field_name(field), name
    switch (t->rules[field]) {
    case ATTN_CARRIED:
        ck_assert_msg(number_field ? in.number == out.number
                                   : in.array == out.array,
                      FIELD_MSG);
        break;
    case ATTN_SLICED:
        ck_assert_msg(in.array ? out.array && is_sliced(in, out, more)
                               : !out.array,
                      FIELD_MSG);
        break;
    case ATTN_RECOMPUTED:
        ck_assert_msg(number_field || (out.array && inside(f, out.array)),
                      FIELD_MSG);
        break;
    default:
        ck_assert_msg(!number_field && !out.array, FIELD_MSG);
    }
}

static void
check_table(full_batch *f, const attn_transform *t, uint32_t from, uint32_t to)
{
    run_result x = {.has_group = 0};
    attn_batch before = f->batch;
    attn_kv_group group_before = f->group;
    batch_case *copy = malloc(sizeof *copy);

    memcpy(copy, f->c, sizeof *copy);
    ck_assert_good(run_named(t->name, f, &x), err);
    if (!x.has_group)
        x.group = f->group;
    for (uint32_t field = from; field < to; field++)
        check_field(f, t, &x, field);
    ck_assert_mem_eq(&before, &f->batch, sizeof before);
    ck_assert_mem_eq(&group_before, &f->group, sizeof group_before);
    ck_assert_mem_eq(copy, f->c, sizeof *copy);
    free(copy);
    x.out.query_start_loc_device = NULL; /* they are no true mirrors here */
    x.out.seq_lens_device = NULL;
    x.out.causal_device = NULL;
    ck_assert_good(attn_batch_validate(&x.out, &err), err);
}

static int
refuses_extensions(const char *name)
{
    return !strcmp(name, "local_attention_virtual_batches") ||
           !strncmp(name, "cascade_", 8);
}

START_TEST(every_table_is_true)
{
    const attn_transform *t;
    uint32_t i;

    for (i = 0; (t = attn_transform_at(i)); i++) {
        full_batch *f = full_make(!refuses_extensions(t->name));

        check_table(f, t, 0, ATTN_NUM_FIELDS);
        full_free(f);
    }
    ck_assert_uint_eq(i, NUM_TRANSFORMS);
}
END_TEST

/* Where dropping an extension would change the result, it is refused. */
START_TEST(what_cannot_be_carried_is_refused)
{
    const attn_transform *t;

    for (uint32_t i = 0; (t = attn_transform_at(i)); i++) {
        full_batch *f = full_make(1);
        run_result x;

        if (refuses_extensions(t->name))
            ck_assert_error(run_named(t->name, f, &x), err, ATTN_E_UNSUPPORTED,
                            "prefix ranges");
        else
            ck_assert_good(run_named(t->name, f, &x), err);
        full_free(f);
    }
}
END_TEST

START_TEST(bounds_stay_bounds)
{
    static const char *const exact_only[] = {"local_attention_virtual_batches",
                                             "cascade_prefix", "cascade_suffix",
                                             "spec_decode_extend"};
    const attn_transform *t;

    for (uint32_t i = 0; (t = attn_transform_at(i)); i++) {
        full_batch *f = full_make(0);
        run_result x;
        int refuses = 0;

        for (size_t k = 0; k < sizeof exact_only / sizeof *exact_only; k++)
            refuses |= !strcmp(exact_only[k], t->name);
        f->batch.seq_lens_state = ATTN_UPPER_BOUND;
        if (refuses)
            ck_assert_error(run_named(t->name, f, &x), err, ATTN_E_ARG,
                            "upper bound");
        else
            ck_assert_good(run_named(t->name, f, &x), err);
        if (!refuses)
            ck_assert_uint_eq(x.out.seq_lens_state, ATTN_UPPER_BOUND);
        f->batch.seq_lens_state = ATTN_ABSENT;
        f->batch.seq_lens = NULL;
        if (!strcmp(t->name, "kv_sharing_fast_prefill")) {
            ck_assert_good(run_named(t->name, f, &x), err);
            ck_assert_uint_eq(x.out.seq_lens_state, ATTN_ABSENT);
        } else {
            ck_assert_error(run_named(t->name, f, &x), err, ATTN_E_ARG,
                            "seq_lens is absent");
        }
        f->batch.query_start_loc_state = ATTN_ABSENT;
        ck_assert_error(run_named(t->name, f, &x), err, ATTN_E_ARG,
                        "query_start_loc is absent");
        full_free(f);
    }
}
END_TEST

/* unpad is a view; all others must notice that the room is short. */
START_TEST(short_rooms_are_refused)
{
    const attn_transform *t;

    for (uint32_t i = 0; (t = attn_transform_at(i)); i++) {
        full_batch *f = full_make(0);
        run_result x;

        f->room.size.num_reqs = 0;
        if (strcmp(t->name, "unpad"))
            ck_assert_error(run_named(t->name, f, &x), err, ATTN_E_WORKSPACE,
                            "room for 0 requests");
        full_free(f);
    }
}
END_TEST

/* Request 1 has 20 context and 4 new tokens: positions 20 to 23. A checkpoint
 * every 2 positions falls at 22 and 24; the slice starts at position 22, after
 * the first. */
START_TEST(a_cut_request_continues_its_state)
{
    static const attn_batch_slice slice = {1, 2, 3, 5};
    full_batch *f = full_make(0);
    const attn_ext_state *state;
    run_result x;

    f->group.flags = ATTN_KV_STATE;
    f->group.block_size = 0;
    f->group.slot_mapping = NULL;
    f->group.block_table_cols = 1;
    f->state.checkpoint_interval = 2;
    f->initial[1] = 0;
    f->checkpoints[2] = 5;
    f->checkpoints[3] = 6;
    ck_assert_good(attn_microbatch(&f->batch, &f->group, &slice, &f->room,
                                   &x.out, &x.group, &err),
                   err);
    state = known_ext(x.group.ext, ATTN_EXT_STATE);
    ck_assert_ptr_nonnull(state);
    ck_assert_uint_eq(state->has_initial_state[0], 1);
    ck_assert_int_eq(state->num_accepted_tokens[0], 1);
    ck_assert_int_eq(state->checkpoint_slots[0], 6);
    ck_assert_int_eq(state->checkpoint_slots[1], -1);
    ck_assert_ptr_eq(x.group.block_table, f->c->table + CASE_COLS);
    f->group.block_table_cols = 3;
    ck_assert_error(attn_microbatch(&f->batch, &f->group, &slice, &f->room,
                                    &x.out, &x.group, &err),
                    err, ATTN_E_UNSUPPORTED, "3 state columns");
    full_free(f);
}
END_TEST

START_TEST(slices_that_are_none_are_refused)
{
    static const attn_batch_slice bad[] = {
        {1, 1, 1, 2}, {0, 5, 0, 2}, {0, 1, 0, 0}, {0, 2, 1, 3},
        {1, 2, 1, 6}, {0, 2, 0, 1}, {0, 1, 0, 99}};
    full_batch *f = full_make(0);
    run_result x;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_error(attn_microbatch(&f->batch, &f->group, &bad[i], &f->room,
                                        &x.out, &x.group, &err),
                        err, ATTN_E_ARG, "requests [");
    full_free(f);
}
END_TEST

START_TEST(rooms_are_sized_and_bound)
{
    attn_batch_size size = {.struct_size = sizeof size,
                            .num_reqs = 3,
                            .num_tokens = 5,
                            .table_cols = 7};
    attn_batch_room room;
    uint64_t bytes;
    _Alignas(64) char memory[4096];

    ck_assert_good(attn_batch_room_bytes(&size, &bytes, &err), err);
    ck_assert_error(attn_batch_room_bind(&size, memory + 8, 4000, &room, &err),
                    err, ATTN_E_WORKSPACE, "multiple of 64");
    ck_assert_error(attn_batch_room_bind(&size, memory, bytes - 1, &room, &err),
                    err, ATTN_E_WORKSPACE, "needed");
    ck_assert_good(attn_batch_room_bind(&size, memory, bytes, &room, &err),
                   err);
    ck_assert_ptr_eq((char *)(room.slot_mapping + 5) + 24, memory + bytes);
    size.num_reqs = UINT32_MAX;
    size.table_cols = UINT32_MAX;
    ck_assert_error(attn_batch_room_bytes(&size, &bytes, &err), err, ATTN_E_ARG,
                    "64-bit");
}
END_TEST

START_TEST(names_are_complete)
{
    for (uint32_t i = 0; i < ATTN_NUM_FIELDS; i++)
        ck_assert_ptr_nonnull(attn_batch_field_name(i));
    ck_assert_ptr_null(attn_batch_field_name(ATTN_NUM_FIELDS));
    ck_assert_str_eq(attn_batch_rule_name(ATTN_INVALID), "invalid");
    ck_assert_ptr_null(attn_batch_rule_name(0));
    ck_assert_ptr_null(attn_batch_rule_name(5));
}
END_TEST

UNIT_MAIN("batch_fields", 20, every_table_is_true,
          what_cannot_be_carried_is_refused, bounds_stay_bounds,
          short_rooms_are_refused, a_cut_request_continues_its_state,
          slices_that_are_none_are_refused, rooms_are_sized_and_bound,
          names_are_complete)
