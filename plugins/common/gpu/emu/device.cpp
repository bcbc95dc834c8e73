// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/device.h"
#include "common/gpu/on_device.h"

#include "common/gpu/emu/matrix.h"
#include "common/gpu/launch.h"
#include "common/gpu/tensor_map.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#if defined(ATTN_EMU_GFX942)
#define ATTN_EMU_ARCH "gfx942"
#else
#define ATTN_EMU_ARCH "sm_90a"
#endif

namespace gpu
{

const int32_t device_type = ATTN_DEVICE_EXT;
static constexpr uint64_t kTotal = uint64_t{8} << 30;

typedef std::function<attn_status(attn_error *)> Work;

struct Graph {
    std::vector<Work> work;
};
struct Stream {
    Graph *recording;
};
struct Event {
    std::chrono::steady_clock::time_point when;
};

static Stream *
stream_of(const attn_stream *s)
{
    return reinterpret_cast<Stream *>(static_cast<uintptr_t>(s->handle));
}

/* One device, or as many as EMU_DEVICES says, for tests of hosts that have several. */
static uint32_t
num_devices()
{
    const char *text = getenv("EMU_DEVICES");
    const unsigned long n = text ? strtoul(text, nullptr, 10) : 1;
    return n >= 1 && n <= 8 ? static_cast<uint32_t>(n) : 1;
}

static attn_status
check_device(attn_device device, attn_error *err)
{
    const uint32_t n = num_devices();
    if (device.type == device_type && device.id >= 0 && static_cast<uint32_t>(device.id) < n)
        return ATTN_OK;
    return failf(err, ATTN_E_NO_DEVICE, "device", "device %d:%d: there are %u of type %d",
                 device.type, device.id, n, device_type);
}

static thread_local int current_device;

OnDevice::OnDevice(int id) : before_(current_device), changed_(true)
{
    current_device = id;
}

OnDevice::~OnDevice()
{
    if (changed_)
        current_device = before_;
}

/* The first fault of each device: from then on it does nothing but say so, as a GPU whose context
 * is lost. */
static attn_error faults[8];
static std::mutex faults_lock;

static attn_status
fault_of(int device, attn_error *err)
{
    const std::lock_guard<std::mutex> hold(faults_lock);
    const attn_error &f = faults[device];
    return f.status ? failf(err, f.status, f.where, "%s", f.message) : ATTN_OK;
}

static attn_status
run_work(int device, const Work &work, attn_error *err)
{
    attn_error own = {};
    own.struct_size = sizeof own;
    const attn_status status = work(&own);
    if (!status)
        return ATTN_OK;
    if (status == ATTN_E_DEVICE) {
        const std::lock_guard<std::mutex> hold(faults_lock);
        faults[device] = own;
    }
    return failf(err, status, own.where, "%s", own.message);
}

attn_status
emu_enqueue(const attn_stream &stream, Work work, attn_error *err)
{
    Stream *s = stream_of(&stream);
    if (!s)
        return attn_fail(err, ATTN_E_ARG, "stream", "the null stream: create one");
    if (stream.device.id != current_device)
        return failf(err, ATTN_E_DEVICE, "stream", "a stream of device %d while %d is current",
                     stream.device.id, current_device);
    const attn_status lost = fault_of(current_device, err);
    if (lost)
        return lost;
    if (!s->recording)
        return run_work(current_device, work, err);
    s->recording->work.push_back(std::move(work));
    return ATTN_OK;
}

attn_status
device_open(attn_device device, Device *out, attn_error *err)
{
    const attn_status status = check_device(device, err);
    if (status)
        return status;
    *out = {device, "emu:" ATTN_EMU_ARCH, 2, true};
    return ATTN_OK;
}

attn_status
tensor_map(const TensorShape &shape, TensorMap *map, attn_error *)
{
    emu::TensorMap m = {};
    static_assert(sizeof m <= sizeof *map, "fits the opaque words");
    m.base = shape.base;
    m.dims = shape.dims;
    m.plain = shape.plain;
    for (uint32_t d = 0; d < shape.dims; d++) {
        m.size[d] = shape.size[d];
        m.stride[d] = shape.stride[d];
        m.box[d] = shape.box[d];
    }
    memcpy(map, &m, sizeof m);
    return ATTN_OK;
}

static attn_status
count(uint32_t *n, attn_error *)
{
    *n = num_devices();
    return ATTN_OK;
}

static attn_status
info(uint32_t index, attn_device_info *out, attn_error *err)
{
    if (index >= num_devices())
        return failf(err, ATTN_E_ARG, "index", "device %u: there are %u", index, num_devices());
    out->device = {device_type, static_cast<int32_t>(index)};
    snprintf(out->name, sizeof out->name, "emu:%s", ATTN_EMU_ARCH);
    snprintf(out->arch, sizeof out->arch, "emu:%s", ATTN_EMU_ARCH);
    out->total_bytes = kTotal;
    return ATTN_OK;
}

static attn_status
memory_info(attn_device device, uint64_t *free_bytes, uint64_t *total_bytes, attn_error *err)
{
    const attn_status status = check_device(device, err);
    if (status)
        return status;
    *total_bytes = kTotal;
    *free_bytes = kTotal - emu::memory_used();
    return ATTN_OK;
}

/* What a GPU's runtime refuses of a thread that captures a stream. */
static thread_local int captures;

static attn_status
refuse_in_capture(const char *where, attn_error *err)
{
    return captures
               ? attn_fail(err, ATTN_E_DEVICE, where, "not permitted while a stream is captured")
               : ATTN_OK;
}

static attn_status
alloc(attn_device device, uint32_t, uint64_t bytes, void **memory, attn_error *err)
{
    attn_status status = check_device(device, err);
    if (!status)
        status = refuse_in_capture("alloc", err);
    if (status)
        return status;
    void *p = bytes <= kTotal - emu::memory_used() ? emu::memory_alloc(bytes) : nullptr;
    if (!p)
        return failf(err, ATTN_E_NOMEM, "bytes", "%llu bytes",
                     static_cast<unsigned long long>(bytes));
    *memory = p;
    return ATTN_OK;
}

static void
free_memory(attn_device, uint32_t, void *memory)
{
    if (memory)
        emu::memory_free(memory);
}

static attn_status
check_range(const void *p, uint64_t bytes, const char *where, attn_error *err)
{
    if (bytes == 0 || emu::memory_holds(p, bytes))
        return ATTN_OK;
    return failf(err, ATTN_E_DEVICE, where, "%llu bytes at %p: out of bounds of any buffer",
                 static_cast<unsigned long long>(bytes), p);
}

static attn_status
copy(const attn_stream *stream, uint32_t direction, void *dst, const void *src, uint64_t bytes,
     attn_error *err)
{
    attn_status status = ATTN_OK;
    if (direction > ATTN_COPY_ON_DEVICE)
        return failf(err, ATTN_E_ARG, "direction", "%u is none", direction);
    if (direction != ATTN_COPY_TO_HOST)
        status = check_range(dst, bytes, "dst", err);
    if (!status && direction != ATTN_COPY_TO_DEVICE)
        status = check_range(src, bytes, "src", err);
    if (status || bytes == 0)
        return status;
    const OnDevice here(stream->device.id);
    return emu_enqueue(
        *stream,
        [=](attn_error *) {
            memcpy(dst, src, bytes);
            return ATTN_OK;
        },
        err);
}

static attn_status
fill(const attn_stream *stream, void *dst, uint8_t value, uint64_t bytes, attn_error *err)
{
    const attn_status status = check_range(dst, bytes, "dst", err);
    if (status || bytes == 0)
        return status;
    const OnDevice here(stream->device.id);
    return emu_enqueue(
        *stream,
        [=](attn_error *) {
            memset(dst, value, bytes);
            return ATTN_OK;
        },
        err);
}

template <class T>
static attn_status
make(uint64_t *handle, attn_error *err)
{
    T *object = new (std::nothrow) T();
    if (!object)
        return attn_fail(err, ATTN_E_NOMEM, "handle", "out of memory");
    *handle = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(object));
    return ATTN_OK;
}

template <class T>
static T *
object_of(uint64_t handle)
{
    return reinterpret_cast<T *>(static_cast<uintptr_t>(handle));
}

static attn_status
stream_create(attn_device device, attn_stream *stream, attn_error *err)
{
    attn_status status = check_device(device, err);
    uint64_t handle = 0;
    if (!status)
        status = make<Stream>(&handle, err);
    if (!status)
        *stream = {handle, device, 0, 0};
    return status;
}

static attn_status
stream_synchronize(const attn_stream *stream, attn_error *err)
{
    const attn_status status = refuse_in_capture("stream", err);
    return status ? status : fault_of(stream->device.id, err);
}

static void
stream_destroy(const attn_stream *stream)
{
    Stream *s = stream_of(stream);
    if (s && s->recording) {
        delete s->recording;
        captures--;
    }
    delete s;
}

static attn_status
event_create(attn_device device, uint64_t *event, attn_error *err)
{
    const attn_status status = check_device(device, err);
    return status ? status : make<Event>(event, err);
}

static attn_status
event_record(uint64_t event, const attn_stream *stream, attn_error *err)
{
    Event *e = object_of<Event>(event);
    const OnDevice here(stream->device.id);
    return emu_enqueue(
        *stream,
        [=](attn_error *) {
            e->when = std::chrono::steady_clock::now();
            return ATTN_OK;
        },
        err);
}

static attn_status
event_wait(const attn_stream *, uint64_t, attn_error *)
{
    return ATTN_OK;
}

static attn_status
event_elapsed(uint64_t from, uint64_t to, double *milliseconds, attn_error *)
{
    const auto span = object_of<Event>(to)->when - object_of<Event>(from)->when;
    *milliseconds = std::chrono::duration<double, std::milli>(span).count();
    return ATTN_OK;
}

static void
event_destroy(uint64_t event)
{
    delete object_of<Event>(event);
}

static attn_status
graph_begin(attn_stream *stream, attn_error *err)
{
    Stream *s = stream_of(stream);
    if (s->recording)
        return attn_fail(err, ATTN_E_ARG, "stream", "a capture is active already");
    s->recording = new (std::nothrow) Graph();
    if (!s->recording)
        return attn_fail(err, ATTN_E_NOMEM, "graph", "out of memory");
    stream->capturing = 1;
    captures++;
    return ATTN_OK;
}

static attn_status
graph_end(attn_stream *stream, uint64_t *graph, attn_error *err)
{
    Stream *s = stream_of(stream);
    stream->capturing = 0;
    if (!s->recording)
        return attn_fail(err, ATTN_E_ARG, "stream", "no capture is active");
    *graph = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(s->recording));
    s->recording = nullptr;
    captures--;
    return ATTN_OK;
}

static attn_status
graph_launch(uint64_t graph, const attn_stream *stream, attn_error *err)
{
    const OnDevice here(stream->device.id);
    for (const Work &work : object_of<Graph>(graph)->work) {
        const attn_status status = emu_enqueue(*stream, work, err);
        if (status)
            return status;
    }
    return ATTN_OK;
}

static void
graph_destroy(uint64_t graph)
{
    delete object_of<Graph>(graph);
}

const attn_device_service service = {
    sizeof(attn_device_service),
    0,
    count,
    info,
    memory_info,
    alloc,
    free_memory,
    copy,
    fill,
    stream_create,
    stream_synchronize,
    stream_destroy,
    event_create,
    event_record,
    event_wait,
    event_elapsed,
    event_destroy,
    graph_begin,
    graph_end,
    graph_launch,
    graph_destroy,
};

} // namespace gpu
