/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int progress_shown;

static void
say(const char *kind, const char *format, va_list ap)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    cli_progress(NULL);
    fprintf(stderr, "attnctl: %s%s\n", kind, text);
}

int
cli_fail(int code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    say("", format, ap);
    va_end(ap);
    return code;
}

void
cli_warn(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    say("warning: ", format, ap);
    va_end(ap);
}

int
cli_exit_code(attn_status status)
{
    switch (status) {
    case ATTN_OK:
        return CLI_OK;
    case ATTN_E_ARG:
        return CLI_USAGE;
    case ATTN_E_CONFIG:
    case ATTN_E_FORMAT:
    case ATTN_E_IO:
        return CLI_CONFIG;
    case ATTN_E_UNSUPPORTED:
    case ATTN_E_NOT_FOUND:
        return CLI_UNUSABLE;
    case ATTN_E_NO_DEVICE:
        return CLI_SKIPPED;
    case ATTN_E_REFUSED:
    case ATTN_E_VERSION:
        return CLI_FAILED;
    default:
        return CLI_INTERNAL;
    }
}

int
cli_fail_error(const attn_error *err)
{
    const char *text =
        err->message[0] ? err->message : attn_status_str(err->status);
    /* A configuration error starts with its file and line. */
    if (err->where[0] && err->status != ATTN_E_CONFIG &&
        strncmp(text, err->where, strlen(err->where)))
        return cli_fail(cli_exit_code(err->status), "%s: %s", err->where, text);
    return cli_fail(cli_exit_code(err->status), "%s", text);
}

void
cli_progress(const char *format, ...)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = format != NULL;
    if (format) {
        va_list ap;
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
    }
    fflush(stderr);
}

const char *
cli_get(const cli_args *args, const char *name)
{
    for (size_t i = args->num_options; i-- > 0;)
        if (!strcmp(args->options[i].name, name))
            return args->options[i].value;
    return NULL;
}

int
cli_has(const cli_args *args, const char *name)
{
    return cli_get(args, name) != NULL;
}

size_t
cli_count(const cli_args *args, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < args->num_options; i++)
        n += !strcmp(args->options[i].name, name);
    return n;
}

const char *
cli_nth(const cli_args *args, const char *name, size_t index)
{
    for (size_t i = 0; i < args->num_options; i++)
        if (!strcmp(args->options[i].name, name) && index-- == 0)
            return args->options[i].value;
    return NULL;
}

int
cli_parse_u64(const char *what, const char *text, uint64_t lo, uint64_t hi,
              uint64_t *value)
{
    char *end;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end)
        return cli_fail(CLI_USAGE, "%s: '%s' is no whole number", what, text);
    if (errno == ERANGE || n < lo || n > hi)
        return cli_fail(CLI_USAGE, "%s: %s is outside %llu to %llu", what, text,
                        (unsigned long long)lo, (unsigned long long)hi);
    *value = n;
    return CLI_OK;
}

int
cli_get_u64(const cli_args *args, const char *name, uint64_t lo, uint64_t hi,
            uint64_t *value)
{
    char what[64];
    const char *text = cli_get(args, name);
    if (!text)
        return CLI_OK;
    snprintf(what, sizeof what, "--%s", name);
    return cli_parse_u64(what, text, lo, hi, value);
}

int
cli_get_double(const cli_args *args, const char *name, double lo, double hi,
               double *value)
{
    char *end;
    const char *text = cli_get(args, name);
    if (!text)
        return CLI_OK;
    const double x = strtod(text, &end);
    if (end == text || *end)
        return cli_fail(CLI_USAGE, "--%s: '%s' is no number", name, text);
    if (!(x >= lo && x <= hi))
        return cli_fail(CLI_USAGE, "--%s: %s is outside %g to %g", name, text,
                        lo, hi);
    *value = x;
    return CLI_OK;
}

int
cli_split(const char *what, const char *text, char ***parts, size_t *count)
{
    size_t n = 1;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    char **list = malloc(n * sizeof *list + strlen(text) + 1);
    if (!list)
        return cli_fail(CLI_INTERNAL, "out of memory");
    char *copy = strcpy((char *)(list + n), text);
    for (size_t i = 0; i < n; i++) {
        list[i] = copy;
        copy = strchrnul(copy, ',');
        if (copy == list[i]) {
            free(list);
            return cli_fail(CLI_USAGE, "%s: '%s' has an empty part", what,
                            text);
        }
        *copy++ = 0;
    }
    *parts = list;
    *count = n;
    return CLI_OK;
}

/* Edit distance of short words; both are cut at 31 bytes. */
static size_t
distance(const char *a, const char *b)
{
    size_t row[32];
    const size_t m = strnlen(a, 31), n = strnlen(b, 31);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t swap = diagonal + (a[i - 1] != b[j - 1]);
            const size_t step = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = swap < step ? swap : step;
        }
    }
    return row[n];
}

const char *
cli_nearest(const char *word, const char *(*at)(size_t, void *), void *arg,
            size_t count)
{
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        const char *name = at(i, arg);
        const size_t d = distance(word, name);
        if (d < least) {
            least = d;
            best = name;
        }
    }
    return best;
}
