// SPDX-License-Identifier: Apache-2.0
/* Bank conflicts of the tiles of rocm_aiter.flash. LDS has 32 banks of four
 * bytes; a wave's access is served in groups of consecutive lanes that ask for
 * 128 bytes together. A group costs as many clocks as the bank with most
 * different words in it. */
#include "rocm_aiter/flash/decode.h"
#include "rocm_aiter/flash/prefill.h"

#include <algorithm>
#include <functional>
#include <set>

#include "suite.h"

/* Clocks of the worst group: lanes [0, lanes) access `bytes` at address(lane).
 */
static int
worst_group(int lanes, int bytes, const std::function<uint32_t(int)> &address)
{
    const int together = 128 / bytes;
    size_t worst = 0;
    for (int first = 0; first < lanes; first += together) {
        std::set<uint32_t> words[32];
        for (int l = first; l < std::min(lanes, first + together); l++)
            for (int b = 0; b < bytes; b += 4) {
                const uint32_t word = (address(l) + uint32_t(b)) / 4;
                words[word % 32].insert(word);
            }
        for (const std::set<uint32_t> &w : words)
            worst = std::max(worst, w.size());
    }
    return int(worst);
}

struct Clocks {
    int read_key, read_value, write_key, write_value;
};

/* Lane l of a wave reads chunk or unit l / M of row or column l % M. */
template <int DQ, int DV, int M, int Keys>
static void
reads(Clocks &c)
{
    constexpr int G = 64 / M;
    for (int first = 0; first < Keys; first += M)
        for (int chunk = 0; chunk < DQ / 8; chunk += G)
            c.read_key = std::max(c.read_key, worst_group(64, 16, [=](int l) {
                                      return flash::key_chunk<DQ>(
                                          first + l % M, chunk + l / M);
                                  }));
    for (int col = 0; col < DV; col += M)
        for (int unit = 0; unit < Keys / 4; unit += G)
            c.read_value =
                std::max(c.read_value, worst_group(64, 8, [=](int l) {
                             return flash::value_unit<DV, Keys>(col + l % M,
                                                                unit + l / M);
                         }));
}

template <int DQ, int DV, int Keys>
static void
writes(Clocks &c)
{
    constexpr int kThreads = 256;
    using K = flash::KeyMover<gpu::bf16, DQ, Keys, kThreads>;
    using V = flash::ValueMover<gpu::bf16, DV, Keys, kThreads>;
    for (int wave = 0; wave < kThreads; wave += 64) {
        for (int i = 0; i < K::kPieces; i++)
            c.write_key =
                std::max(c.write_key, worst_group(64, 16, [=](int l) {
                             const int row = K::row(i / K::kSweeps, wave + l);
                             const int at = K::chunk(i % K::kSweeps, wave + l);
                             return flash::key_chunk<DQ>(row, at);
                         }));
        const int busy = std::min(64, V::kCells - wave);
        for (int odd = 0; odd < 8 && busy > 0; odd++)
            c.write_value = std::max(
                c.write_value, worst_group(busy, 8, [=](int l) {
                    const int col = (wave + l) % V::kAcross * 8 + odd;
                    return flash::value_unit<DV, Keys>(col, V::unit(wave + l));
                }));
    }
}

template <int DQ, int DV>
static void
expect(const Clocks &most)
{
    using Prefill = flash::PrefillKernel<gpu::bf16, DQ, DV>;
    using Decode = flash::DecodeKernel<gpu::bf16, DQ, DV>;
    static_assert(Prefill::kKeys == Decode::kKeys, "one layout");
    Clocks c = {};
    reads<DQ, DV, Prefill::M, Prefill::kKeys>(c);
    reads<DQ, DV, Decode::M, Decode::kKeys>(c);
    writes<DQ, DV, Prefill::kKeys>(c);
    ck_assert_msg(
        c.read_key == most.read_key && c.read_value == most.read_value &&
            c.write_key == most.write_key && c.write_value == most.write_value,
        "%d/%d: keys read in %d, values in %d, written in %d and %d clocks a "
        "group; "
        "expected %d, %d, %d, %d",
        DQ, DV, c.read_key, c.read_value, c.write_key, c.write_value,
        most.read_key, most.read_value, most.write_key, most.write_value);
}

/* Even columns of 32 keys have half of the banks: two clocks are the least
 * there. */
START_TEST(test_each_width)
{
    expect<64, 64>({1, 1, 1, 1});
    expect<96, 96>({1, 1, 1, 2});
    expect<128, 128>({1, 1, 1, 1});
    expect<192, 128>({1, 1, 1, 2});
    expect<192, 192>({1, 2, 1, 16});
    expect<256, 256>({1, 1, 1, 2});
}
END_TEST

int
main()
{
    TCase *t = tcase_create("banks");
    tcase_add_test(t, test_each_width);
    return unit_run_case("lds_banks", t);
}
