/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <attn/call.h>

#include "base/array.h"
#include "base/dtype.h"
#include "base/error.h"
#include "runtime/record.h"

/* The layer as JSON inside a JSON string: its quotes are escaped. Types that
 * the tensors tell are left out. */
static void
add_field(attn_strbuf *b, const attn_layer *layer, const attn_field *f)
{
    char text[64];
    int quoted =
        f->type == ATTN_FIELD_DTYPE || f->type == ATTN_FIELD_ACTIVATION;
    if (f->type == ATTN_FIELD_DTYPE && strcmp(f->name, "out_dtype") != 0)
        return;
    attn_layer_get(layer, f->name, text, sizeof text);
    const char *value = text;
    if (f->type == ATTN_FIELD_BOOL)
        value = strcmp(text, "yes") == 0 ? "true" : "false";
    attn_strbuf_addf(b,
                     quoted ? "%s\\\"%s\\\": \\\"%s\\\"" : "%s\\\"%s\\\": %s",
                     b->data[b->length - 1] == '{' ? "" : ", ", f->name, value);
}

static void
add_layer(attn_strbuf *b, const attn_family *family, const attn_layer *layer)
{
    attn_strbuf_addf(b,
                     "{\"__metadata__\":{\"format\":\"attn-call/1\","
                     "\"family\":\"%s\",\"layer\":\"{",
                     family->id);
    for (uint32_t i = 0; i < family->num_fields && !b->failed; i++)
        add_field(b, layer, &family->fields[i]);
    if (strcmp(family->id, ATTN_FAMILY_FLASH) == 0)
        attn_strbuf_addf(b, ", \\\"sinks\\\": %s",
                         layer->features & ATTN_F_SINKS ? "true" : "false");
    if (layer->features & ATTN_F_CROSS)
        attn_strbuf_add(b, ", \\\"cross\\\": true");
    attn_strbuf_add(b, "}\"}");
}

static void
add_tensor(attn_strbuf *b, const attn_call_tensor *t, uint64_t *offset)
{
    attn_strbuf_addf(b, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name,
                     attn_dtype_safetensors(t->dtype));
    for (uint32_t i = 0; i < t->ndim; i++)
        attn_strbuf_addf(b, "%s%" PRId64, i ? "," : "", t->shape[i]);
    attn_strbuf_addf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                     *offset, *offset + t->bytes);
    *offset += t->bytes;
}

/* Names become JSON keys as they are. */
static int
plain_name(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == '"' || *name == '\\')
            return 0;
    return 1;
}

static attn_status
check_tensor(const attn_call_tensor *t, attn_error *err)
{
    if (!plain_name(t->name))
        return attn_error_set(err, ATTN_E_ARG, "call",
                              "tensor name '%s' has quotes or control bytes",
                              t->name);
    if (!attn_dtype_safetensors(t->dtype))
        return attn_error_set(err, ATTN_E_ARG, t->name,
                              "%s: safetensors has no such type", t->name);
    return ATTN_OK;
}

/* Length in 8 bytes, JSON, blanks up to a multiple of 8. */
static attn_status
make_header(const attn_call *call, attn_strbuf *header, attn_error *err)
{
    const attn_layer *layer = attn_call_layer(call);
    const attn_family *family = attn_family_find(layer->family);
    const attn_call_tensor *t;
    uint64_t offset = 0;
    if (!family)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "layer.family",
                              "family '%s' has no table of fields",
                              layer->family);
    attn_strbuf_add_bytes(header, "\0\0\0\0\0\0\0\0", 8);
    add_layer(header, family, layer);
    for (size_t i = 0; (t = attn_call_at(call, i)); i++) {
        attn_status s = check_tensor(t, err);
        if (s != ATTN_OK)
            return s;
        add_tensor(header, t, &offset);
    }
    attn_strbuf_add(header, "}");
    while (header->length % 8 && !header->failed)
        attn_strbuf_add(header, " ");
    if (header->failed)
        return attn_error_nomem(err, "call", 0);
    uint64_t length = header->length - 8;
    for (int i = 0; i < 8; i++)
        header->data[i] = (char)(length >> 8 * i & 0xFF);
    return ATTN_OK;
}

static int
write_all(int fd, const void *data, uint64_t bytes)
{
    const char *p = data;
    while (bytes) {
        ssize_t n = write(fd, p, bytes < 1u << 30 ? bytes : 1u << 30);
        if (n < 0 && errno != EINTR)
            return 0;
        if (n > 0) {
            p += n;
            bytes -= (uint64_t)n;
        }
    }
    return 1;
}

static attn_status
write_file(const attn_call *call, const attn_strbuf *header,
           const char *temporary, const char *target, const char *path,
           attn_error *err)
{
    struct stat st;
    /* A device must not be replaced by a file. */
    if (stat(target, &st) == 0 && !S_ISREG(st.st_mode))
        return attn_error_set(err, ATTN_E_IO, "path",
                              "cannot write %s: not a regular file", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return attn_error_io(err, errno, "path", "cannot create %s",
                             errno == EEXIST ? temporary : path);
    const attn_call_tensor *t;
    int good = write_all(fd, header->data, header->length);
    for (size_t i = 0; good && (t = attn_call_at(call, i)); i++)
        good = write_all(fd, t->data, t->bytes);
    int errnum = errno;
    if (close(fd) != 0 && good) {
        errnum = errno;
        good = 0;
    }
    if (good && rename(temporary, target) == 0)
        return ATTN_OK;
    if (good)
        errnum = errno;
    unlink(temporary);
    return attn_error_io(err, errnum, "path", "cannot write %s", path);
}

attn_status
attn_call_measure(const attn_call *call, uint64_t *bytes, attn_error *err)
{
    attn_strbuf header = {0};
    const attn_call_tensor *t;
    attn_status s = make_header(call, &header, err);
    if (s == ATTN_OK) {
        *bytes = header.length;
        for (size_t i = 0; (t = attn_call_at(call, i)); i++)
            *bytes += t->bytes;
    }
    attn_strbuf_free(&header);
    return s;
}

attn_status
attn_call_store(const attn_call *call, const char *path, attn_error *err)
{
    attn_strbuf header = {0}, temporary = {0};
    attn_status s = make_header(call, &header, err);
    char *behind = realpath(path, NULL); /* of a link */
    const int errnum = errno;
    const char *target = behind ? behind : path;
    struct stat st;
    if (s == ATTN_OK && !behind && lstat(path, &st) == 0)
        s = attn_error_io(err, errnum, "path", "cannot write %s", path);
    attn_strbuf_addf(&temporary, "%s.%ld.tmp", target, (long)getpid());
    if (s == ATTN_OK && temporary.failed)
        s = attn_error_nomem(err, "call", 0);
    if (s == ATTN_OK)
        s = write_file(call, &header, temporary.data, target, path, err);
    free(behind);
    attn_strbuf_free(&header);
    attn_strbuf_free(&temporary);
    return s;
}
