// SPDX-License-Identifier: Apache-2.0
// What sm_90a adds to the emulated GPU: bulk copies, memory barriers, warpgroup
// products. Each detector has a kernel that must trip it, each layout a
// product.
#include "common/gpu/hopper.h"

#include "emu_case.h"
#include "suite.h"

#include <cstdlib>

using namespace gpu;

namespace
{

/* A memory barrier, and tiles of eight rows of 128 bytes from here on. */
constexpr uint32_t kBar = 0, kTile = 1024, kShared = 24 * 1024;
constexpr int kBytes = 1024, kRows = 8;

struct Params {
    TensorMap map;
    float *data;
};

const Params &
args(const void *p)
{
    return *static_cast<const Params *>(p);
}

/* `rows` rows of 64 elements at `base`, in boxes of eight rows. */
Params
mapped(void *base, uint64_t rows)
{
    Params p = {};
    const TensorShape shape = {base,     2,           {64, rows},
                               {2, 128}, {64, kRows}, true};
    attn_error err = {};
    ck_assert(tensor_map(shape, &p.map, &err) == ATTN_OK);
    return p;
}

void
open_barrier(int arrivals)
{
    if (tid() == 0) {
        mbar_init(kBar, arrivals);
        mbar_fence();
    }
    barrier();
}

void
load(const void *p, int row)
{
    const int at[2] = {0, row};
    mbar_expect(kBar, kBytes);
    tma_load(kTile, &args(p).map, kBar, at);
}

template <bool Wait>
void
bulk_copy(const void *p)
{
    open_barrier(1);
    if (tid() == 0)
        load(p, 0);
    if (Wait)
        mbar_wait(kBar, 0);
    if (Wait || tid() == 0)
        lds<uint32_t>(kTile + 4 * uint32_t(tid()));
}
void
bulk_twice(const void *p)
{
    open_barrier(2);
    if (tid() == 0)
        load(p, 0), load(p, 0);
    mbar_wait(kBar, 0);
}
void
bulk_over_reads(const void *p)
{
    sts(kTile + 4 * uint32_t(tid()), 1.0f);
    open_barrier(1);
    if (tid() == 0)
        load(p, 0);
    if (tid() == 33)
        lds<float>(kTile + 4 * 33);
    mbar_wait(kBar, 0);
}
void
bulk_outside(const void *p)
{
    open_barrier(1);
    if (tid() == 0)
        load(p, kRows);
    mbar_wait(kBar, 0);
}
void
bulk_forgotten(const void *p)
{
    open_barrier(1);
    if (tid() == 0)
        load(p, 0);
}
START_TEST(bulk_copies)
{
    void *rows = emu::memory_alloc(kBytes);
    const Params p = mapped(rows, kRows), longer = mapped(rows, 2 * kRows);
    clean(outcome(bulk_copy<true>, 64, kShared, p));
    expect(outcome(bulk_copy<false>, 64, kShared, p),
           "shared[1024] read while an asynchronous copy into it is under way");
    expect(outcome(bulk_twice, 64, kShared, p), "two asynchronous copies into");
    expect(outcome(bulk_over_reads, 64, kShared, p), "asynchronous copy");
    expect(outcome(bulk_outside, 64, kShared, longer),
           "out of bounds of any buffer");
    clean(outcome(bulk_outside, 64, kShared, p)); /* past the tensor: zeros */
    expect(outcome(bulk_forgotten, 64, kShared, p), "never waited for");
    emu::memory_free(rows);
}
END_TEST

/* Eight rows of 32 elements at half a tile's distance: no swizzle. */
constexpr int kPlain = kRows * 64;

Params
plain(const void *base, uint32_t width, uint32_t box)
{
    Params p = {};
    const TensorShape shape = {
        base, 2, {width, kRows}, {2, 128}, {box, kRows}, true, true};
    attn_error err = {};
    ck_assert(tensor_map(shape, &p.map, &err) == ATTN_OK);
    return p;
}

template <uint32_t To>
void
plain_copy(const void *p)
{
    open_barrier(1);
    if (tid() == 0) {
        const int at[2] = {0, 0};
        mbar_expect(kBar, kPlain);
        tma_load(To, &args(p).map, kBar, at);
    }
    mbar_wait(kBar, 0);
    for (int i = tid(); i < kPlain / 4; i += nthreads())
        gstore(args(p).data + i, lds<float>(To + 4 * uint32_t(i)));
}
START_TEST(plain_boxes)
{
    float *rows = static_cast<float *>(emu::memory_alloc(kBytes));
    for (int i = 0; i < kBytes / 4; i++)
        rows[i] = float(1 + i);
    Params p = plain(rows, 24, 32);
    p.data = static_cast<float *>(emu::memory_alloc(kPlain));
    clean(outcome(plain_copy<kTile + 128>, 64, kShared, p));
    for (int i = 0; i < kPlain / 4; i++)
        ck_assert_msg(p.data[i] ==
                          (i % 16 < 12 ? rows[i / 16 * 32 + i % 16] : 0.0f),
                      "%d", i);
    expect(outcome(plain_copy<kTile + 64>, 64, kShared, p),
           "bulk copy to shared[1088]: box of 32 elements");
    expect(outcome(plain_copy<kTile>, 64, kShared, plain(rows, 24, 28)),
           "bulk copy to shared[1024]: box of 28 elements");
    emu::memory_free(p.data);
    emu::memory_free(rows);
}
END_TEST

void
unopened_barrier(const void *)
{
    mbar_wait(kBar, 0);
}
void
nobody_arrives(const void *)
{
    open_barrier(1);
    mbar_wait(kBar, 0);
}
void
too_many_arrive(const void *)
{
    open_barrier(1);
    if (tid() == 0) {
        mbar_expect(kBar, kBytes);
        mbar_arrive(kBar);
    }
}
void
handed_over(const void *)
{
    open_barrier(1);
    if (tid() == 0) {
        sts(kTile, 1.0f);
        mbar_arrive(kBar);
    }
    mbar_wait(kBar, 0);
    lds<float>(kTile);
}
START_TEST(memory_barriers)
{
    clean(outcome(handed_over, 64, kShared, Params{}));
    expect(outcome(unopened_barrier, 64, kShared, Params{}),
           "shared[0] is no memory barrier");
    expect(outcome(nobody_arrives, 64, kShared, Params{}),
           "deadlock: waits for memory barrier");
    expect(outcome(too_many_arrive, 64, kShared, Params{}),
           "more than 1 arrivals");
}
END_TEST

/* ---------------------------------------------------------------- products */

constexpr int kN = 64, kDepth = 16;
constexpr uint32_t kA = kTile, kB = kA + 64 * 128;

uint32_t
swizzled(uint32_t address)
{
    return address ^ (address >> 7 & 7u) << 4;
}

/* A with rows along its 16 elements of K; B so too, or with rows along N. */
template <class T, bool TransB>
void
write_operands()
{
    for (int e = tid(); e < 64 * kDepth; e += nthreads()) {
        const int i = e / kDepth, k = e % kDepth;
        sts(swizzled(kA + uint32_t(i * 128 + k * 2)),
            Element<T>::from(a_of(i, k)).bits);
        sts(swizzled(kB + uint32_t(TransB ? k * 128 + i * 2 : i * 128 + k * 2)),
            Element<T>::from(b_of(k, i)).bits);
    }
}

uint64_t
operand(uint32_t at)
{
    return desc(desc_low(at, kBytes), kBytes);
}

void
write_product(const void *p, const float (&acc)[kN / 2])
{
    for (int r = 0; r < kN / 2; r++) {
        const int row = 16 * (tid() / 32) + lane() / 4 + 8 * (r / 2 % 2);
        const int column = 8 * (r / 4) + 2 * (lane() % 4) + r % 2;
        gstore(args(p).data + row * kN + column, acc[r]);
    }
}

enum class Fence {
    none,
    before_writes,
    after_writes,
    after_by_one_lane,
    after_issue
};

template <class T, bool TransB, Fence At, bool Wait>
void
product(const void *p)
{
    float acc[kN / 2] = {};
    if (At == Fence::before_writes)
        proxy_fence();
    write_operands<T, TransB>();
    if (At == Fence::after_writes ||
        (At == Fence::after_by_one_lane && lane() == 0))
        proxy_fence();
    barrier();
    wgmma_fence();
    Wgmma<T, kN, TransB>::ss(acc, operand(kA), operand(kB), false);
    wgmma_commit();
    if (At == Fence::after_issue)
        proxy_fence();
    if (Wait)
        wgmma_wait<0>(acc);
    write_product(p, acc);
}

template <class T>
void
product_of_registers(const void *p)
{
    float acc[kN / 2] = {};
    uint32_t a[4];
    const int row = 16 * (tid() / 32) + lane() / 4, k = 2 * (lane() % 4);
    for (int i = 0; i < 4; i++)
        a[i] = pack2<T>(a_of(row + i % 2 * 8, k + i / 2 * 8),
                        a_of(row + i % 2 * 8, k + i / 2 * 8 + 1));
    write_operands<T, true>();
    proxy_fence();
    barrier();
    wgmma_fence();
    Wgmma<T, kN, true>::rs(acc, a, operand(kB), false);
    wgmma_commit();
    wgmma_wait<0>(acc);
    write_product(p, acc);
}

void
product_of_one_warp(const void *)
{
    float acc[kN / 2] = {};
    write_operands<bf16, false>();
    proxy_fence();
    barrier();
    if (tid() < 32)
        Wgmma<bf16, kN, false>::ss(acc, operand(kA), operand(kB), false);
    wgmma_commit();
    wgmma_wait<0>(acc);
}

void
check_product(void (*kernel)(const void *))
{
    Params p = {};
    p.data = static_cast<float *>(emu::memory_alloc(64 * kN * sizeof(float)));
    clean(outcome(kernel, 128, kShared, p));
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < kN; j++)
            ck_assert_msg(p.data[i * kN + j] == product_of(i, j, kDepth),
                          "%d %d", i, j);
    emu::memory_free(p.data);
}
START_TEST(products)
{
    check_product(product<bf16, false, Fence::after_writes, true>);
    check_product(product<f16, false, Fence::after_writes, true>);
    check_product(product<bf16, true, Fence::after_writes, true>);
    check_product(product_of_registers<bf16>);
    check_product(product_of_registers<f16>);
}
END_TEST

START_TEST(wrong_products)
{
    Params p = {};
    p.data = static_cast<float *>(emu::memory_alloc(64 * kN * sizeof(float)));
    const char *fence = "read by the asynchronous proxy without a proxy fence";
    expect(outcome(product<bf16, false, Fence::none, true>, 128, kShared, p),
           fence);
    expect(outcome(product<bf16, false, Fence::before_writes, true>, 128,
                   kShared, p),
           fence);
    expect(outcome(product<bf16, false, Fence::after_by_one_lane, true>, 128,
                   kShared, p),
           fence);
    expect(outcome(product<bf16, false, Fence::after_issue, true>, 128, kShared,
                   p),
           fence);
    expect(outcome(product<bf16, false, Fence::after_writes, false>, 128,
                   kShared, p),
           "warpgroup product was never waited for");
    expect(outcome(product_of_one_warp, 128, kShared, p),
           "warpgroup products issued by some threads only");
    expect(outcome(product<bf16, false, Fence::after_writes, true>, 64, kShared,
                   p),
           "outside a warpgroup of four warps");
    emu::memory_free(p.data);
}
END_TEST

} // namespace

int
main()
{
    TCase *c = tcase_create("hopper");
    tcase_add_test(c, bulk_copies);
    tcase_add_test(c, plain_boxes);
    tcase_add_test(c, memory_barriers);
    tcase_add_test(c, products);
    tcase_add_test(c, wrong_products);
    return unit_run_case("emulated sm_90a", c);
}
