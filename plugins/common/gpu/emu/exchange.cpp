// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/emu/machine.h"

#include <cstring>

namespace emu
{

static void
together(Collective &c, uint32_t rank, uint32_t size, uint32_t first, const char *op, void *slot,
         Act act, Where where)
{
    if (c.arrived && (strcmp(c.op, op) || c.where.line != where.line))
        block->fail(where, "lanes missing from an exchange: %s here, %s at line %d on other lanes",
                    op, c.op, c.where.line);
    c.op = op;
    c.where = where;
    c.slot[rank] = slot;
    if (++c.arrived < size) {
        block->wait(State::collective, op, where);
        return;
    }
    if (act)
        act(c.slot, size, where);
    c.arrived = 0;
    for (uint32_t i = first; i < first + size; i++)
        if (&block->threads[i] != block->self)
            block->threads[i].state = State::ready;
}

void
warp_together(const char *op, void *slot, Act act, Where where)
{
    const Thread &t = *block->self;
    const uint32_t size = block->launch.warp_size;
    together(block->warp_ops[t.warp], t.lane, size, t.warp * size, op, slot, act, where);
}

void
group_together(const char *op, void *slot, Act act, Where where)
{
    const Thread &t = *block->self;
    const uint32_t group = t.index / 128;
    if (block->threads.size() < group * 128 + 128)
        block->fail(where, "%s outside a warpgroup of four warps", op);
    together(block->group_ops[group], t.index % 128, 128, group * 128, op, slot, act, where);
}

static void
advance_warp(void **, uint32_t, Where)
{
    block->warp().clock.at[block->self->warp]++;
}

void
warp_sync(Where where)
{
    warp_together("syncwarp", nullptr, advance_warp, where);
}

static Barrier &
arrive(uint32_t id, uint32_t count, Where where)
{
    if (id >= kMaxBarriers)
        block->fail(where, "barrier %u: there are %u", id, kMaxBarriers);
    Barrier &b = block->barriers[id];
    const Thread &t = *block->self;
    if (b.arrived && b.expected != count)
        block->fail(where, "barrier %u of %u threads meets one of %u", id, count, b.expected);
    if ((b.warps >> t.warp & 1) && b.where[t.warp].line != where.line)
        block->fail(where, "divergent barrier: lanes of warp %u at lines %d and %d", t.warp,
                    b.where[t.warp].line, where.line);
    b.expected = count;
    b.warps |= 1u << t.warp;
    b.where[t.warp] = where;
    b.arrived++;
    return b;
}

static void
complete(Barrier &b, uint32_t id)
{
    Clock all = {};
    for (uint32_t w = 0; w < block->warps.size(); w++)
        if (b.warps >> w & 1)
            all.join(block->warps[w].clock);
    for (uint32_t w = 0; w < block->warps.size(); w++)
        if (b.warps >> w & 1) {
            block->warps[w].clock = all;
            block->warps[w].clock.at[w]++;
        }
    b.arrived = 0;
    b.warps = 0;
    for (Thread &t : block->threads)
        if (t.state == State::barrier && t.wait_address == id)
            t.state = State::ready;
}

void
barrier_sync(uint32_t id, uint32_t count, Where where)
{
    static const char *const names[kMaxBarriers] = {
        "barrier 0",  "barrier 1",  "barrier 2",  "barrier 3", "barrier 4",  "barrier 5",
        "barrier 6",  "barrier 7",  "barrier 8",  "barrier 9", "barrier 10", "barrier 11",
        "barrier 12", "barrier 13", "barrier 14", "barrier 15"};
    Barrier &b = arrive(id, count, where);
    if (b.arrived < b.expected) {
        block->self->wait_address = id;
        block->wait(State::barrier, names[id], where);
        return;
    }
    complete(b, id);
}

void
barrier_arrive(uint32_t id, uint32_t count, Where where)
{
    Barrier &b = arrive(id, count, where);
    if (b.arrived < b.expected)
        return;
    complete(b, id);
}

void
copy_async(uint32_t to, const void *from, uint32_t bytes, bool valid, Where where)
{
    Thread &t = *block->self;
    if (to % bytes)
        block->fail(where, "asynchronous copy to shared[%u]: misaligned for %u bytes", to, bytes);
    if (valid)
        global_check(from, bytes, EMU_READ, where);
    shared_pending(to, bytes, where);
    t.copies.push_back({valid ? from : nullptr, to, bytes, t.copy_groups, where});
}

void
copy_commit()
{
    block->self->copy_groups++;
}

void
copy_wait(uint32_t pending)
{
    Thread &t = *block->self;
    size_t kept = 0;
    for (size_t i = 0; i < t.copies.size(); i++) {
        const AsyncCopy c = t.copies[i];
        if (c.group + pending >= t.copy_groups) {
            t.copies[kept++] = c;
            continue;
        }
        for (uint32_t cell = c.to / 2; cell < (c.to + c.bytes) / 2; cell++)
            block->cells[cell].pending = 0;
        shared_access(t, c.to, c.bytes, EMU_WRITE, c.where);
        if (c.from)
            memcpy(block->memory.data() + c.to, c.from, c.bytes);
        else
            memset(block->memory.data() + c.to, 0, c.bytes);
    }
    t.copies.resize(kept);
}

} // namespace emu
