/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch_case.h"

static const char *const batch_keys[] = {
    "query_start_loc", "seq_lens",   "num_computed_tokens", "num_tokens",
    "is_prefilling",   "causal",     "num_prompt_tokens",   "ranges",
    "block_table",     "block_size", "slot_mapping"};

const char *
batch_op_key(size_t index)
{
    return index < OPS_COUNT(batch_keys) ? batch_keys[index] : NULL;
}

const batch_op *
batch_op_at(size_t index)
{
    if (index < batch_ops_num_transforms)
        return &batch_ops_transforms[index];
    index -= batch_ops_num_transforms;
    if (index < batch_ops_num_plans)
        return &batch_ops_plans[index];
    index -= batch_ops_num_plans;
    return index < batch_ops_num_spec ? &batch_ops_spec[index] : NULL;
}

const batch_op *
batch_op_find(const char *name)
{
    for (size_t i = 0; batch_op_at(i); i++)
        if (strcmp(batch_op_at(i)->name, name) == 0)
            return batch_op_at(i);
    return NULL;
}

/* ------------------------------------------------------------------ running */

static int
is_known(const batch_op *op, const char *key)
{
    for (uint32_t i = 0; i < op->num_params; i++)
        if (strcmp(op->params[i].name, key) == 0)
            return 1;
    for (size_t i = 0; (op->needs & OPS_BATCH) && batch_op_key(i); i++)
        if (strcmp(batch_op_key(i), key) == 0)
            return 1;
    return 0;
}

static attn_status
check_keys(ops_case *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(
        (json_t *)c->input, key,
        value) if (!is_known(c->op,
                             key)) return ops_error(c, key,
                                                    "%s does not take '%s'",
                                                    c->op->name, key);
    return ATTN_OK;
}

/* The input with the defaults of what is missing. */
static json_t *
complete(const batch_op *op, const json_t *input)
{
    json_t *whole = json_copy((json_t *)input);

    for (uint32_t i = 0; i < op->num_params; i++) {
        const batch_param *p = &op->params[i];

        if (p->value && !json_object_get(whole, p->name))
            json_object_set_new(whole, p->name,
                                json_loads(p->value, JSON_DECODE_ANY, NULL));
    }
    return whole;
}

json_t *
batch_op_run(const batch_op *op, const json_t *input, attn_error *err)
{
    ops_case c = {.op = op, .err = err};
    json_t *whole = complete(op, input), *result = json_object();
    attn_status status;

    c.input = whole;
    status = check_keys(&c);
    if (!status && (op->needs & OPS_BATCH))
        status = ops_load_batch(&c);
    if (!status)
        status = op->run(&c, result);
    ops_close(&c);
    json_decref(whole);
    if (!status)
        return result;
    json_decref(result);
    return NULL;
}

/* ---------------------------------------------------------------- comparing */

typedef struct match_path {
    const struct match_path *above;
    const char *key; /* NULL: an index */
    size_t index;
} match_path;

static void
print_path(const match_path *path, char *text, size_t size)
{
    size_t used;

    if (!path) {
        snprintf(text, size, "expect");
        return;
    }
    print_path(path->above, text, size);
    used = strlen(text);
    if (path->key)
        snprintf(text + used, size - used, ".%s", path->key);
    else
        snprintf(text + used, size - used, "[%zu]", path->index);
}

static int
differs(const match_path *path, const json_t *expect, const json_t *got,
        char *why, size_t size)
{
    char where[200];
    char *want = json_dumps(expect, JSON_ENCODE_ANY | JSON_COMPACT);
    char *have = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    print_path(path, where, sizeof where);
    snprintf(why, size, "%s is %.80s, got %.80s", where, want ? want : "?",
             have ? have : "nothing");
    free(want);
    free(have);
    return 0;
}

static int
match(const match_path *path, const json_t *expect, const json_t *got,
      char *why, size_t size)
{
    const char *key;
    json_t *item;

    if (json_is_null(expect))
        return 1;
    if (!got || json_typeof(expect) != json_typeof(got))
        return differs(path, expect, got, why, size);
    if (json_is_object(expect)) {
        json_object_foreach((json_t *)expect, key, item)
        {
            match_path here = {path, key, 0};
            if (!match(&here, item, json_object_get(got, key), why, size))
                return 0;
        }
        return 1;
    }
    if (json_is_array(expect)) {
        if (json_array_size(expect) != json_array_size(got))
            return differs(path, expect, got, why, size);
        for (size_t i = 0; i < json_array_size(expect); i++) {
            match_path here = {path, NULL, i};
            if (!match(&here, json_array_get(expect, i), json_array_get(got, i),
                       why, size))
                return 0;
        }
        return 1;
    }
    if (path && path->key && strcmp(path->key, "max_seq_len") == 0 &&
        json_integer_value(got) <= json_integer_value(expect))
        return 1;
    return json_equal(expect, got) || differs(path, expect, got, why, size);
}

int
batch_op_match(const json_t *expect, const json_t *got, char *why, size_t size)
{
    return match(NULL, expect, got, why, size);
}

/* ----------------------------------------------------------------- one line */

static int
bad_line(json_t *line, char *why, size_t size, const char *what)
{
    snprintf(why, size, "%s", what);
    json_decref(line);
    return BATCH_LINE_BAD;
}

int
batch_check_line(const char *text, size_t length, const char **op, char *why,
                 size_t size)
{
    json_error_t at;
    json_t *line = json_loadb(text, length, JSON_REJECT_DUPLICATES, &at);
    json_t *input = json_object_get(line, "input"), *got;
    json_t *expect = json_object_get(line, "expect");
    const char *name = json_string_value(json_object_get(line, "op"));
    const batch_op *found = name ? batch_op_find(name) : NULL;
    attn_error err = {.struct_size = sizeof err};
    int same;

    *op = found ? found->name : NULL;
    if (!line)
        return bad_line(line, why, size, at.text);
    if (!name || !json_is_object(input) || !json_is_object(expect) ||
        json_object_size(line) != 3)
        return bad_line(line, why, size,
                        "not an object of op, input and expect");
    if (!found) {
        snprintf(why, size, "unknown operation '%.60s'", name);
        json_decref(line);
        return BATCH_LINE_BAD;
    }
    got = batch_op_run(found, input, &err);
    if (!got)
        return bad_line(line, why, size, err.message);
    same = batch_op_match(expect, got, why, size);
    json_decref(got);
    json_decref(line);
    return same ? BATCH_LINE_PASS : BATCH_LINE_MISMATCH;
}
