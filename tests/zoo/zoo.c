/* SPDX-License-Identifier: Apache-2.0 */
/* zoo CASES DIR: configures every case beside a good plugin, compares rows. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <attn/attn.h>

#include "base/array.h"
#include "base/error.h"
#include "plugin/probe.h"

#define MAX_CASES 256
#define LIMIT_MS 400

typedef struct {
    char *name, *ini, *state, *text;
} zoo_case;

static zoo_case cases[MAX_CASES];
static size_t num_cases;
static const char *dir;
static unsigned passed, failed, skipped;

static void __attribute__((format(printf, 3, 4)))
result(int good, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("%s %-26s ", good ? "ok  " : "FAIL", name);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
    *(good ? &passed : &failed) += 1;
}

/* ------------------------------------------------------------------- cases */

static void
add_case(char *line)
{
    zoo_case *c = &cases[num_cases];
    c->name = strsep(&line, "|");
    strsep(&line, "|");
    strsep(&line, "|");
    c->state = strsep(&line, "|");
    c->text = line;
    c->ini = NULL;
    if (!c->text || num_cases == MAX_CASES - 1) {
        fprintf(stderr, "zoo: bad line of case %s\n", c->name);
        exit(99);
    }
    if (c->state[0] == '[') {
        c->ini = c->state + 1;
        c->state = strchr(c->state, ']');
        *c->state = 0;
        c->state += 2;
    }
    num_cases++;
}

static void
read_cases(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t got;
    if (!f)
        exit(99);
    while ((got = getline(&line, &room, f)) > 0) {
        line[got - 1] = 0;
        if (line[0] && line[0] != '#')
            add_case(strdup(line));
    }
    free(line);
    fclose(f);
}

static attn_config *
configure(const char *text)
{
    attn_config *config = NULL;
    attn_error err = ATTN_ERROR_INIT;
    if (attn_config_parse("zoo.ini", text, strlen(text), &config, &err) !=
        ATTN_OK) {
        fprintf(stderr, "zoo: %s\n", err.message);
        exit(99);
    }
    return config;
}

static attn_config *
configure_all(void)
{
    attn_strbuf text = {0};
    attn_strbuf_addf(&text,
                     "[attn]\nplugin_path = %s/none\nlog = error\n"
                     "[plugin good]\nlibrary = %s/attn_hello.so\n",
                     dir, dir);
    for (size_t i = 0; i < num_cases; i++) {
        const zoo_case *c = &cases[i];
        attn_strbuf_addf(&text, "[plugin %s]\n", c->name);
        if (!c->ini || strncmp(c->ini, "library", 7) != 0)
            attn_strbuf_addf(&text, "library = %s/%s.so\n", dir, c->name);
        attn_strbuf_addf(&text, "%s\n", c->ini ? c->ini : "");
    }
    attn_config *config = configure(text.data);
    attn_strbuf_free(&text);
    return config;
}

static attn_registry *
open_registry(const attn_config *config, const char *only, attn_error *err)
{
    attn_registry *registry = NULL;
    *err = ATTN_ERROR_INIT;
    const attn_registry_params params = {
        .struct_size = sizeof params, .config = config, .only_library = only};
    if (attn_registry_open(&params, &registry, err) != ATTN_OK)
        return NULL;
    return registry;
}

static const attn_entry *
row_of(const attn_registry *registry, const char *section)
{
    for (size_t i = 0; i < attn_registry_count(registry); i++)
        if (strcmp(attn_registry_at(registry, i)->section, section) == 0)
            return attn_registry_at(registry, i);
    return NULL;
}

/* -------------------------------------------------------------------- rows */

static void
check_open_fails(attn_registry *registry, const zoo_case *c,
                 const attn_entry *row)
{
    attn_ctx *ctx = NULL;
    attn_error err = ATTN_ERROR_INIT;
    const attn_status status = attn_registry_context(registry, row, &ctx, &err);
    result(row->state == ATTN_STATE_READY && status == ATTN_E_DEVICE &&
               strstr(err.message, c->text),
           c->name, "open: %s", err.message);
}

static void
check_case(attn_registry *registry, const zoo_case *c)
{
    char skip[4096];
    const attn_entry *row = row_of(registry, c->name);
    snprintf(skip, sizeof skip, "%s/%s.so.skip", dir, c->name);
    if (access(skip, F_OK) == 0) {
        printf("skip %s: needs root\n", c->name);
        skipped++;
    } else if (row && strcmp(c->state, "open") == 0) {
        check_open_fails(registry, c, row);
    } else {
        result(row && strcmp(attn_state_str(row->state), c->state) == 0 &&
                   strstr(row->reason, c->text),
               c->name, "%s: %s", row ? attn_state_str(row->state) : "no row",
               row ? row->reason : "");
    }
}

/* ------------------------------------------------------- the good one works */

/* One token, one head: softmax of one key is 1, so out is v. */
static attn_status
forward_once(const attn_backend *b, attn_ctx *ctx, float out[8],
             attn_error *err)
{
    float q[8] = {1}, k[8] = {2}, v[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int64_t shape[4] = {1, 1, 1, 8}, strides[4] = {8, 8, 8, 1};
    const attn_device cpu = {ATTN_DEVICE_CPU, 0};
    const attn_dtype f32 = ATTN_F32;
    const attn_tensor tq = {q, cpu, 3, f32, shape + 1, strides + 1, 0};
    const attn_tensor tk = {k, cpu, 4, f32, shape, strides, 0};
    const attn_tensor tv = {v, cpu, 4, f32, shape, strides, 0};
    attn_tensor to = {out, cpu, 3, f32, shape + 1, strides + 1, 0};
    const int32_t start[2] = {0, 1}, lengths[1] = {1}, blocks[1] = {0};
    const int64_t slots[1] = {0};
    const attn_stream stream = {.device = cpu};
    const attn_flash_layer layer = {
        .head = {sizeof layer, 0, ATTN_FAMILY_FLASH, ATTN_F_CAUSAL},
        .num_heads = 1,
        .num_kv_heads = 1,
        .head_dim = 8,
        .head_dim_v = 8,
        .block_size = 1,
        .causal = 1,
        .q_dtype = f32,
        .kv_dtype = f32,
        .out_dtype = f32,
        .scale = 1,
        .window_left = -1,
        .window_right = -1};
    const attn_limits limits = {sizeof limits, 1, 1, 1, 1, 1, 1, 1, 0, 0};
    const attn_batch batch = {.struct_size = sizeof batch,
                              .num_reqs = 1,
                              .num_tokens = 1,
                              .max_query_len = 1,
                              .max_seq_len = 1,
                              .query_start_loc_state = ATTN_EXACT,
                              .seq_lens_state = ATTN_EXACT,
                              .query_start_loc = start,
                              .seq_lens = lengths};
    const attn_kv_group group = {.struct_size = sizeof group,
                                 .block_size = 1,
                                 .num_blocks = 1,
                                 .block_table_cols = 1,
                                 .block_table_stride = 1,
                                 .block_table = blocks,
                                 .slot_mapping = slots};
    const attn_binding none = {.struct_size = sizeof none};
    attn_builder *builder = NULL;
    attn_prepared *prepared = NULL;
    attn_status status = b->op->check(b, NULL, &layer.head, NULL);
    if (status == ATTN_OK)
        status =
            b->op->builder_create(ctx, b, &layer.head, &limits, &builder, err);
    if (status == ATTN_OK)
        status = b->op->bind(builder, &none, err);
    if (status == ATTN_OK)
        status =
            b->op->layer_prepare(builder, NULL, &none, &stream, &prepared, err);
    if (status == ATTN_OK)
        status = b->op->build(builder, &batch, &group, &stream, err);
    const attn_flash_forward args = {.head = {sizeof args, 0},
                                     .stream = stream,
                                     .layer = prepared,
                                     .q = &tq,
                                     .k_cache = &tk,
                                     .v_cache = &tv,
                                     .out = &to};
    if (status == ATTN_OK)
        status = b->op->forward(builder, &args.head, err);
    if (builder)
        b->op->builder_destroy(builder);
    return status;
}

static void
check_good(attn_registry *registry, const char *when)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_ctx *ctx = NULL, *again = NULL;
    float out[8] = {0};
    const attn_entry *row = attn_registry_find(registry, "hello");
    attn_status status =
        row ? attn_registry_context(registry, row, &ctx, &err) : ATTN_E_REFUSED;
    if (status == ATTN_OK)
        status = attn_registry_context(registry, row, &again, &err);
    if (status == ATTN_OK)
        status = forward_once(row->backend, ctx, out, &err);
    result(status == ATTN_OK && ctx == again && out[0] == 1 && out[7] == 8,
           "good", "the good plugin works %s %s", when, err.message);
}

/* ------------------------------------------------------------- the registry */

/* What harmed the child is remembered; rescan forgets it. */
static void
check_quarantine(void)
{
    attn_error err;
    attn_config *config = configure_all();
    attn_registry *registry = open_registry(config, NULL, &err);
    const attn_entry *row = row_of(registry, "16-crash-in-constructor");
    result(row->state == ATTN_STATE_QUARANTINED &&
               strstr(row->reason, "Segmentation fault (seen 20"),
           "quarantine", "%s: %s", attn_state_str(row->state), row->reason);
    row = row_of(registry, "28-no-caps");
    result(row->state == ATTN_STATE_REFUSED, "quarantine",
           "a harmless refusal is looked at again");
    check_good(registry, "beside quarantined ones");
    attn_registry_close(registry);
    attn_config_free(config);

    char path[4096], text[8192];
    snprintf(path, sizeof path, "%s/16-crash-in-constructor.so", dir);
    snprintf(text, sizeof text,
             "[attn]\nplugin_path=%s/none\n[plugin c]\n"
             "library = %s\n",
             dir, path);
    config = configure(text);
    result(attn_registry_rescan(path, &err) == ATTN_OK, "rescan", "one");
    registry = open_registry(config, NULL, &err);
    result(row_of(registry, "c")->state == ATTN_STATE_REFUSED, "rescan", "%s",
           row_of(registry, "c")->reason);
    attn_registry_close(registry);
    registry = open_registry(config, path, &err);
    result(attn_registry_at(registry, 0)->state == ATTN_STATE_REFUSED, "rescan",
           "a library named by the caller is tried again");
    attn_registry_close(registry);
    result(attn_registry_rescan(NULL, &err) == ATTN_OK, "rescan", "all");
    attn_config_free(config);
}

static void
check_required(void)
{
    char text[8192];
    attn_error err;
    snprintf(text, sizeof text,
             "[attn]\nplugin_path=%s/none\n[plugin must]\nenabled = yes\n"
             "library = %s/29-empty-name.so\n",
             dir, dir);
    attn_config *config = configure(text);
    attn_registry *registry = open_registry(config, NULL, &err);
    result(!registry && err.status == ATTN_E_REFUSED &&
               strstr(err.message, "[plugin must] has enabled = yes but is "
                                   "refused: backend 0: name is empty"),
           "required", "%s", err.message);
    attn_registry_close(registry);
    attn_config_free(config);
}

static void
copy_file(const char *from, const char *to)
{
    char command[8300];
    snprintf(command, sizeof command, "cp '%s' '%s.new' && mv '%s.new' '%s'",
             from, to, to, to);
    if (system(command) != 0)
        exit(99);
}

/* A replaced file would give the old code; two registries would give a plugin
 * two hosts. */
static void
check_reuse(void)
{
    char good[4096], path[4096];
    attn_error err;
    snprintf(good, sizeof good, "%s/attn_hello.so", dir);
    snprintf(path, sizeof path, "%s/12-replaced.so", dir);
    copy_file(good, path);
    attn_registry *first = open_registry(NULL, path, &err);
    result(attn_registry_at(first, 0)->state == ATTN_STATE_READY, "12-replaced",
           "ready at first %s", attn_registry_at(first, 0)->reason);
    attn_registry *second = open_registry(NULL, path, &err);
    result(strstr(attn_registry_at(second, 0)->reason,
                  "in use by another registry") != NULL,
           "two-registries", "%s", attn_registry_at(second, 0)->reason);
    attn_registry_close(second);
    attn_registry_close(first);
    first = open_registry(NULL, path, &err);
    result(attn_registry_at(first, 0)->state == ATTN_STATE_READY,
           "two-registries", "ready again %s",
           attn_registry_at(first, 0)->reason);
    attn_registry_close(first);
    copy_file(good, path);
    first = open_registry(NULL, path, &err);
    result(attn_registry_at(first, 0)->state == ATTN_STATE_REFUSED &&
               strstr(attn_registry_at(first, 0)->reason, "was replaced after"),
           "12-replaced", "%s", attn_registry_at(first, 0)->reason);
    attn_registry_close(first);
}

int
main(int argc, char **argv)
{
    attn_error err;
    if (argc != 3)
        return 99;
    dir = argv[2];
    read_cases(argv[1]);
    attn_probe_set_limit(LIMIT_MS);
    attn_config *config = configure_all();
    attn_registry *registry = open_registry(config, NULL, &err);
    if (!registry) {
        fprintf(stderr, "zoo: %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < num_cases; i++)
        check_case(registry, &cases[i]);
    check_good(registry, "beside all of them");
    attn_registry_close(registry);
    attn_config_free(config);
    check_quarantine();
    check_required();
    check_reuse();
    printf("zoo: %u passed, %u failed, %u skipped\n", passed, failed, skipped);
    for (size_t i = 0; i < num_cases; i++)
        free(cases[i].name);
    return failed ? 1 : 0;
}
