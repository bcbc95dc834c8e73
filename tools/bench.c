/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
measure(bench_roofs *roofs, uint32_t threads, attn_roof *roof)
{
    attn_error err = CLI_ERROR_INIT;
    for (size_t i = 0; i < roofs->count; i++)
        if (roofs->measured[i].num_threads == threads) {
            *roof = roofs->measured[i];
            return CLI_OK;
        }
    attn_roof *more =
        realloc(roofs->measured, (roofs->count + 1) * sizeof *more);
    if (!more)
        return cli_fail(CLI_INTERNAL, "out of memory");
    roofs->measured = more;
    cli_progress("measuring the roofs with %u threads", threads);
    *roof = (attn_roof){.struct_size = sizeof *roof};
    if (attn_roof_measure(threads, 0, roof, &err))
        return cli_fail_error(&err);
    more[roofs->count++] = *roof;
    return CLI_OK;
}

int
bench_roof(bench_roofs *roofs, const attn_entry *entry, uint32_t threads,
           attn_roof *roof)
{
    if (entry->device_type == ATTN_DEVICE_CPU)
        return measure(roofs, threads, roof);
    if (roofs->bytes <= 0 && !roofs->asked)
        roofs->bytes = bench_device_bytes(entry);
    roofs->asked = 1;
    *roof = (attn_roof){.struct_size = sizeof *roof,
                        .read_bytes = roofs->bytes,
                        .f32_flops = roofs->flops,
                        .f64_flops = roofs->flops,
                        .bf16_flops = roofs->flops};
    return CLI_OK;
}

bench_bound
bench_bind(const attn_roof *roof, const attn_cost *cost, const char *type,
           int warm)
{
    const double rate = !strcmp(type, "bf16")  ? roof->bf16_flops
                        : !strcmp(type, "f64") ? roof->f64_flops
                                               : roof->f32_flops;
    const double compute = rate > 0 ? cost->flops / rate : 0;
    const double memory =
        roof->read_bytes > 0 && !warm ? cost->bytes / roof->read_bytes : 0;
    /* Without a rate of arithmetic, memory surely binds only what does little
     * with each byte. */
    if (memory <= 0 && compute <= 0)
        return (bench_bound){NULL, 0, 0};
    if (rate <= 0 && cost->flops > 64 * cost->bytes)
        return (bench_bound){NULL, 0, 0};
    if (compute >= memory)
        return (bench_bound){"compute", rate, compute};
    return (bench_bound){"bandwidth", roof->read_bytes, memory};
}

void
bench_processor(char *name, size_t size)
{
    if (!host_cpuinfo("model name", name, size))
        snprintf(name, size, "unknown");
}

json_t *
bench_machine(const bench_roofs *roofs)
{
    char name[128];
    json_t *machine = json_object(), *list = json_array();
    bench_processor(name, sizeof name);
    json_object_set_new(machine, "libattn", out_text(attn_version()));
    json_object_set_new(machine, "cpu", out_text(name));
    json_object_set_new(machine, "cpus_online",
                        json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    for (size_t i = 0; i < roofs->count; i++) {
        const attn_roof *r = &roofs->measured[i];
        json_t *row = json_object();
        json_object_set_new(row, "threads", out_int(r->num_threads));
        json_object_set_new(row, "read_bytes", out_real(r->read_bytes));
        json_object_set_new(row, "f32_flops", out_real(r->f32_flops));
        json_object_set_new(row, "f32_kind", out_text(r->f32_kind));
        json_object_set_new(row, "f64_flops", out_real(r->f64_flops));
        json_object_set_new(row, "bf16_flops", out_real(r->bf16_flops));
        json_object_set_new(row, "bf16_kind", out_text(r->bf16_kind));
        json_array_append_new(list, row);
    }
    if (roofs->bytes > 0)
        json_object_set_new(machine, "device_bytes", out_real(roofs->bytes));
    if (roofs->flops > 0)
        json_object_set_new(machine, "device_flops", out_real(roofs->flops));
    json_object_set_new(machine, "roofs", list);
    return machine;
}

json_t *
bench_measured(const bench_roofs *roofs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < roofs->count; i++) {
        const attn_roof *r = &roofs->measured[i];
        json_array_append_new(
            list,
            out_format("with %u threads reads %.4g GB/s, f32 %.4g "
                       "GFLOP/s (%s), f64 %.4g, bf16 %.4g (%s)",
                       r->num_threads, r->read_bytes * 1e-9,
                       r->f32_flops * 1e-9, r->f32_kind, r->f64_flops * 1e-9,
                       r->bf16_flops * 1e-9, r->bf16_kind));
    }
    if (roofs->bytes > 0)
        json_array_append_new(list, out_format("the device moves %.4g GB/s",
                                               roofs->bytes * 1e-9));
    return list;
}

void
bench_roofs_free(bench_roofs *roofs)
{
    free(roofs->measured);
    *roofs = (bench_roofs){0};
}

int
bench_load(const char *path, json_t **rows)
{
    json_error_t jerr;
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return cli_fail(CLI_CONFIG, "%s: not a regular file", path);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &jerr);
    if (!root)
        return jerr.line < 0 ? cli_fail(CLI_CONFIG, "%s", jerr.text)
                             : cli_fail(CLI_CONFIG, "%s:%d: %s", path,
                                        jerr.line, jerr.text);
    json_t *schema = json_object_get(root, "schema");
    json_t *list = json_object_get(root, "rows");
    int rc = CLI_OK;
    if (!json_is_integer(schema) || json_integer_value(schema) != OUT_SCHEMA)
        rc = cli_fail(CLI_CONFIG, "%s: no object with schema %d", path,
                      OUT_SCHEMA);
    else if (!json_is_array(list))
        rc = cli_fail(CLI_CONFIG, "%s: has no rows", path);
    else
        *rows = json_incref(list);
    json_decref(root);
    return rc;
}

/* Rows of before --layout were all nhd. */
static int
is_turned(json_t *row)
{
    const char *layout = json_string_value(json_object_get(row, "layout"));
    return layout && !strcmp(layout, "hnd");
}

json_t *
bench_match(json_t *rows, json_t *row)
{
    static const char *const keys[] = {"backend", "batch", "dtype",
                                       "threads", "cache", "layer"};
    size_t i;
    json_t *old;
    json_array_foreach(rows, i, old)
    {
        size_t same = 0;
        for (size_t k = 0; k < CLI_COUNT(keys); k++)
            same += (size_t)json_equal(json_object_get(old, keys[k]),
                                       json_object_get(row, keys[k]));
        if (same == CLI_COUNT(keys) && is_turned(old) == is_turned(row) &&
            json_is_true(json_object_get(old, "graph")) ==
                json_is_true(json_object_get(row, "graph")))
            return old;
    }
    return NULL;
}
