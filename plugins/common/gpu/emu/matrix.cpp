// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/emu/matrix.h"

#include "common/gpu/types.h"

#include <cstring>

namespace emu
{

float
widen(uint16_t bits, bool bf16)
{
    return bf16 ? gpu::to_float(gpu::bf16{bits}) : gpu::to_float(gpu::f16{bits});
}

struct Shuffle {
    uint32_t value, from, result;
};

static void
shuffle_all(void **slots, uint32_t count, Where where)
{
    for (uint32_t i = 0; i < count; i++) {
        Shuffle *s = static_cast<Shuffle *>(slots[i]);
        if (s->from >= count)
            block->fail(where, "lane %u reads lane %u of %u", i, s->from, count);
        s->result = static_cast<Shuffle *>(slots[s->from])->value;
    }
}

uint32_t
shuffle_bits(uint32_t value, uint32_t from, Where where)
{
    Shuffle s = {value, from, 0};
    warp_together("shuffle", &s, shuffle_all, where);
    return s.result;
}

static void
compare_all(void **slots, uint32_t count, Where where)
{
    const int first = *static_cast<const int *>(slots[0]);
    for (uint32_t i = 1; i < count; i++)
        if (*static_cast<const int *>(slots[i]) != first)
            block->fail(where, "not uniform: %d on lane %u, %d on lane 0",
                        *static_cast<const int *>(slots[i]), i, first);
}

int
uniform(int value, Where where)
{
    warp_together("uniform", &value, compare_all, where);
    return value;
}

struct LoadMatrix {
    uint32_t address, *r;
    bool transpose;
};

static uint16_t
half_at(uint32_t address)
{
    uint16_t v;
    memcpy(&v, block->memory.data() + address, sizeof v);
    return v;
}

static void
load_matrix_all(void **slots, uint32_t count, Where where)
{
    const uint32_t first = block->self->warp * count;
    for (uint32_t i = 0; i < count; i++) {
        const LoadMatrix *m = static_cast<const LoadMatrix *>(slots[i]);
        shared_access(block->threads[first + i], m->address, 16, EMU_READ, where);
    }
    for (uint32_t l = 0; l < count; l++) {
        LoadMatrix *mine = static_cast<LoadMatrix *>(slots[l]);
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t e = 0; e < 2; e++) {
                const uint32_t row = mine->transpose ? 2 * (l % 4) + e : l / 4;
                const uint32_t col = mine->transpose ? l / 4 : 2 * (l % 4) + e;
                const LoadMatrix *from = static_cast<const LoadMatrix *>(slots[8 * i + row]);
                const uint32_t v = half_at(from->address + 2 * col);
                mine->r[i] = e ? mine->r[i] | v << 16 : v;
            }
    }
}

void
load_matrix(uint32_t (&r)[4], uint32_t address, bool transpose, Where where)
{
    LoadMatrix m = {address, r, transpose};
    warp_together(transpose ? "ldmatrix.trans" : "ldmatrix", &m, load_matrix_all, where);
}

struct Product {
    float *d;
    const uint32_t *a, *b;
    bool bf16;
};

static uint16_t
half_of(const uint32_t *r, uint32_t element)
{
    return uint16_t(r[element / 2] >> (16 * (element % 2)));
}

static const Product &
product(void **slots, uint32_t l)
{
    return *static_cast<const Product *>(slots[l]);
}

static void
mma16816_all(void **slots, uint32_t, Where)
{
    float a[16][16], b[16][8];
    const bool bf16 = product(slots, 0).bf16;
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t e = 0; e < 2; e++) {
            const uint32_t g = l / 4, k = 2 * (l % 4) + e;
            const Product &p = product(slots, l);
            for (uint32_t i = 0; i < 4; i++)
                a[g + 8 * (i % 2)][k + 8 * (i / 2)] = widen(half_of(p.a + i, e), bf16);
            for (uint32_t i = 0; i < 2; i++)
                b[k + 8 * i][g] = widen(half_of(p.b + i, e), bf16);
        }
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t row = l / 4 + 8 * (i / 2), col = 2 * (l % 4) + i % 2;
            double sum = double(product(slots, l).d[i]);
            for (uint32_t k = 0; k < 16; k++)
                sum += double(a[row][k] * b[k][col]);
            product(slots, l).d[i] = float(sum);
        }
}

void
mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool bf16, Where where)
{
    Product p = {d, a, b, bf16};
    warp_together("mma", &p, mma16816_all, where);
}

/* Both shapes: operands have m = n rows, k steps of four elements a lane group. */
static void
mfma(void **slots, uint32_t m, uint32_t k)
{
    float a[32][16], b[32][16];
    const bool bf16 = product(slots, 0).bf16;
    for (uint32_t l = 0; l < 64; l++)
        for (uint32_t e = 0; e < 4; e++) {
            a[l % m][4 * (l / m) + e] = widen(half_of(product(slots, l).a, e), bf16);
            b[l % m][4 * (l / m) + e] = widen(half_of(product(slots, l).b, e), bf16);
        }
    for (uint32_t l = 0; l < 64; l++)
        for (uint32_t r = 0; r < m * m / 64; r++) {
            const uint32_t i = m == 16 ? 4 * (l / 16) + r : 8 * (r / 4) + 4 * (l / 32) + r % 4;
            double sum = double(product(slots, l).d[r]);
            for (uint32_t j = 0; j < k; j++)
                sum += double(a[i][j] * b[l % m][j]);
            product(slots, l).d[r] = float(sum);
        }
}

static void
mfma16_all(void **slots, uint32_t count, Where where)
{
    if (count != 64)
        block->fail(where, "mfma on a warp of %u lanes", count);
    mfma(slots, 16, 16);
}

static void
mfma32_all(void **slots, uint32_t count, Where where)
{
    if (count != 64)
        block->fail(where, "mfma on a warp of %u lanes", count);
    mfma(slots, 32, 8);
}

void
mfma_16x16x16(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[2], bool bf16, Where where)
{
    Product p = {d, a, b, bf16};
    warp_together("mfma 16x16x16", &p, mfma16_all, where);
}

void
mfma_32x32x8(float (&d)[16], const uint32_t (&a)[2], const uint32_t (&b)[2], bool bf16, Where where)
{
    Product p = {d, a, b, bf16};
    warp_together("mfma 32x32x8", &p, mfma32_all, where);
}

} // namespace emu
