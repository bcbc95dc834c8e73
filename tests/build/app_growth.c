/* SPDX-License-Identifier: Apache-2.0 */
/* app_growth DIR: an engine of one minor on a library of another. Each struct
 * that it gives ends at an unmapped page, so that a byte read or written
 * beyond what this engine knows of it kills; what it knows beyond 1.0 holds
 * garbage. */
#include <attn/attn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TOKENS 6
#define BLOCKS 8
#define PAGE 4 /* positions of a block */
#define DIM 32

static attn_error err = {.struct_size = sizeof(attn_error)};

static void
need(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "app_growth: %s: %s\n", what, err.message);
    exit(1);
}

#define GOOD(call) need((call) == ATTN_OK, #call)

/* size bytes, of which `known` are zero and the rest garbage, before an
 * unmapped page. */
static void *
edge(size_t size, size_t known)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(map != MAP_FAILED && size <= page, "mmap");
    need(mprotect(map + page, page, PROT_NONE) == 0, "mprotect");
    memset(map, 0xA5, page);
    return memset(map + page - size, 0, known);
}

/* A struct whose last field of 1.0 is `last`; its first is its size. */
static void *
sized(size_t size, size_t known)
{
    uint32_t *at = edge(size, known);
    *at = (uint32_t)size;
    return at;
}
#define NEW(T, last) \
    sized(sizeof(T), offsetof(T, last) + sizeof(((T *)0)->last))

static void
serial(void *arg, uint32_t num_tasks, uint32_t max_workers, attn_task task,
       void *task_arg)
{
    (void)arg;
    (void)max_workers;
    for (uint32_t i = 0; i < num_tasks; i++)
        task(task_arg, i, 0);
}

static attn_registry *
open_registry(const char *dir)
{
    char ini[4096];
    attn_registry *registry;
    attn_config *config;
    attn_executor *executor = NEW(attn_executor, parallel_for);
    attn_registry_params *params = NEW(attn_registry_params, option_backend);
    const int n = snprintf(ini, sizeof ini,
                           "[attn]\nplugin_path = %s\ntrust = off\n"
                           "probe = never\n"
                           "[plugin hello]\nlibrary = attn_hello.so\n"
                           "[plugin cpu]\nlibrary = attn_flash_cpu.so\n"
                           "[select]\nflash.prefill = hello\n"
                           "flash.decode = flash.cpu\n",
                           dir);
    GOOD(attn_config_parse("app.ini", ini, (size_t)n, &config, &err));
    executor->num_threads = 1;
    executor->parallel_for = serial;
    params->config = config;
    params->executor = executor;
    GOOD(attn_registry_open(params, &registry, &err));
    return registry;
}

/* By hand, so that its size is what this engine knows. */
static attn_flash_layer *
make_layer(void)
{
    attn_any_layer *any = edge(sizeof *any, sizeof *any);
    attn_flash_layer *layer = NEW(attn_flash_layer, reserved);
    const uint32_t size = layer->head.struct_size;
    attn_layer_init(attn_family_find("flash"), any);
    GOOD(attn_layer_set(any, "num_heads", "2", &err));
    GOOD(attn_layer_set(any, "head_dim", "32", &err));
    GOOD(attn_layer_set(any, "block_size", "4", &err));
    GOOD(attn_layer_set(any, "q_dtype", "f32", &err));
    GOOD(attn_layer_finish(any, &err));
    memcpy(layer, any, ATTN_FLASH_LAYER_SIZE_1_0);
    layer->head.struct_size = size;
    return layer;
}

static void
choose(attn_registry *registry, const attn_flash_layer *layer)
{
    char text[32];
    attn_selection *selection;
    attn_select_params *params = NEW(attn_select_params, backend);
    attn_kv_spec *spec = NEW(attn_kv_spec, caches);
    params->backend = "hello";
    params->layer_index = ATTN_LAYER_INDEX_NONE;
    GOOD(attn_select(registry, &layer->head, params, &selection, &err));
    const attn_entry *entry = attn_selection_winner(selection);
    need(entry && !strcmp(entry->name, "hello"), "the winner");
    GOOD(attn_kv_spec_get(entry, &layer->head, spec, &err));
    need(spec->num_caches == 2 && spec->caches[1].shape[0] == PAGE, "kv_spec");
    GOOD(attn_layer_get(&layer->head, "head_dim", text, sizeof text));
    need(!strcmp(text, "32"), "head_dim");
    attn_selection_free(selection);
}

static attn_limits *
make_limits(void)
{
    attn_limits *limits = NEW(attn_limits, reserved);
    limits->max_reqs = 4;
    limits->max_tokens = 2 * TOKENS;
    limits->max_query_len = TOKENS;
    limits->max_seq_len = PAGE * 4;
    limits->max_blocks_per_req = 4;
    return limits;
}

static int32_t starts[3] = {0, 1, TOKENS}, lens[2] = {7, 9};
static int32_t table[2][4] = {{3, 2, 0, 0}, {5, 1, 4, 0}};
static int32_t ranges[2][1][2] = {{{-1, -1}}, {{0, 1}}};
static int64_t slots[TOKENS];

/* A decode and a prefill. */
static attn_batch *
make_batch(attn_kv_group **group)
{
    attn_batch *batch = NEW(attn_batch, ext);
    attn_kv_group *kv = NEW(attn_kv_group, ext);
    batch->num_reqs = 2;
    batch->num_tokens = TOKENS;
    batch->max_query_len = 5;
    batch->max_seq_len = 9;
    batch->query_start_loc_state = batch->seq_lens_state = ATTN_EXACT;
    batch->query_start_loc = starts;
    batch->seq_lens = lens;
    kv->block_size = PAGE;
    kv->num_blocks = BLOCKS;
    kv->block_table_cols = 3;
    kv->block_table_stride = 4;
    kv->block_table = &table[0][0];
    GOOD(attn_slot_mapping(batch, kv, slots, &err));
    kv->slot_mapping = slots;
    *group = kv;
    return batch;
}

static float rows[3][TOKENS * 2 * DIM];
static float caches[2][BLOCKS * PAGE * 2 * DIM];
static attn_tensor tensors[5];

/* A view of 2 heads of DIM, over tokens or over blocks. */
static attn_tensor *
view(attn_tensor *t, float *data, int cache)
{
    static int64_t tokens[3] = {TOKENS, 2, DIM}, row[3] = {2 * DIM, DIM, 1};
    static int64_t blocks[4] = {BLOCKS, PAGE, 2, DIM};
    static int64_t page[4] = {PAGE * 2 * DIM, 2 * DIM, DIM, 1};
    *t = (attn_tensor){.data = data,
                       .device = {ATTN_DEVICE_CPU, 0},
                       .ndim = cache ? 4 : 3,
                       .dtype = ATTN_F32,
                       .shape = cache ? blocks : tokens,
                       .strides = cache ? page : row};
    return t;
}

/* Values that are all 1 give 1, whatever the scores. */
static void
run_step(attn_group *group, const attn_batch *batch, const attn_kv_group *kv)
{
    attn_flash_constants *constants = NEW(attn_flash_constants, alibi_slopes);
    attn_flash_update *update = NEW(attn_flash_update, v_scale);
    attn_flash_forward *forward = NEW(attn_flash_forward, lse);
    attn_group_layer *layer;
    for (size_t i = 0; i < TOKENS * 2 * DIM; i++) {
        rows[0][i] = (float)(i % 7) - 3;
        rows[1][i] = 1;
    }
    for (size_t i = 0; i < BLOCKS * PAGE * 2 * DIM; i++)
        caches[1][i] = 1;
    update->k = view(&tensors[0], rows[0], 0);
    update->v = view(&tensors[1], rows[1], 0);
    forward->q = update->k;
    forward->k_cache = update->k_cache = view(&tensors[2], caches[0], 1);
    forward->v_cache = update->v_cache = view(&tensors[3], caches[1], 1);
    forward->out = view(&tensors[4], rows[2], 0);
    GOOD(attn_group_add_layer(group, &constants->head, &layer, &err));
    GOOD(attn_group_build(group, batch, kv, NULL, &err));
    GOOD(attn_group_update_cache(group, &update->head, &err));
    GOOD(attn_group_forward(group, layer, &forward->head, &err));
    for (size_t i = 0; i < TOKENS * 2 * DIM; i++)
        need(rows[2][i] > 0.9999f && rows[2][i] < 1.0001f, "a value");
}

static void
run_session(attn_registry *registry, const attn_flash_layer *layer)
{
    attn_session *session;
    attn_group *group;
    attn_upload *upload;
    attn_kv_group *kv;
    const attn_batch *batch = make_batch(&kv), *uploaded;
    const attn_kv_group *uploaded_kv;
    attn_group_params *params = NEW(attn_group_params, backend);
    attn_upload_params *up = NEW(attn_upload_params, limits);
    params->layer_index = ATTN_LAYER_INDEX_NONE;
    params->layer = &layer->head;
    params->limits = up->limits = make_limits();
    GOOD(attn_session_create(registry, &session, &err));
    GOOD(attn_group_create(session, params, &group, &err));
    up->entry = attn_group_backend(group, ATTN_PHASE_PREFILL);
    need(up->entry != attn_group_backend(group, ATTN_PHASE_DECODE), "2 parts");
    GOOD(attn_upload_create(up, &upload, &err));
    GOOD(attn_batch_upload(upload, batch, kv, NULL, &uploaded, &uploaded_kv,
                           &err));
    run_step(group, uploaded, uploaded_kv);
    params->backend = "hello";
    GOOD(attn_group_create(session, params, &group, &err));
    run_step(group, batch, kv);
    attn_upload_destroy(upload);
    attn_session_destroy(session);
}

static attn_batch_room *
make_room(const attn_batch *batch, const attn_kv_group *kv)
{
    static _Alignas(64) char memory[65536];
    attn_batch_size *size = NEW(attn_batch_size, max_checkpoints);
    attn_batch_room *room = NEW(attn_batch_room, state);
    uint64_t bytes;
    GOOD(attn_batch_size_of(batch, kv, size, &err));
    size->num_reqs = 8;
    size->num_tokens = 32;
    size->table_cols = 8;
    size->max_ranges = 1;
    GOOD(attn_batch_room_bytes(size, &bytes, &err));
    need(bytes <= sizeof memory, "the room");
    GOOD(attn_batch_room_bind(size, memory, bytes, room, &err));
    return room;
}

static void
check_result(const attn_batch *out, const attn_kv_group *kv)
{
    GOOD(attn_batch_validate(out, &err));
    GOOD(attn_kv_group_validate(kv, out, ATTN_CHECK_PAGES, &err));
}

static void
transform(void)
{
    static const uint32_t last[] = {0, 5}, order[] = {1, 0};
    attn_kv_group *kv, *out_kv = NEW(attn_kv_group, ext);
    attn_batch *batch = make_batch(&kv), *out = NEW(attn_batch, ext);
    attn_ext_prefix_ranges *prefix = NEW(attn_ext_prefix_ranges, ranges_device);
    attn_batch_room *room = make_room(batch, kv);
    attn_batch_slice slices[2];
    uint32_t count;
    GOOD(attn_batch_unpad(batch, kv, 2, TOKENS, out, out_kv, &err));
    check_result(out, out_kv);
    GOOD(attn_batch_pad(batch, kv, 3, 8, room, out, out_kv, &err));
    check_result(out, out_kv);
    GOOD(attn_local_attention(batch, kv, PAGE, room, out, out_kv, &err));
    check_result(out, out_kv);
    GOOD(attn_context_parallel(batch, 2, 1, 1, room, out, &err));
    GOOD(attn_batch_validate(out, &err));
    GOOD(attn_cascade_prefix(batch, kv, PAGE, room, out, out_kv, &err));
    need(out->max_seq_len == PAGE, "cascade");
    prefix->head.id = ATTN_EXT_PREFIX_RANGES;
    prefix->max_ranges = 1;
    prefix->ranges = &ranges[0][0][0];
    batch->ext = &prefix->head;
    GOOD(attn_batch_reorder(batch, kv, order, NULL, room, out, out_kv, &err));
    check_result(out, out_kv);
    GOOD(attn_fast_prefill(batch, last, 2, room, out, &err));
    GOOD(attn_batch_validate(out, &err));
    GOOD(attn_microbatch_plan(batch, 2, 0, slices, &count, &err));
    for (uint32_t i = 0; i < count; i++) {
        GOOD(attn_microbatch(batch, kv, &slices[i], room, out, out_kv, &err));
        check_result(out, out_kv);
    }
}

int
main(int argc, char **argv)
{
    need(argc == 2, "usage: app_growth DIR");
    attn_registry *registry = open_registry(argv[1]);
    const attn_flash_layer *layer = make_layer();
    choose(registry, layer);
    transform();
    run_session(registry, layer);
    attn_registry_close(registry);
    puts("app_growth: well");
    return 0;
}
