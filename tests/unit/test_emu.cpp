// SPDX-License-Identifier: Apache-2.0
// Every detector of the emulated GPU has a kernel here that must trip it, and
// one beside it that does the same work rightly and must not.
#include "common/gpu/mfma.h"
#include "common/gpu/on_device.h"

#include "emu_case.h"
#include "suite.h"

#include <cstdlib>
#include <cstring>

using namespace gpu;

namespace
{

struct Params {
    float *data;
    int n;
};

const Params &
args(const void *p)
{
    return *static_cast<const Params *>(p);
}

const uint32_t kMy = 4;
uint32_t
mine()
{
    return kMy * uint32_t(tid());
}

void
read_unwritten(const void *)
{
    if (tid() == 3)
        lds<float>(mine());
}
void
read_written(const void *)
{
    sts(mine(), 1.0f);
    lds<float>(mine());
}
START_TEST(unwritten)
{
    expect(outcome(read_unwritten, 32, 128, Params{}),
           "shared[12] read but never written");
    clean(outcome(read_written, 32, 128, Params{}));
}
END_TEST

void
exchange_without_barrier(const void *)
{
    sts(mine(), float(tid()));
    lds<float>(kMy * uint32_t(nthreads() - 1 - tid()));
}
void
exchange_with_barrier(const void *)
{
    sts(mine(), float(tid()));
    barrier();
    lds<float>(kMy * uint32_t(nthreads() - 1 - tid()));
}
void
write_after_read(const void *)
{
    sts(mine(), 1.0f);
    barrier();
    lds<float>(kMy * uint32_t(nthreads() - 1 - tid()));
    sts(mine(), 2.0f);
}
void
two_writers(const void *)
{
    sts(uint32_t(0), float(tid()));
}
void
lanes_without_syncwarp(const void *)
{
    sts(mine(), 1.0f);
    lds<float>(kMy * uint32_t(tid() ^ 1));
}
void
lanes_with_syncwarp(const void *)
{
    sts(mine(), 1.0f);
    syncwarp();
    lds<float>(kMy * uint32_t(tid() ^ 1));
}
START_TEST(races)
{
    const std::string early =
        outcome(exchange_without_barrier, 64, 256, Params{});
    ck_assert(early.find("never written") != std::string::npos ||
              early.find("race") != std::string::npos);
    expect(outcome(write_after_read, 64, 256, Params{}), "race: shared[");
    expect(outcome(two_writers, 64, 256, Params{}),
           "race: shared[0] written, and written by warp 0");
    clean(outcome(exchange_with_barrier, 64, 256, Params{}));
    ck_assert(!outcome(lanes_without_syncwarp, 32, 128, Params{}).empty());
    clean(outcome(lanes_with_syncwarp, 32, 128, Params{}));
}
END_TEST

/* Every thread adds to a word that thread 0 set, and one reads the sum. */
template <bool Before, bool After>
void
add_to_word(const void *)
{
    if (tid() == 0)
        sts<int32_t>(0, 0);
    if (Before)
        barrier();
    shared_add(0, 1);
    shared_max(0, 1);
    if (After)
        barrier();
    if (tid() == 40)
        lds<int32_t>(0);
}
void
add_after_read(const void *)
{
    sts<int32_t>(mine(), 0);
    barrier();
    if (tid() == 0)
        lds<int32_t>(kMy * 40);
    else if (tid() == 40)
        shared_add(mine(), 1);
}
void
write_after_add(const void *)
{
    if (tid() == 0)
        sts<int32_t>(0, 0);
    barrier();
    shared_add(0, 1);
    if (tid() == 0)
        sts<int32_t>(0, 0);
}
void
count(const void *p)
{
    if (tid() == 0)
        sts<int32_t>(0, 0), sts<int32_t>(4, -1);
    barrier();
    shared_add(0, 2);
    shared_max(4, tid());
    barrier();
    gstore(args(p).data + tid(), float(lds<int32_t>(0) + lds<int32_t>(4)));
}
START_TEST(atomics)
{
    clean(outcome(add_to_word<true, true>, 128, 128, Params{}));
    expect(outcome(add_to_word<false, true>, 128, 128, Params{}),
           "race: shared[0] changed by an atomic, and written by warp 0");
    expect(outcome(add_to_word<true, false>, 128, 128, Params{}),
           "race: shared[0] read, and changed by an atomic of warp 0");
    expect(outcome(add_after_read, 64, 256, Params{}),
           "race: shared[160] written, and read by warp 0 lane 0");
    expect(outcome(write_after_add, 64, 256, Params{}),
           "race: shared[0] written, and changed by an atomic of warp");
    float *data = static_cast<float *>(emu::memory_alloc(64 * sizeof(float)));
    clean(outcome(count, 64, 8, Params{data, 0}));
    for (int i = 0; i < 64; i++)
        ck_assert(data[i] == 2 * 64 + 63);
    emu::memory_free(data);
}
END_TEST

template <uint32_t Address>
void
add_at(const void *)
{
    sts<int32_t>(mine(), 0);
    shared_add(Address, 1);
}
START_TEST(atomic_bounds)
{
    expect(outcome(add_at<128>, 32, 128, Params{}),
           "out of bounds of 128 bytes");
    expect(outcome(add_at<0xFFFFFFFC>, 32, 128, Params{}),
           "out of bounds of 128 bytes");
    expect(outcome(add_at<2>, 32, 128, Params{}),
           "shared[2] misaligned for 4 bytes");
}
END_TEST

void
shared_past_end(const void *)
{
    sts(mine(), 1.0f);
}
void
global_touch(const void *p)
{
    gstore(args(p).data + args(p).n + tid(), 1.0f);
    gload(args(p).data + args(p).n + tid());
}
void
misaligned_shared(const void *)
{
    sts(2 + mine(), 1.0f);
}
void
misaligned_global(const void *p)
{
    gload(reinterpret_cast<const float *>(
        reinterpret_cast<const char *>(args(p).data) + 2));
}
START_TEST(bounds)
{
    expect(outcome(shared_past_end, 64, 128, Params{}),
           "out of bounds of 128 bytes");
    float *data = static_cast<float *>(emu::memory_alloc(32 * sizeof(float)));
    clean(outcome(global_touch, 32, 0, Params{data, 0}));
    expect(outcome(global_touch, 32, 0, Params{data, 1}),
           "out of bounds of any buffer");
    expect(outcome(global_touch, 32, 0, Params{data, -1}),
           "out of bounds of any buffer");
    expect(outcome(misaligned_shared, 32, 256, Params{}),
           "shared[2] misaligned for 4 bytes");
    expect(outcome(misaligned_global, 32, 0, Params{data, 0}), "misaligned");
    emu::memory_free(data);
    expect(outcome(global_touch, 32, 0, Params{data, 0}),
           "out of bounds of any buffer");
}
END_TEST

void
barrier_in_branch(const void *)
{
    if (tid() < 32)
        barrier();
}
void
barrier_two_places(const void *)
{
    if (tid() % 2)
        barrier();
    else
        barrier();
}
void
named_barriers(const void *)
{
    if (tid() < 64)
        barrier(1, 64);
    barrier();
}
START_TEST(divergent_barriers)
{
    expect(outcome(barrier_in_branch, 64, 0, Params{}),
           "divergent barrier: waits for barrier 0; thread");
    expect(outcome(barrier_two_places, 64, 0, Params{}),
           "divergent barrier: lanes of warp 0");
    clean(outcome(named_barriers, 128, 0, Params{}));
}
END_TEST

void
shuffle_in_branch(const void *)
{
    if (lane() < 16)
        shfl_xor(1, 1);
}
void
shuffle_sum(const void *p)
{
    float v = float(lane());
    for (int i = 1; i < 32; i *= 2)
        v += shfl_xor(v, i);
    gstore(args(p).data + tid(), v);
}
void
uniform_thread(const void *)
{
    uniform(tid());
}
void
uniform_warp(const void *)
{
    uniform(tid() / 32);
}
START_TEST(missing_lanes)
{
    expect(outcome(shuffle_in_branch, 32, 0, Params{}),
           "lanes missing from an exchange");
    expect(outcome(uniform_thread, 64, 0, Params{}),
           "not uniform: 1 on lane 1, 0 on lane 0");
    clean(outcome(uniform_warp, 64, 0, Params{}));
    float *data = static_cast<float *>(emu::memory_alloc(32 * sizeof(float)));
    clean(outcome(shuffle_sum, 32, 0, Params{data, 0}));
    for (int i = 0; i < 32; i++)
        ck_assert(data[i] == 496.0f);
    emu::memory_free(data);
}
END_TEST

template <bool Wait, bool Barrier>
void
async_copy(const void *p)
{
    cp_async16(16 * uint32_t(tid()), args(p).data + 4 * tid(), true);
    cp_commit();
    if (Wait)
        cp_wait<0>();
    if (Barrier)
        barrier();
    lds<float>(16 * uint32_t(nthreads() - 1 - tid()));
    if (!Wait)
        cp_wait<0>();
}
void
async_forgotten(const void *p)
{
    cp_async16(16 * uint32_t(tid()), args(p).data + 4 * tid(), true);
    cp_commit();
}
START_TEST(async_copies)
{
    float *data = static_cast<float *>(emu::memory_alloc(64 * 16));
    const Params p = {data, 0};
    clean(outcome(async_copy<true, true>, 64, 1024, p));
    expect(outcome(async_copy<false, true>, 64, 1024, p),
           "asynchronous copy into it is under way");
    ck_assert(!outcome(async_copy<true, false>, 64, 1024, p).empty());
    expect(outcome(async_forgotten, 64, 1024, p), "never waited for");
    emu::memory_free(data);
}
END_TEST

template <class T>
void
mma_through_shared(const void *p)
{
    for (int e = lane(); e < 256; e += 32) {
        sts(uint32_t(2 * e), Element<T>::from(a_of(e / 16, e % 16)).bits);
        sts(uint32_t(512 + 2 * e), Element<T>::from(b_of(e / 16, e % 16)).bits);
    }
    syncwarp();
    uint32_t a[4], b[4];
    ldmatrix4(a, uint32_t((lane() % 16) * 32 + (lane() / 16) * 16));
    ldmatrix4t(b, uint32_t(512 + (lane() % 16) * 32 + (lane() / 16) * 16));
    for (int half = 0; half < 2; half++) {
        float d[4] = {0, 0, 0, 0};
        const uint32_t bh[2] = {b[2 * half], b[2 * half + 1]};
        mma16816<T>(d, a, bh);
        for (int i = 0; i < 4; i++)
            gstore(args(p).data + (lane() / 4 + 8 * (i / 2)) * 16 + 8 * half +
                       2 * (lane() % 4) + i % 2,
                   d[i]);
    }
}
void
mfma16(const void *p)
{
    uint32_t a[2], b[2];
    float d[4] = {0, 0, 0, 0};
    const int i = lane() % 16, k = 4 * (lane() / 16);
    for (int e = 0; e < 2; e++) {
        a[e] = pack2<bf16>(a_of(i, k + 2 * e), a_of(i, k + 2 * e + 1));
        b[e] = pack2<bf16>(b_of(k + 2 * e, i), b_of(k + 2 * e + 1, i));
    }
    mfma16x16x16<bf16>(d, a, b);
    for (int r = 0; r < 4; r++)
        gstore(args(p).data + (k + r) * 16 + i, d[r]);
}
void
mfma32(const void *p)
{
    uint32_t a[2], b[2];
    float d[16] = {};
    const int i = lane() % 32, k = 4 * (lane() / 32);
    for (int e = 0; e < 2; e++) {
        a[e] = pack2<f16>(a_of(i, k + 2 * e), a_of(i, k + 2 * e + 1));
        b[e] = pack2<f16>(b_of(k + 2 * e, i), b_of(k + 2 * e + 1, i));
    }
    mfma32x32x8<f16>(d, a, b);
    for (int r = 0; r < 16; r++)
        gstore(args(p).data + (8 * (r / 4) + k + r % 4) * 32 + i, d[r]);
}
void
check_product(void (*kernel)(const void *), uint32_t threads,
              uint32_t warp_size, int size, int depth)
{
    float *data = static_cast<float *>(
        emu::memory_alloc(size_t(size * size) * sizeof(float)));
    clean(outcome(kernel, threads, 1024, Params{data, 0}, warp_size));
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++)
            ck_assert_msg(data[i * size + j] == product_of(i, j, depth),
                          "%d %d", i, j);
    emu::memory_free(data);
}
START_TEST(matrix_layouts)
{
    check_product(mma_through_shared<bf16>, 32, 32, 16, 16);
    check_product(mma_through_shared<f16>, 32, 32, 16, 16);
    check_product(mfma16, 64, 64, 16, 16);
    check_product(mfma32, 64, 64, 32, 8);
    expect(outcome(mfma16, 32, 0, Params{}), "mfma on a warp of 32 lanes");
}
END_TEST

struct MarkKernel {
    struct Params {
        int *mark;
    };
    static constexpr uint32_t kThreads = 32;
    static constexpr const char *kName = "mark";
    static void run(const Params &p)
    {
        *p.mark = 1;
    }
};
START_TEST(stream_of_another_device)
{
    int mark = 0;
    attn_error err = {};
    err.struct_size = sizeof err;
    attn_stream s = {};
    setenv("EMU_DEVICES", "2", 1);
    ck_assert_int_eq(service.stream_create({device_type, 1}, &s, &err),
                     ATTN_OK);
    ck_assert_int_eq(launch<MarkKernel>(s, 1, 0, {&mark}, &err), ATTN_E_DEVICE);
    ck_assert_str_eq(err.message, "a stream of device 1 while 0 is current");
    ck_assert_int_eq(mark, 0);
    {
        const OnDevice here(1);
        ck_assert_int_eq(launch<MarkKernel>(s, 1, 0, {&mark}, &err), ATTN_OK);
    }
    ck_assert_int_eq(mark, 1);
    service.stream_destroy(&s);
}
END_TEST

START_TEST(number_formats)
{
    for (uint32_t c = 0; c < 65536; c++) {
        const f16 h = {uint16_t(c)};
        if ((c & 0x7C00u) != 0x7C00u)
            ck_assert(to_f16(to_float(h)).bits == c);
    }
    for (uint32_t c = 0; c < 256; c++) {
        const float e4 = fp8_to_float(c, 3), e5 = fp8_to_float(c, 2);
        ck_assert(e4 != e4 ? (c & 127u) == 127u : float_to_fp8(e4, 3) == c);
        ck_assert(e5 != e5 ? (c & 127u) > 0x7C
                           : float_to_fp8(e5, 2) == c || (c & 127u) == 0x7C);
    }
    ck_assert(float_to_fp8(1e9f, 3) == 0x7E && float_to_fp8(-1e9f, 2) == 0xFB);
    ck_assert(float_to_fp8(17.0f, 3) ==
              float_to_fp8(16.0f, 3)); /* tie to even */
    ck_assert(float_to_fp8(19.0f, 3) ==
              float_to_fp8(20.0f, 3)); /* tie to even */
    ck_assert(to_f16(65520.0f).bits == 0x7C00 &&
              to_f16(65519.0f).bits == 0x7BFF);
    ck_assert(to_float(to_bf16(1.00390625f)) == 1.0f);
}
END_TEST

} // namespace

int
main()
{
    TCase *c = tcase_create("detectors");
    tcase_add_test(c, unwritten);
    tcase_add_test(c, races);
    tcase_add_test(c, atomics);
    tcase_add_test(c, atomic_bounds);
    tcase_add_test(c, bounds);
    tcase_add_test(c, divergent_barriers);
    tcase_add_test(c, missing_lanes);
    tcase_add_test(c, async_copies);
    tcase_add_test(c, stream_of_another_device);
    tcase_add_test(c, matrix_layouts);
    tcase_add_test(c, number_formats);
    return unit_run_case("emu", c);
}
