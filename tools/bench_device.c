/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#define COPY_BYTES (256ull << 20)
#define COPIES 20

typedef struct copier {
    const attn_device_service *service;
    attn_device device;
    attn_stream stream;
    uint64_t from, to; /* events */
    void *memory;
} copier;

static attn_status
set_up(copier *c, attn_error *err)
{
    const attn_device_service *s = c->service;
    attn_status st = s->stream_create(c->device, &c->stream, err);
    if (!st)
        st = s->event_create(c->device, &c->from, err);
    if (!st)
        st = s->event_create(c->device, &c->to, err);
    if (!st)
        st = s->alloc(c->device, ATTN_MEM_DEVICE, 2 * COPY_BYTES, &c->memory,
                      err);
    if (!st)
        st = s->fill(&c->stream, c->memory, 1, 2 * COPY_BYTES, err);
    return st;
}

/* Bytes read and written per second, over COPIES copies in a row. */
static attn_status
copy(const copier *c, double *rate, attn_error *err)
{
    const attn_device_service *s = c->service;
    char *half = (char *)c->memory + COPY_BYTES;
    double ms = 0;
    attn_status st = s->event_record(c->from, &c->stream, err);
    for (int i = 0; i < COPIES && !st; i++)
        st = s->copy(&c->stream, ATTN_COPY_ON_DEVICE, half, c->memory,
                     COPY_BYTES, err);
    if (!st)
        st = s->event_record(c->to, &c->stream, err);
    if (!st)
        st = s->stream_synchronize(&c->stream, err);
    if (!st)
        st = s->event_elapsed(c->from, c->to, &ms, err);
    if (!st && ms > 0)
        *rate = 2.0 * COPIES * (double)COPY_BYTES / (ms * 1e-3);
    return st;
}

static void
tear_down(const copier *c)
{
    const attn_device_service *s = c->service;
    if (c->memory)
        s->free(c->device, ATTN_MEM_DEVICE, c->memory);
    if (c->to)
        s->event_destroy(c->to);
    if (c->from)
        s->event_destroy(c->from);
    if (c->stream.handle)
        s->stream_destroy(&c->stream);
}

double
bench_device_bytes(const attn_entry *entry)
{
    double rate = 0;
    attn_error err = CLI_ERROR_INIT;
    copier c = {.device = {entry->device_type, entry->device_id}};
    if (entry->emulated || !entry->plugin || !entry->plugin->get_extension)
        return 0;
    c.service = entry->plugin->get_extension(ATTN_DEVICE_SERVICE);
    if (!c.service)
        return 0;
    attn_status st = set_up(&c, &err);
    for (int round = 0; round < 2 && !st; round++)
        st = copy(&c, &rate, &err);
    tear_down(&c);
    if (st)
        cli_warn("%s: bandwidth not measured: %s", entry->device, err.message);
    return st ? 0 : rate;
}
