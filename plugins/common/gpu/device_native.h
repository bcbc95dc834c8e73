/* SPDX-License-Identifier: Apache-2.0 */
/* device_native.h - attn.device/1 over a vendor's runtime; the CUDA and HIP runtimes differ in
 * names only. Included by cuda/device.cpp and hip/device.cpp, which define before it RT(Function),
 * the native types, kSuccess, kOutOfMemory, kNoDevice, kCopyKinds, kNonBlocking, kCaptureMode,
 * is_absent(), runtime_missing(), alloc_pinned(), free_pinned(), create_event(), instantiate(),
 * and after it device_open() and info(). */
#ifndef ATTN_GPU_DEVICE_NATIVE_H
#define ATTN_GPU_DEVICE_NATIVE_H

namespace gpu
{

static attn_status info(uint32_t index, attn_device_info *out, attn_error *err);

static attn_status
check(Error e, const char *where, attn_error *err)
{
    if (e == kSuccess)
        return ATTN_OK;
    const bool absent = is_absent(e);
    const attn_status status = absent              ? ATTN_E_NO_DEVICE
                               : e == kOutOfMemory ? ATTN_E_NOMEM
                                                   : ATTN_E_DEVICE;
    attn_fail(err, status, where, absent ? kNoDevice : RT(GetErrorString)(e));
    if (err && err->struct_size >= sizeof *err)
        err->native = e;
    (void)RT(GetLastError)(); /* a refusal must not be seen again by the next launch */
    return status;
}

OnDevice::OnDevice(int id)
{
    (void)RT(GetDevice)(&before_);
    if (before_ != id)
        error = RT(SetDevice)(id);
    changed_ = before_ != id;
}

OnDevice::~OnDevice()
{
    if (changed_)
        (void)RT(SetDevice)(before_);
}

static NativeStream
native(const attn_stream *s)
{
    return reinterpret_cast<NativeStream>(static_cast<uintptr_t>(s->handle));
}

static NativeEvent
native_event(uint64_t e)
{
    return reinterpret_cast<NativeEvent>(static_cast<uintptr_t>(e));
}

static attn_status
count(uint32_t *n, attn_error *err)
{
    int found = 0;
    *n = 0;
    if (const char *why = runtime_missing())
        return attn_fail(err, ATTN_E_NO_DEVICE, "count", why);
    const attn_status status = check(RT(GetDeviceCount)(&found), "count", err);
    *n = status ? 0 : static_cast<uint32_t>(found);
    if (!status && found == 0)
        return attn_fail(err, ATTN_E_NO_DEVICE, "count", kNoDevice);
    return status;
}

static attn_status
memory_info(attn_device device, uint64_t *free_bytes, uint64_t *total_bytes, attn_error *err)
{
    OnDevice current(device.id);
    if (current.error)
        return check(static_cast<Error>(current.error), "device", err);
    size_t f = 0, t = 0;
    const attn_status status = check(RT(MemGetInfo)(&f, &t), "device", err);
    if (!status)
        *free_bytes = f, *total_bytes = t;
    return status;
}

static attn_status
alloc(attn_device device, uint32_t kind, uint64_t bytes, void **memory, attn_error *err)
{
    OnDevice current(device.id);
    if (current.error)
        return check(static_cast<Error>(current.error), "device", err);
    void *p = nullptr;
    const size_t size = bytes ? bytes : 1;
    const attn_status status = check(
        kind == ATTN_MEM_PINNED ? alloc_pinned(&p, size) : RT(Malloc)(&p, size), "bytes", err);
    if (!status)
        *memory = p;
    return status;
}

static void
free_memory(attn_device device, uint32_t kind, void *memory)
{
    OnDevice current(device.id);
    if (kind == ATTN_MEM_PINNED)
        free_pinned(memory);
    else
        (void)RT(Free)(memory);
}

static attn_status
copy(const attn_stream *stream, uint32_t direction, void *dst, const void *src, uint64_t bytes,
     attn_error *err)
{
    if (direction > ATTN_COPY_ON_DEVICE)
        return failf(err, ATTN_E_ARG, "direction", "%u is none", direction);
    OnDevice current(stream->device.id);
    return check(RT(MemcpyAsync)(dst, src, bytes, kCopyKinds[direction], native(stream)), "copy",
                 err);
}

static attn_status
fill(const attn_stream *stream, void *dst, uint8_t value, uint64_t bytes, attn_error *err)
{
    OnDevice current(stream->device.id);
    return check(RT(MemsetAsync)(dst, value, bytes, native(stream)), "fill", err);
}

static attn_status
stream_create(attn_device device, attn_stream *stream, attn_error *err)
{
    OnDevice current(device.id);
    if (current.error)
        return check(static_cast<Error>(current.error), "device", err);
    NativeStream s = nullptr;
    const attn_status status = check(RT(StreamCreateWithFlags)(&s, kNonBlocking), "stream", err);
    if (!status)
        *stream = {reinterpret_cast<uintptr_t>(s), device, 0, 0};
    return status;
}

static attn_status
stream_synchronize(const attn_stream *stream, attn_error *err)
{
    OnDevice current(stream->device.id);
    return check(RT(StreamSynchronize)(native(stream)), "stream", err);
}

static void
stream_destroy(const attn_stream *stream)
{
    OnDevice current(stream->device.id);
    (void)RT(StreamDestroy)(native(stream));
}

static attn_status
event_create(attn_device device, uint64_t *event, attn_error *err)
{
    OnDevice current(device.id);
    if (current.error)
        return check(static_cast<Error>(current.error), "device", err);
    NativeEvent e = nullptr;
    const attn_status status = check(create_event(&e), "event", err);
    if (!status)
        *event = reinterpret_cast<uintptr_t>(e);
    return status;
}

static attn_status
event_record(uint64_t event, const attn_stream *stream, attn_error *err)
{
    OnDevice current(stream->device.id);
    return check(RT(EventRecord)(native_event(event), native(stream)), "event", err);
}

static attn_status
event_wait(const attn_stream *stream, uint64_t event, attn_error *err)
{
    OnDevice current(stream->device.id);
    return check(RT(StreamWaitEvent)(native(stream), native_event(event), 0), "event", err);
}

static attn_status
event_elapsed(uint64_t from, uint64_t to, double *milliseconds, attn_error *err)
{
    float ms = 0;
    const attn_status status =
        check(RT(EventElapsedTime)(&ms, native_event(from), native_event(to)), "event", err);
    if (!status)
        *milliseconds = static_cast<double>(ms);
    return status;
}

static void
event_destroy(uint64_t event)
{
    (void)RT(EventDestroy)(native_event(event));
}

static attn_status
graph_begin(attn_stream *stream, attn_error *err)
{
    OnDevice current(stream->device.id);
    const attn_status status =
        check(RT(StreamBeginCapture)(native(stream), kCaptureMode), "stream", err);
    stream->capturing = status == ATTN_OK;
    return status;
}

static attn_status
graph_end(attn_stream *stream, uint64_t *graph, attn_error *err)
{
    OnDevice current(stream->device.id);
    NativeGraph captured = nullptr;
    NativeGraphExec exec = nullptr;
    attn_status status = check(RT(StreamEndCapture)(native(stream), &captured), "stream", err);
    stream->capturing = 0;
    if (!status)
        status = check(instantiate(&exec, captured), "graph", err);
    if (captured)
        (void)RT(GraphDestroy)(captured);
    if (!status)
        *graph = reinterpret_cast<uintptr_t>(exec);
    return status;
}

static attn_status
graph_launch(uint64_t graph, const attn_stream *stream, attn_error *err)
{
    OnDevice current(stream->device.id);
    return check(RT(GraphLaunch)(reinterpret_cast<NativeGraphExec>(static_cast<uintptr_t>(graph)),
                                 native(stream)),
                 "graph", err);
}

static void
graph_destroy(uint64_t graph)
{
    (void)RT(GraphExecDestroy)(reinterpret_cast<NativeGraphExec>(static_cast<uintptr_t>(graph)));
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

#endif /* ATTN_GPU_DEVICE_NATIVE_H */
