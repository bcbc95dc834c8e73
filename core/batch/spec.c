/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/batch.h>
#include <string.h>

#include "base/error.h"

/* spec    := segment ('_' segment)*
 * segment := [count] 'q' length ['s' length];  length := int ['k'] */
typedef struct spec_segment {
    uint32_t count, query_len, seq_len;
} spec_segment;

typedef struct spec_cursor {
    const char *segment; /* start of the segment that is read */
    const char *at;
    const char *why; /* what is wrong with the number that was read */
} spec_cursor;

static int
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int
read_number(spec_cursor *cursor, uint32_t *number)
{
    uint64_t value = 0;

    if (!is_digit(*cursor->at)) {
        cursor->why = "a number is missing";
        return 0;
    }
    for (; is_digit(*cursor->at); cursor->at++) {
        value = 10 * value + (uint64_t)(*cursor->at - '0');
        if (value > INT32_MAX) {
            cursor->why = "a number exceeds 2147483647";
            return 0;
        }
    }
    *number = (uint32_t)value;
    return 1;
}

static int
read_length(spec_cursor *cursor, uint32_t *length)
{
    uint32_t number;

    if (!read_number(cursor, &number))
        return 0;
    if (*cursor->at == 'k') {
        if (number > INT32_MAX / 1024) {
            cursor->why = "a length exceeds 2147483647";
            return 0;
        }
        number *= 1024;
        cursor->at++;
    }
    *length = number;
    return 1;
}

static int
read_segment(spec_cursor *cursor, spec_segment *segment)
{
    segment->count = 1;
    if (is_digit(*cursor->at) && !read_number(cursor, &segment->count))
        return 0;
    if (*cursor->at != 'q') {
        cursor->why = "expected [count]qLENGTH[sLENGTH]";
        return 0;
    }
    cursor->at++;
    if (!read_length(cursor, &segment->query_len))
        return 0;
    segment->seq_len = segment->query_len;
    if (*cursor->at != 's')
        return 1;
    cursor->at++;
    return read_length(cursor, &segment->seq_len);
}

static int
check_segment(spec_cursor *cursor, const spec_segment *segment)
{
    if (*cursor->at != '_' && *cursor->at != '\0')
        cursor->why = "expected '_' or the end after a segment";
    else if (segment->count == 0)
        cursor->why = "the count is 0";
    else if (segment->query_len == 0)
        cursor->why = "the query length is 0";
    else if (segment->query_len > segment->seq_len)
        cursor->why = "the query is longer than the sequence";
    else
        return 1;
    return 0;
}

static attn_status
bad_segment(const char *spec, const spec_cursor *cursor, attn_error *err)
{
    size_t length = strcspn(cursor->segment, "_");

    return attn_error_set(err, ATTN_E_ARG, "spec",
                          "batch spec segment '%.*s%s' at offset %zu: %s",
                          length > 40 ? 40 : (int)length, cursor->segment,
                          length > 40 ? "..." : "",
                          (size_t)(cursor->segment - spec), cursor->why);
}

attn_status
attn_batch_spec_parse(const char *spec, attn_spec_request *requests,
                      uint32_t capacity, uint32_t *count, attn_error *err)
{
    spec_cursor cursor = {spec, spec, NULL};
    spec_segment segment;
    uint64_t total = 0, tokens = 0;

    if (!spec || !count)
        return attn_error_set(err, ATTN_E_ARG, spec ? "count" : "spec",
                              "%s is NULL", spec ? "count" : "spec");
    for (;; cursor.segment = ++cursor.at) {
        if (!read_segment(&cursor, &segment) ||
            !check_segment(&cursor, &segment))
            return bad_segment(spec, &cursor, err);
        tokens += (uint64_t)segment.count * segment.query_len;
        if (tokens > INT32_MAX) {
            cursor.why = "the batch exceeds 2147483647 tokens";
            return bad_segment(spec, &cursor, err);
        }
        for (uint32_t i = 0; requests && i < segment.count; i++)
            if (total + i < capacity)
                requests[total + i] =
                    (attn_spec_request){segment.query_len, segment.seq_len};
            else
                break;
        total += segment.count;
        if (*cursor.at == '\0')
            break;
    }
    *count = (uint32_t)total;
    return ATTN_OK;
}
