/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define MAX_NAME 63

int
attn_text_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* strtoll of decimal digits, without leading blanks. */
static int
read_i64(const char *text, char **end, int64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    *end = (char *)text;
    if (!isdigit((unsigned char)*digits))
        return 0;
    errno = 0;
    *value = strtoll(text, end, 10);
    return errno == 0 && *end != text;
}

attn_status
attn_text_parse_i64(const char *text, int64_t lo, int64_t hi, const char *where,
                    int64_t *value, attn_error *err)
{
    char *end;
    int64_t v = 0;
    int whole = read_i64(text, &end, &v);
    if (end == text || *end)
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s '%s': not a whole number", where, text);
    if (!whole || v < lo || v > hi)
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s %s: outside %" PRId64 " to %" PRId64, where,
                              text, lo, hi);
    *value = v;
    return ATTN_OK;
}

attn_status
attn_text_parse_u32(const char *text, uint32_t lo, uint32_t hi,
                    const char *where, uint32_t *value, attn_error *err)
{
    int64_t v;
    attn_status s = attn_text_parse_i64(text, lo, hi, where, &v, err);
    if (s == ATTN_OK)
        *value = (uint32_t)v;
    return s;
}

/* The application may have set a locale whose decimal point is a comma. */
static int
read_f64(const char *text, char **end, double *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    *end = (char *)text;
    if (!isdigit((unsigned char)*digits) && *digits != '.')
        return 0;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return 0;
    *value = strtod_l(text, end, c);
    freelocale(c);
    return *end != text && isfinite(*value);
}

attn_status
attn_text_parse_f64(const char *text, double lo, double hi, const char *where,
                    double *value, attn_error *err)
{
    char *end;
    double v;
    int number = read_f64(text, &end, &v);
    if (end == text || *end)
        return attn_error_set(err, ATTN_E_ARG, where, "%s '%s': not a number",
                              where, text);
    if (!number || v < lo || v > hi)
        return attn_error_set(err, ATTN_E_ARG, where, "%s %s: outside %g to %g",
                              where, text, lo, hi);
    *value = v;
    return ATTN_OK;
}

attn_status
attn_text_parse_bool(const char *text, const char *where, uint32_t *value,
                     attn_error *err)
{
    static const char *const words[] = {"no",  "yes", "false", "true",
                                        "off", "on",  "0",     "1"};
    for (uint32_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) {
            *value = i & 1;
            return ATTN_OK;
        }
    return attn_error_set(err, ATTN_E_ARG, where, "%s '%s': neither yes nor no",
                          where, text);
}

attn_status
attn_text_parse_size(const char *text, const char *where, uint64_t *bytes,
                     attn_error *err)
{
    static const char units[] = "kMGT";
    char *end;
    int64_t v = 0;
    int whole = read_i64(text, &end, &v);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (end == text || (*end && (!unit || end[1])))
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s '%s': not a size (such as 4096, 64k, 2M)",
                              where, text);
    unsigned shift = unit ? 10u * (unsigned)(unit - units + 1) : 0;
    if (!whole || v < 0 || v > (INT64_MAX >> shift))
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s %s: outside 0 to 2^63", where, text);
    *bytes = (uint64_t)v << shift;
    return ATTN_OK;
}

attn_status
attn_text_parse_range(const char *text, const char *where, uint32_t *lo,
                      uint32_t *hi, attn_error *err)
{
    char *end;
    int64_t first, last;
    int good = *text != '-' && *text != '+' && read_i64(text, &end, &first);
    if (good) {
        last = first;
        if (*end == '-' && isdigit((unsigned char)end[1]))
            good = read_i64(end + 1, &end, &last);
        good = good && !*end && last >= first && last <= UINT32_MAX;
    }
    if (!good)
        return attn_error_set(err, ATTN_E_ARG, where,
                              "%s '%s': not a range (such as 3 or 0-3)", where,
                              text);
    *lo = (uint32_t)first;
    *hi = (uint32_t)last;
    return ATTN_OK;
}

attn_status
attn_text_parse_choice(const char *text, const char *choices, const char *where,
                       uint32_t *index, attn_error *err)
{
    size_t length = strlen(text);
    const char *p = choices;
    for (uint32_t i = 0; p; i++) {
        size_t n = strcspn(p, "|");
        if (n == length && memcmp(p, text, n) == 0) {
            *index = i;
            return ATTN_OK;
        }
        p = p[n] ? p + n + 1 : NULL;
    }
    return attn_error_set(err, ATTN_E_ARG, where, "%s '%s': must be one of %s",
                          where, text, choices);
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t
attn_text_distance(const char *a, const char *b)
{
    size_t row[3][MAX_NAME + 1];
    size_t m = strlen(a), n = strlen(b);
    if (m > MAX_NAME || n > MAX_NAME)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *now = row[i % 3];
        const size_t *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t same = a[i - 1] == b[j - 1];
            now[j] = least(least(up[j], now[j - 1]) + 1, up[j - 1] + !same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], up2[j - 2] + 1);
        }
    }
    return row[m % 3][n];
}

void
attn_nearest_offer(attn_nearest *nearest, const char *name)
{
    size_t limit = least(3, (strlen(name) + 1) / 2);
    size_t d = attn_text_distance(nearest->text, name);
    if (d > limit || (nearest->name && d >= nearest->distance))
        return;
    nearest->name = name;
    nearest->distance = d;
}

const char *
attn_nearest_hint(const attn_nearest *nearest, char *buf, size_t size)
{
    if (nearest->name)
        snprintf(buf, size, ": did you mean '%s'?", nearest->name);
    else if (size)
        buf[0] = 0;
    return buf;
}
