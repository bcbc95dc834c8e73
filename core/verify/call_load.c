/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/error.h"
#include "verify/call_layer.h"
#include "verify/problem.h"

#define HEADER_MAX (64u << 20)
#define TENSORS_MAX 4096u

static const attn_dtype DTYPES[] = {
    ATTN_F64,  ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_E4M3,
    ATTN_E5M2, ATTN_I32, ATTN_I64, ATTN_U8,
};

/* One entry of the header, checked. */
typedef struct item {
    const char *name;
    attn_dtype dtype;
    uint32_t ndim;
    int64_t shape[ATTN_CALL_MAX_DIMS];
    uint64_t begin, end;
} item;

typedef struct file {
    const char *name;
    const uint8_t *data; /* behind the header */
    uint64_t size;       /* of the data */
    item *items;
    size_t count;
} file;

static attn_status
bad_item(const file *f, const char *name, const char *what, attn_error *err)
{
    return attn_error_set(err, ATTN_E_FORMAT, name, "%s: tensor '%s': %s",
                          f->name, name, what);
}

static attn_status
read_dtype(const file *f, const char *name, const json_t *entry,
           attn_dtype *dtype, attn_error *err)
{
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (!text)
        return bad_item(f, name, "has no dtype", err);
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (!strcmp(attn_dtype_safetensors(DTYPES[i]), text)) {
            *dtype = DTYPES[i];
            return ATTN_OK;
        }
    return attn_error_set(err, ATTN_E_FORMAT, name,
                          "%s: tensor '%s': dtype '%s' is not known", f->name,
                          name, text);
}

static attn_status
read_shape(const file *f, item *it, const json_t *shape, uint64_t *elements,
           attn_error *err)
{
    if (!json_is_array(shape) || json_array_size(shape) > ATTN_CALL_MAX_DIMS)
        return bad_item(f, it->name, "has no shape of at most 8 dimensions",
                        err);
    it->ndim = (uint32_t)json_array_size(shape);
    *elements = 1;
    for (uint32_t i = 0; i < it->ndim; i++) {
        const json_t *v = json_array_get(shape, i);
        it->shape[i] = json_integer_value(v);
        if (!json_is_integer(v) || it->shape[i] < 0 ||
            __builtin_mul_overflow(*elements, (uint64_t)it->shape[i],
                                   elements) ||
            *elements > INT64_MAX / 8)
            return bad_item(f, it->name, "has a bad or too big shape", err);
    }
    return ATTN_OK;
}

static attn_status
read_item(const file *f, item *it, const char *name, const json_t *entry,
          attn_error *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t elements = 0;
    it->name = name;
    attn_status s = read_dtype(f, name, entry, &it->dtype, err);
    if (!s)
        s = read_shape(f, it, json_object_get(entry, "shape"), &elements, err);
    if (s)
        return s;
    const json_t *a = json_array_get(offsets, 0),
                 *b = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(a) ||
        !json_is_integer(b) || json_integer_value(a) < 0 ||
        json_integer_value(b) < json_integer_value(a))
        return bad_item(f, name, "has bad data_offsets", err);
    it->begin = (uint64_t)json_integer_value(a);
    it->end = (uint64_t)json_integer_value(b);
    if (it->end > f->size)
        return attn_error_set(err, ATTN_E_FORMAT, name,
                              "%s: tensor '%s' ends at byte %llu, the file "
                              "has %llu bytes of data",
                              f->name, name, (unsigned long long)it->end,
                              (unsigned long long)f->size);
    if (it->end - it->begin != elements * (it->dtype.bits / 8u))
        return attn_error_set(
            err, ATTN_E_FORMAT, name,
            "%s: tensor '%s' has %llu bytes, its shape needs %llu", f->name,
            name, (unsigned long long)(it->end - it->begin),
            (unsigned long long)(elements * (it->dtype.bits / 8u)));
    return ATTN_OK;
}

static int
by_begin(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Tensors must fill the data without gap or overlap. */
static attn_status
check_layout(file *f, attn_error *err)
{
    uint64_t at = 0;
    qsort(f->items, f->count, sizeof *f->items, by_begin);
    for (size_t i = 0; i < f->count; at = f->items[i++].end)
        if (f->items[i].begin != at)
            return attn_error_set(
                err, ATTN_E_FORMAT, f->items[i].name,
                "%s: tensor '%s' begins at byte %llu, %s %llu", f->name,
                f->items[i].name, (unsigned long long)f->items[i].begin,
                f->items[i].begin < at ? "inside the one that ends at"
                                       : "leaving a gap after",
                (unsigned long long)at);
    if (at != f->size)
        return attn_error_set(err, ATTN_E_FORMAT, f->name,
                              "%s: %llu bytes of data, tensors have %llu",
                              f->name, (unsigned long long)f->size,
                              (unsigned long long)at);
    return ATTN_OK;
}

static attn_status
read_items(file *f, const json_t *root, attn_error *err)
{
    const char *name;
    json_t *entry;
    const size_t n = json_object_size(root);
    if (n > TENSORS_MAX)
        return attn_error_set(err, ATTN_E_FORMAT, f->name,
                              "%s: %zu tensors, the limit is %u", f->name, n,
                              TENSORS_MAX);
    f->items = calloc(n + 1, sizeof *f->items);
    if (!f->items)
        return attn_error_nomem(err, f->name, n * sizeof *f->items);
    json_object_foreach((json_t *)(uintptr_t)root, name, entry)
    {
        if (!strcmp(name, "__metadata__"))
            continue;
        attn_status s = read_item(f, &f->items[f->count++], name, entry, err);
        if (s)
            return s;
    }
    return check_layout(f, err);
}

static int
lookup(const void *arg, const char *name, attn_dtype *dtype, int64_t *columns)
{
    const file *f = arg;
    for (size_t i = 0; i < f->count; i++)
        if (!strcmp(f->items[i].name, name)) {
            *dtype = f->items[i].dtype;
            *columns = f->items[i].ndim > 1 ? f->items[i].shape[1] : 0;
            return 1;
        }
    return 0;
}

static const char *
meta_text(const json_t *root, const char *key)
{
    return json_string_value(
        json_object_get(json_object_get(root, "__metadata__"), key));
}

static attn_status
read_layer(const file *f, const json_t *root, attn_any_layer *layer,
           attn_error *err)
{
    const char *format = meta_text(root, "format");
    const char *family = meta_text(root, "family");
    const char *text = meta_text(root, "layer");
    if (!format || strcmp(format, "attn-call/1") != 0)
        return attn_error_set(err, ATTN_E_FORMAT, "format",
                              "%s: format is '%s', not 'attn-call/1'", f->name,
                              format ? format : "absent");
    if (!family || !text)
        return attn_error_set(err, ATTN_E_FORMAT, "__metadata__",
                              "%s: metadata has no %s", f->name,
                              family ? "layer" : "family");
    json_error_t where;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(json)) {
        json_decref(json);
        return attn_error_set(err, ATTN_E_FORMAT, "layer",
                              "%s: layer is no JSON object", f->name);
    }
    attn_error why = ATTN_ERROR_INIT;
    attn_status s = attn_call_layer_read(family, json, lookup, f, layer, &why);
    json_decref(json);
    return s ? attn_error_set(err, s, why.where, "%s: %s", f->name, why.message)
             : ATTN_OK;
}

static attn_status
make_call(const file *f, const json_t *root, attn_call **call, attn_error *err)
{
    attn_any_layer layer;
    attn_call *made = NULL;
    attn_status s = read_layer(f, root, &layer, err);
    if (!s)
        s = attn_call_create(&layer.head, &made, err);
    for (size_t i = 0; !s && i < f->count; i++) {
        const item *it = &f->items[i];
        s = attn_call_add(made, it->name, it->dtype, it->ndim, it->shape,
                          f->data + it->begin, NULL, err);
    }
    if (s)
        attn_call_free(made);
    else
        *call = made;
    return s;
}

/* Tensors and layer must fit each other before anybody computes with them. */
static attn_status
check_problem(const char *name, attn_call **call, attn_error *err)
{
    attn_error why = ATTN_ERROR_INIT;
    attn_problem p;
    attn_status s = attn_problem_read(&p, *call, &why);
    if (!s) {
        attn_problem_clear(&p);
        return ATTN_OK;
    }
    attn_call_free(*call);
    return attn_error_set(err, s, why.where, "%s: %s", name, why.message);
}

static attn_status
parse(file *f, const json_t *root, attn_call **call, attn_error *err)
{
    attn_status s = read_items(f, root, err);
    if (!s)
        s = make_call(f, root, call, err);
    free(f->items);
    return s ? s : check_problem(f->name, call, err);
}

attn_status
attn_call_parse(const char *name, const void *data, size_t size,
                attn_call **call, attn_error *err)
{
    uint64_t header = 0;
    if (size < 8)
        return attn_error_set(err, ATTN_E_FORMAT, name,
                              "%s: %zu bytes are no safetensors file", name,
                              size);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | ((const uint8_t *)data)[i];
    if (header > HEADER_MAX || header > size - 8)
        return attn_error_set(err, ATTN_E_FORMAT, name,
                              "%s: header of %llu bytes in a file of %zu", name,
                              (unsigned long long)header, size);
    json_error_t where;
    json_t *root = json_loadb((const char *)data + 8, (size_t)header,
                              JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        const char *what = root ? "not an object" : where.text;
        const int at = root ? 0 : where.position;
        json_decref(root);
        return attn_error_set(err, ATTN_E_FORMAT, name,
                              "%s: header byte %d: %s", name, at, what);
    }
    file f = {.name = name,
              .data = (const uint8_t *)data + 8 + header,
              .size = size - 8 - header};
    attn_call *made = NULL;
    attn_status s = parse(&f, root, &made, err);
    json_decref(root);
    if (!s)
        *call = made;
    return s;
}

static attn_status
read_all(const char *path, void **data, size_t *size, attn_error *err)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return attn_error_io(err, errno, path, "%s", path);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return attn_error_set(err, ATTN_E_IO, path, "%s: not a regular file",
                              path);
    }
    uint8_t *p = malloc((size_t)st.st_size + 1);
    size_t n = 0;
    ssize_t got = p ? 1 : 0;
    while (got > 0 && n < (size_t)st.st_size)
        if ((got = read(fd, p + n, (size_t)st.st_size - n)) > 0)
            n += (size_t)got;
    const int e = errno;
    close(fd);
    if (!p)
        return attn_error_nomem(err, path, (uint64_t)st.st_size);
    if (got < 0) {
        free(p);
        return attn_error_io(err, e, path, "%s", path);
    }
    *data = p;
    *size = n;
    return ATTN_OK;
}

attn_status
attn_call_load(const char *path, attn_call **call, attn_error *err)
{
    void *data = NULL;
    size_t size = 0;
    attn_status s = read_all(path, &data, &size, err);
    if (s)
        return s;
    s = attn_call_parse(path, data, size, call, err);
    free(data);
    return s;
}
