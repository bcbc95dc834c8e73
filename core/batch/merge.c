/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/merge.h>
#include <math.h>
#include <string.h>

#include "base/error.h"

#define MAX_PARTS 64

/* ---------------------------------------------------------- element types */

static float
float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t
bits_of_float(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float
load_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t rest = half & 0x7fffu;

    if (rest >= 0x7c00u)
        return float_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest < 0x400u) {
        float value = (float)rest * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_of_bits(sign | ((rest << 13) + (112u << 23)));
}

static uint16_t
store_f16(float value)
{
    uint32_t bits = bits_of_float(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t rest = bits & 0x7fffffffu;

    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (rest >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u);
    if (rest < 0x38800000u) /* adding 0.5 rounds at the last subnormal bit */
        return (uint16_t)(sign | (bits_of_float(float_of_bits(rest) + 0.5f) -
                                  0x3f000000u));
    rest -= 112u << 23;
    return (uint16_t)(sign | (rest + 0xfffu + (rest >> 13 & 1u)) >> 13);
}

static uint16_t
store_bf16(float value)
{
    uint32_t bits = bits_of_float(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#define COLUMNS 64

/* sum[c] += weight * row[c], in the row's own type. */
static void
accumulate(attn_dtype dtype, const char *row, int64_t count, float weight,
           float *sum)
{
    uint16_t half[COLUMNS];
    float single[COLUMNS];

    if (dtype.bits == 32) {
        memcpy(single, row, (size_t)count * sizeof *single);
        for (int64_t c = 0; c < count; c++)
            sum[c] += weight * single[c];
        return;
    }
    memcpy(half, row, (size_t)count * sizeof *half);
    if (dtype.code == ATTN_CODE_BFLOAT)
        for (int64_t c = 0; c < count; c++)
            sum[c] += weight * float_of_bits((uint32_t)half[c] << 16);
    else
        for (int64_t c = 0; c < count; c++)
            sum[c] += weight * load_f16(half[c]);
}

static void
store(attn_dtype dtype, const float *sum, int64_t count, char *row)
{
    uint16_t half[COLUMNS];

    if (dtype.bits == 32) {
        memcpy(row, sum, (size_t)count * sizeof *sum);
        return;
    }
    if (dtype.code == ATTN_CODE_BFLOAT)
        for (int64_t c = 0; c < count; c++)
            half[c] = store_bf16(sum[c]);
    else
        for (int64_t c = 0; c < count; c++)
            half[c] = store_f16(sum[c]);
    memcpy(row, half, (size_t)count * sizeof *half);
}

static char *
row_at(const attn_tensor *t, int64_t token, int64_t head)
{
    return (char *)t->data + t->byte_offset +
           (token * t->strides[0] + head * t->strides[1]) * (t->dtype.bits / 8);
}

/* ----------------------------------------------------------------- checking */

static attn_status
check_out(const attn_tensor *t, const attn_tensor *like, const char *name,
          attn_error *err)
{
    int known =
        t && ((t->dtype.code == ATTN_CODE_FLOAT &&
               (t->dtype.bits == 32 || t->dtype.bits == 16)) ||
              (t->dtype.code == ATTN_CODE_BFLOAT && t->dtype.bits == 16));

    if (!known || t->ndim != 3 || !t->shape || !t->strides ||
        t->device.type != ATTN_DEVICE_CPU ||
        (t->strides[2] != 1 && t->shape[2] > 1))
        return attn_error_set(err, ATTN_E_ARG, name,
                              "%s must be [T, H, D] of f32, bf16 or f16 on the "
                              "host with inner stride 1",
                              name);
    if (memcmp(&t->dtype, &like->dtype, sizeof t->dtype) ||
        t->shape[0] != like->shape[0] || t->shape[1] != like->shape[1] ||
        t->shape[2] != like->shape[2])
        return attn_error_set(
            err, ATTN_E_ARG, name,
            "%s [%lld, %lld, %lld]: shape or dtype differs "
            "from out [%lld, %lld, %lld]",
            name, (long long)t->shape[0], (long long)t->shape[1],
            (long long)t->shape[2], (long long)like->shape[0],
            (long long)like->shape[1], (long long)like->shape[2]);
    return ATTN_OK;
}

static attn_status
check_lse(const attn_tensor *t, const attn_tensor *out, const char *name,
          attn_error *err)
{
    if (t && t->ndim == 2 && t->shape && t->strides &&
        t->dtype.code == ATTN_CODE_FLOAT && t->dtype.bits == 32 &&
        t->device.type == ATTN_DEVICE_CPU && t->shape[0] == out->shape[0] &&
        t->shape[1] == out->shape[1])
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, name,
                          "%s must be float32 [%lld, %lld] on the host", name,
                          (long long)out->shape[0], (long long)out->shape[1]);
}

static attn_status
check_merge(const attn_partial *parts, uint32_t n, const attn_tensor *out,
            const attn_tensor *lse, attn_error *err)
{
    attn_status status;

    if (!parts || !out || n == 0 || n > MAX_PARTS)
        return attn_error_set(err, ATTN_E_ARG, "parts",
                              "merge of %u parts (1 to %d), or a NULL argument",
                              n, MAX_PARTS);
    status = check_out(out, out, "out", err);
    if (!status && lse)
        status = check_lse(lse, out, "lse", err);
    for (uint32_t i = 0; !status && i < n; i++) {
        status = check_out(parts[i].out, out, "parts.out", err);
        if (!status)
            status = check_lse(parts[i].lse, out, "parts.lse", err);
    }
    return status;
}

/* ------------------------------------------------------------------ merging */

/* weight[i] of each part and the joint lse of one row. */
static float
weigh(const attn_partial *parts, uint32_t n, int64_t token, int64_t head,
      float *weight)
{
    float most = -INFINITY, sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        memcpy(&weight[i], row_at(parts[i].lse, token, head), sizeof(float));
        if (!(weight[i] < INFINITY))
            weight[i] = -INFINITY;
        most = weight[i] > most ? weight[i] : most;
    }
    for (uint32_t i = 0; i < n; i++) {
        weight[i] = weight[i] == -INFINITY ? 0 : expf(weight[i] - most);
        sum += weight[i];
    }
    for (uint32_t i = 0; i < n && sum > 0; i++)
        weight[i] /= sum;
    return sum > 0 ? most + logf(sum) : -INFINITY;
}

/* In pieces that lie on the stack; out may be one of the parts. */
static void
merge_row(const attn_partial *parts, uint32_t n, const float *weight,
          attn_tensor *out, int64_t token, int64_t head)
{
    char *to = row_at(out, token, head);
    int64_t width = out->dtype.bits / 8;

    for (int64_t c = 0; c < out->shape[2]; c += COLUMNS) {
        int64_t left = out->shape[2] - c;
        int64_t count = left < COLUMNS ? left : COLUMNS;
        float sum[COLUMNS] = {0};

        for (uint32_t i = 0; i < n; i++)
            if (weight[i] > 0)
                accumulate(out->dtype,
                           row_at(parts[i].out, token, head) + c * width, count,
                           weight[i], sum);
        store(out->dtype, sum, count, to + c * width);
    }
}

attn_status
attn_lse_merge(const attn_partial *parts, uint32_t num_parts, attn_tensor *out,
               attn_tensor *lse, attn_error *err)
{
    attn_status status = check_merge(parts, num_parts, out, lse, err);
    float weight[MAX_PARTS];

    if (status)
        return status;
    for (int64_t t = 0; t < out->shape[0]; t++)
        for (int64_t h = 0; h < out->shape[1]; h++) {
            float joint = weigh(parts, num_parts, t, h, weight);

            merge_row(parts, num_parts, weight, out, t, h);
            if (lse)
                memcpy(row_at(lse, t, h), &joint, sizeof joint);
        }
    return ATTN_OK;
}
