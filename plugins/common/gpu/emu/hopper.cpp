// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/emu/matrix.h"

#include <algorithm>
#include <cstring>

namespace emu
{

static MemoryBarrier &
find(uint32_t address, Where where)
{
    for (MemoryBarrier &b : block->mbarriers)
        if (b.address == address)
            return b;
    block->fail(where, "shared[%u] is no memory barrier", address);
}

void
mbarrier_init(uint32_t address, uint32_t count, Where where)
{
    shared_store<uint64_t>(address, 0, where);
    const uint32_t agent = kMaxWarps + uint32_t(block->mbarriers.size()) % kMaxWarps;
    block->mbarriers.push_back({address, count, count, 0, 0, agent, 0, {}, {}});
}

static void
arrive(MemoryBarrier &b, Where where)
{
    Warp &w = block->warp();
    b.filling.join(w.clock);
    w.clock.at[block->self->warp]++;
    if (--b.pending < 0)
        block->fail(where, "memory barrier at shared[%u]: more than %u arrivals", b.address,
                    b.count);
    if (b.pending == 0 && b.bytes == 0) {
        b.completed = b.filling;
        b.pending = b.count;
        b.phase++;
        block->wake_mbarrier_waiters();
    }
}

void
mbarrier_expect(uint32_t address, uint32_t bytes, Where where)
{
    MemoryBarrier &b = find(address, where);
    b.bytes += bytes;
    arrive(b, where);
}

void
mbarrier_arrive(uint32_t address, Where where)
{
    arrive(find(address, where), where);
}

void
mbarrier_wait(uint32_t address, uint32_t parity, Where where)
{
    for (;;) {
        MemoryBarrier &b = find(address, where);
        if ((b.phase & 1) != parity) {
            block->warp().clock.join(b.completed);
            return;
        }
        block->wait(State::mbarrier, "memory barrier", where);
    }
}

void
proxy_fence()
{
    block->self->proxy_fences++;
}

static uint32_t
swizzle(uint32_t address)
{
    return address ^ (address >> 7 & 7u) << 4;
}

/* A row of a box is 128 bytes, or what the plain box says. */
static uint32_t
row_bytes(const TensorMap &map, uint32_t to, Where where)
{
    const uint32_t bytes = 2 * map.box[0], align = map.plain ? 128 : 1024;
    if (to % align || (map.plain ? bytes % 16 != 0 || map.box[0] > 256 : bytes != 128))
        block->fail(where, "bulk copy to shared[%u]: box of %u elements", to, map.box[0]);
    return bytes;
}

/* Row by row of the box. */
void
bulk_load(uint32_t to, const TensorMap &map, uint32_t barrier, const int32_t *at, Where where)
{
    uint32_t rows = 1;
    for (uint32_t d = 1; d < map.dims; d++)
        rows *= map.box[d];
    const uint32_t pitch = row_bytes(map, to, where), bytes = rows * pitch;
    shared_pending(to, bytes, where);
    const uint32_t index = uint32_t(&find(barrier, where) - block->mbarriers.data());
    /* The block's own: a fault leaves this function without its end. */
    block->transfers.push_back(
        {index, to, bytes, std::vector<uint8_t>(bytes, 0), where, block->self->index});
    Transfer &t = block->transfers.back();
    for (uint32_t r = 0; r < rows; r++) {
        bool inside = true;
        const uint8_t *from = static_cast<const uint8_t *>(map.base);
        uint32_t rest = r;
        for (uint32_t d = 1; d < map.dims; d++) {
            const int64_t i = at[d] + int64_t{rest % map.box[d]};
            rest /= map.box[d];
            inside &= i >= 0 && uint64_t(i) < map.size[d];
            from += i * int64_t(map.stride[d]);
        }
        for (uint32_t chunk = 0; chunk < pitch / 16 && inside; chunk++) {
            const uint64_t first = uint64_t(at[0]) + chunk * 8;
            if (first >= map.size[0])
                continue;
            const uint32_t place = r * pitch + chunk * 16;
            const size_t there = std::min<uint64_t>(16, 2 * (map.size[0] - first));
            if (!memory_holds(from + 2 * first, there))
                block->fail(where, "bulk copy at %p: out of bounds of any buffer",
                            static_cast<const void *>(from + 2 * first));
            memcpy(t.data.data() + (map.plain ? place : swizzle(place)), from + 2 * first, there);
        }
    }
}

void
product_commit()
{
    block->self->product_groups++;
}

static uint32_t
field(uint64_t desc, int shift)
{
    return uint32_t(desc >> shift & 0x3FFF) * 16;
}

/* Address of an operand's element: k-major rows of 128 bytes, or mn-major rows of 64 elements. */
static uint32_t
element_address(uint64_t desc, bool mn_major, uint32_t mn, uint32_t k)
{
    const uint32_t start = field(desc, 0), leading = field(desc, 16), stride = field(desc, 32);
    if (mn_major)
        return swizzle(start + mn / 64 * leading + k / 8 * stride + k % 8 * 128 + mn % 64 * 2);
    return swizzle(start + mn / 8 * stride + mn % 8 * 128 + k * 2);
}

static float
operand(uint64_t desc, bool mn_major, uint32_t mn, uint32_t k, bool bf16)
{
    uint16_t bits;
    memcpy(&bits, block->memory.data() + element_address(desc, mn_major, mn, k), sizeof bits);
    return widen(bits, bf16);
}

/* An operand's bytes are read in runs of 16, all of one row: calls f(address) for each. */
template <class F>
static void
each_run(uint64_t desc, bool mn_major, uint32_t mn0, uint32_t mn, Where where, F f)
{
    if (desc >> 62 != 1)
        block->fail(where, "matrix descriptor: only the 128-byte swizzle is known");
    for (uint32_t k = 0; k < 16; k += mn_major ? 1 : 8)
        for (uint32_t i = mn0; i < mn0 + mn; i += mn_major ? 8 : 1)
            f(element_address(desc, mn_major, i, k));
}

static void
check_operand(uint32_t first_warp, uint32_t warps, uint64_t desc, bool mn_major, uint32_t mn0,
              uint32_t mn, Where where)
{
    each_run(desc, mn_major, mn0, mn, where,
             [=](uint32_t address) { shared_proxy_read(first_warp, warps, address, 16, where); });
}

/* Fences between here and the wait come too late: what the group has written must be fenced now,
 * when its first thread comes. */
void
product_issue(const AsyncProduct &product)
{
    AsyncProduct p = product;
    p.group = block->self->product_groups;
    block->self->products.push_back(p);
    if (block->self->index % 128)
        return;
    const auto fenced = [&](uint32_t address) { shared_fenced(address, 16, p.where); };
    if (!p.a)
        each_run(p.desc_a, false, 0, 64, p.where, fenced);
    each_run(p.desc_b, p.trans_b, 0, p.n, p.where, fenced);
}

struct Waiting {
    Thread *thread;
    uint32_t pending;
};

static void
read_a(float (&a)[64][16], void **slots, size_t index, const AsyncProduct &p, uint32_t first)
{
    if (!p.a) {
        for (uint32_t w = 0; w < 4; w++)
            check_operand(first + w, 1, p.desc_a, false, 16 * w, 16, p.where);
        for (uint32_t i = 0; i < 64; i++)
            for (uint32_t k = 0; k < 16; k++)
                a[i][k] = operand(p.desc_a, false, i, k, p.bf16);
        return;
    }
    for (uint32_t t = 0; t < 128; t++) {
        const uint32_t *r = static_cast<Waiting *>(slots[t])->thread->products[index].a;
        const uint32_t row = 16 * (t / 32) + t % 32 / 4, col = 2 * (t % 4);
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t e = 0; e < 2; e++)
                a[row + 8 * (i % 2)][col + e + 8 * (i / 2)] =
                    widen(uint16_t(r[i] >> (16 * e)), p.bf16);
    }
}

static void
multiply(void **slots, size_t index, uint32_t first)
{
    const AsyncProduct p = static_cast<Waiting *>(slots[0])->thread->products[index];
    static thread_local float a[64][16], b[16][256], d[64][256];
    read_a(a, slots, index, p, first);
    check_operand(first, 4, p.desc_b, p.trans_b, 0, p.n, p.where);
    for (uint32_t k = 0; k < 16; k++)
        for (uint32_t j = 0; j < p.n; j++)
            b[k][j] = operand(p.desc_b, p.trans_b, j, k, p.bf16);
    for (uint32_t i = 0; i < 64; i++) {
        for (uint32_t j = 0; j < p.n; j++)
            d[i][j] = 0;
        for (uint32_t k = 0; k < 16; k++)
            for (uint32_t j = 0; j < p.n; j++)
                d[i][j] += a[i][k] * b[k][j];
    }
    for (uint32_t t = 0; t < 128; t++) {
        const AsyncProduct &mine = static_cast<Waiting *>(slots[t])->thread->products[index];
        for (uint32_t r = 0; r < p.n / 2; r++) {
            const uint32_t row = 16 * (t / 32) + t % 32 / 4 + 8 * (r / 2 % 2);
            const uint32_t col = 8 * (r / 4) + 2 * (t % 4) + r % 2;
            mine.acc[r] = (mine.add ? mine.acc[r] : 0.0f) + d[row][col];
        }
    }
}

static void
wait_all(void **slots, uint32_t count, Where where)
{
    Waiting *lead = static_cast<Waiting *>(slots[0]);
    const uint32_t first = lead->thread->warp;
    size_t done = 0;
    for (const AsyncProduct &p : lead->thread->products)
        done += p.group + lead->pending < lead->thread->product_groups;
    for (uint32_t t = 1; t < count; t++) {
        const Waiting *w = static_cast<Waiting *>(slots[t]);
        if (w->thread->products.size() != lead->thread->products.size())
            block->fail(where, "warpgroup products issued by some threads only");
    }
    for (size_t i = 0; i < done; i++)
        multiply(slots, i, first);
    for (uint32_t t = 0; t < count; t++) {
        std::vector<AsyncProduct> &list = static_cast<Waiting *>(slots[t])->thread->products;
        list.erase(list.begin(), list.begin() + std::ptrdiff_t(done));
    }
}

void
product_wait(uint32_t pending, Where where)
{
    Waiting w = {block->self, pending};
    group_together("wgmma.wait", &w, wait_all, where);
}

} // namespace emu
