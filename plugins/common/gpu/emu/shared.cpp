// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/emu/machine.h"

#include <algorithm>
#include <cstring>

namespace emu
{

/* Did what (agent, lane) did at clock come before what `thread` does now? */
static bool
ordered(const Thread &thread, uint32_t agent, uint32_t lane, uint32_t clock)
{
    const uint32_t now = block->warps[thread.warp].clock.at[agent];
    if (agent == thread.warp)
        return lane == thread.lane || clock < now;
    return clock <= now;
}

static void
check_bounds(uint32_t address, uint32_t bytes, Where where)
{
    if (address > block->memory.size() || bytes > block->memory.size() - address)
        block->fail(where, "shared[%u..%u] out of bounds of %zu bytes", address,
                    address + bytes - 1, block->memory.size());
}

static void
check_writer(const Thread &thread, size_t cell, const char *how, Where where)
{
    const Cell &c = block->cells[cell];
    if (!ordered(thread, c.agent, c.lane, c.write_clock))
        block->fail(where,
                    "race: shared[%zu] %s, and written by warp %u lane %u before "
                    "without a barrier between",
                    cell * 2, how, c.agent, c.lane);
}

static void
check_atomics(const Thread &thread, size_t cell, int write, Where where)
{
    if (!block->cells[cell].atomic)
        return;
    const Accesses &a = block->atomics[cell];
    for (uint32_t w = 0; w < block->warps.size(); w++)
        if (a.clock[w] && !ordered(thread, w, a.lane[w], a.clock[w]))
            block->fail(where,
                        "race: shared[%zu] %s, and changed by an atomic of warp %u lane %u before "
                        "without a barrier between",
                        cell * 2, write ? "written" : "read", w, a.lane[w]);
}

static void
check_reads(const Thread &thread, size_t cell, Where where)
{
    const size_t num_warps = block->warps.size();
    for (uint32_t w = 0; w < num_warps; w++) {
        const uint32_t clock = block->read_clock[cell * num_warps + w];
        const uint32_t lane = block->read_lane[cell * num_warps + w];
        if (clock && !ordered(thread, w, lane, clock))
            block->fail(where,
                        "race: shared[%zu] written, and read by warp %u lane %u before "
                        "without a barrier between",
                        cell * 2, w, lane);
    }
}

static void
check_write(const Thread &thread, size_t cell, Where where)
{
    if (block->cells[cell].written)
        check_writer(thread, cell, "written", where);
    check_reads(thread, cell, where);
    check_atomics(thread, cell, EMU_WRITE, where);
}

static void
record(uint32_t &clock, uint8_t &lane, uint32_t by_warp, uint32_t by_lane)
{
    const uint32_t now = block->warps[by_warp].clock.at[by_warp];
    lane = clock == now && lane != by_lane ? uint8_t{255} : uint8_t(by_lane);
    clock = now;
}

static void
record_read(uint32_t warp, uint32_t lane, size_t cell)
{
    const size_t at = cell * block->warps.size() + warp;
    record(block->read_clock[at], block->read_lane[at], warp, lane);
}

void
shared_access(Thread &thread, uint32_t address, uint32_t bytes, int write, Where where)
{
    check_bounds(address, bytes, where);
    if (bytes > 2 && address % bytes)
        block->fail(where, "shared[%u] misaligned for %u bytes", address, bytes);
    const uint32_t now = block->warps[thread.warp].clock.at[thread.warp];
    for (size_t i = address / 2; i < (address + bytes + 1) / 2; i++) {
        Cell &c = block->cells[i];
        if (c.pending)
            block->fail(where, "shared[%zu] %s while an asynchronous copy into it is under way",
                        i * 2, write ? "written" : "read");
        if (write) {
            check_write(thread, i, where);
            c = {now, thread.proxy_fences, uint8_t(thread.warp), uint8_t(thread.lane), 1, 0, false};
            continue;
        }
        if (!c.written)
            block->fail(where, "shared[%zu] read but never written", i * 2);
        check_writer(thread, i, "read", where);
        check_atomics(thread, i, EMU_READ, where);
        record_read(thread.warp, thread.lane, i);
    }
}

static void
atomic_cell(const Thread &thread, size_t cell, Where where)
{
    Cell &c = block->cells[cell];
    if (c.pending)
        block->fail(where, "shared[%zu] changed while an asynchronous copy into it is under way",
                    cell * 2);
    if (!c.written)
        block->fail(where, "shared[%zu] read but never written", cell * 2);
    check_writer(thread, cell, "changed by an atomic", where);
    check_reads(thread, cell, where);
    Accesses &a = block->atomics[cell];
    if (!c.atomic)
        a = {};
    c.atomic = true;
    record(a.clock[thread.warp], a.lane[thread.warp], thread.warp, thread.lane);
}

template <class F>
static int32_t
atomic_word(uint32_t address, F change, Where where)
{
    int32_t old;
    check_bounds(address, sizeof old, where);
    if (address % sizeof old)
        block->fail(where, "shared[%u] misaligned for %zu bytes", address, sizeof old);
    for (size_t i = 0; i < sizeof old / 2; i++)
        atomic_cell(*block->self, address / 2 + i, where);
    memcpy(&old, block->memory.data() + address, sizeof old);
    const int32_t now = change(old);
    memcpy(block->memory.data() + address, &now, sizeof now);
    return old;
}

int32_t
shared_add(uint32_t address, int32_t n, Where where)
{
    return atomic_word(
        address, [n](int32_t old) { return int32_t(uint32_t(old) + uint32_t(n)); }, where);
}

int32_t
shared_max(uint32_t address, int32_t n, Where where)
{
    return atomic_word(
        address, [n](int32_t old) { return std::max(old, n); }, where);
}

static const Thread &
writer(const Cell &c)
{
    return block->threads[c.agent * block->launch.warp_size + c.lane];
}

static void
check_fence(size_t cell, Where where)
{
    const Cell &c = block->cells[cell];
    if (c.written && c.agent < kMaxWarps && writer(c).proxy_fences <= c.proxy_fences)
        block->fail(where,
                    "shared[%zu] read by the asynchronous proxy without a proxy fence "
                    "after its write",
                    cell * 2);
}

void
shared_fenced(uint32_t address, uint32_t bytes, Where where)
{
    check_bounds(address, bytes, where);
    for (size_t i = address / 2; i < (address + bytes + 1) / 2; i++)
        check_fence(i, where);
}

void
shared_proxy_read(uint32_t first_warp, uint32_t num_warps, uint32_t address, uint32_t bytes,
                  Where where)
{
    check_bounds(address, bytes, where);
    const Thread &thread = block->threads[first_warp * block->launch.warp_size];
    for (size_t i = address / 2; i < (address + bytes + 1) / 2; i++) {
        const Cell &c = block->cells[i];
        if (c.pending)
            block->fail(where, "shared[%zu] read while an asynchronous copy is under way", i * 2);
        if (!c.written)
            block->fail(where, "shared[%zu] read but never written", i * 2);
        const bool own = c.agent >= first_warp && c.agent < first_warp + num_warps;
        if (!own && !ordered(thread, c.agent, c.lane, c.write_clock))
            block->fail(where,
                        "race: shared[%zu] read, and written by warp %u lane %u before "
                        "without a barrier between",
                        i * 2, c.agent, c.lane);
        if (c.atomic)
            block->fail(where, "shared[%zu] read by the asynchronous proxy after an atomic", i * 2);
        check_fence(i, where);
        for (uint32_t w = first_warp; w < first_warp + num_warps; w++)
            record_read(w, 0, i);
    }
}

void
shared_pending(uint32_t address, uint32_t bytes, Where where)
{
    check_bounds(address, bytes, where);
    for (size_t i = address / 2; i < (address + bytes + 1) / 2; i++) {
        if (block->cells[i].pending)
            block->fail(where, "race: two asynchronous copies into shared[%zu]", i * 2);
        check_write(*block->self, i, where);
        block->cells[i].pending = 1;
    }
}

void
shared_arrive(const Transfer &transfer)
{
    MemoryBarrier &b = block->mbarriers[transfer.barrier];
    b.transfers++;
    for (size_t i = transfer.to / 2; i < (transfer.to + transfer.bytes + 1) / 2; i++)
        block->cells[i] = {b.transfers, 0, uint8_t(b.agent), 0, 1, 0, false};
    memcpy(block->memory.data() + transfer.to, transfer.data.data(), transfer.bytes);
    b.filling.at[b.agent] = b.transfers;
    b.bytes -= transfer.bytes;
    if (b.pending == 0 && b.bytes == 0) {
        b.completed = b.filling;
        b.pending = b.count;
        b.phase++;
        block->wake_mbarrier_waiters();
    }
}

} // namespace emu
