/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reader.h"

#include <ini.h>
#include <stdio.h>
#include <string.h>

#define MAX_SHOWN_NAME 120

struct reader {
    const char *name;
    const char *next, *end;
    uint32_t line;
    int in_section;
    char section[ATTN_INI_MAX_NAME + 1];
    const attn_ini_sink *sink;
    attn_status status;
    attn_error *err;
};

attn_status
attn_ini_error(attn_error *err, const char *name, uint32_t line,
               const char *fmt, ...)
{
    char text[304];
    size_t n = strlen(name);
    const char *cut = n > MAX_SHOWN_NAME ? "..." : "";
    if (*cut)
        name += n - MAX_SHOWN_NAME;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return attn_error_set(err, ATTN_E_CONFIG, "config", "%s%s:%u: %s", cut,
                          name, line, text);
}

#define FAIL(r, ...) \
    ((r)->status = attn_ini_error((r)->err, (r)->name, (r)->line, __VA_ARGS__))

static int
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *
skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* The bytes of a line: neither NUL nor other controls than tab. */
static int
bytes_are_good(struct reader *r, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') ||
            text[i] == 0x7f) {
            FAIL(r, "control byte 0x%02x in column %zu",
                 (unsigned)(unsigned char)text[i], i + 1);
            return 0;
        }
    return 1;
}

/* The next line without its end, in line[]; 0 at the end or on an error. */
static int
take_line(struct reader *r, char line[ATTN_INI_MAX_LINE + 1])
{
    if (r->next == r->end || r->status != ATTN_OK)
        return 0;
    const char *start = r->next;
    const char *stop = memchr(start, '\n', (size_t)(r->end - start));
    r->next = stop ? stop + 1 : r->end;
    size_t n = (size_t)((stop ? stop : r->end) - start);
    r->line++;
    if (r->line == 1 && n >= 3 && memcmp(start, "\xEF\xBB\xBF", 3) == 0)
        start += 3, n -= 3;
    if (n && start[n - 1] == '\r')
        n--;
    if (n > ATTN_INI_MAX_LINE) {
        FAIL(r, "line of %zu bytes: at most %u", n, ATTN_INI_MAX_LINE);
        return 0;
    }
    if (!bytes_are_good(r, start, n))
        return 0;
    memcpy(line, start, n);
    line[n] = 0;
    return 1;
}

static void
take_section(struct reader *r, const char *line)
{
    const char *name = line + 1;
    const char *end = strchr(name, ']');
    if (!end) {
        FAIL(r, "section without ']': '%s'", line);
        return;
    }
    size_t n = (size_t)(end - name);
    const char *rest = skip_blanks(end + 1);
    if (*rest && (*rest != ';' || rest == end + 1))
        FAIL(r, "text after ']': '%s'", rest);
    else if (n == 0 || n > ATTN_INI_MAX_NAME)
        FAIL(r, "section name of %zu bytes: 1 to %u", n, ATTN_INI_MAX_NAME);
    else if (is_blank(name[0]) || is_blank(end[-1]) || memchr(name, ';', n) ||
             memchr(name, '[', n))
        FAIL(r, "bad section name '%.*s'", (int)n, name);
    if (r->status != ATTN_OK)
        return;
    memcpy(r->section, name, n);
    r->section[n] = 0;
    r->in_section = 1;
    r->status = r->sink->section(r->sink->arg, r->section, r->line, r->err);
}

static int
is_key_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' ||
           c == '/';
}

/* Only the shape of "key = value": inih does the splitting. */
static void
check_key(struct reader *r, const char *line)
{
    size_t n = 0;
    while (is_key_byte(line[n]))
        n++;
    if (*skip_blanks(line + n) != '=')
        FAIL(r, "'%s' is no 'key = value'", line);
    else if (n == 0 || n > ATTN_INI_MAX_NAME)
        FAIL(r, "key of %zu bytes: 1 to %u", n, ATTN_INI_MAX_NAME);
    else if (!r->in_section)
        FAIL(r, "key '%.*s' before any [section]", (int)n, line);
}

/* fgets for inih: only lines that passed. */
static char *
next_line(char *buf, int size, void *arg)
{
    struct reader *r = arg;
    char line[ATTN_INI_MAX_LINE + 1];
    if (!take_line(r, line))
        return NULL;
    const char *text = skip_blanks(line);
    if (*text && *text != ';' && *text != '#') {
        if (text > line)
            FAIL(r, "leading blank before '%s'", text);
        else if (*line == '[')
            take_section(r, line);
        else
            check_key(r, line);
    }
    if (r->status != ATTN_OK)
        return NULL;
    if (size < (int)sizeof line + 1) {
        FAIL(r, "inih reads %d bytes a line, %zu are needed", size,
             sizeof line + 1);
        return NULL;
    }
    snprintf(buf, (size_t)size, "%s\n", line);
    return buf;
}

static int
on_value(void *arg, const char *section, const char *key, const char *value)
{
    struct reader *r = arg;
    if (r->status != ATTN_OK)
        return 0;
    if (strcmp(section, r->section) != 0)
        FAIL(r, "section '%s' was read as '%s'", r->section, section);
    else
        r->status = r->sink->value(r->sink->arg, key, value, r->line, r->err);
    return r->status == ATTN_OK;
}

attn_status
attn_ini_read(const char *name, const char *text, size_t size,
              const attn_ini_sink *sink, attn_error *err)
{
    struct reader r = {.name = name,
                       .next = text,
                       .end = text + size,
                       .sink = sink,
                       .err = err};
    int bad_line = ini_parse_stream(next_line, &r, on_value, &r);
    if (r.status == ATTN_OK && bad_line > 0)
        return attn_ini_error(err, name, (uint32_t)bad_line,
                              "neither section nor 'key = value'");
    if (r.status == ATTN_OK && bad_line < 0)
        return attn_error_nomem(err, "config", 0);
    return r.status;
}
