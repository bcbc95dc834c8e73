/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

#include "base/text.h"

#define NUM_SUBSYSTEMS 8
#define MAX_WORD 32

static const char *const levels[] = {"error", "warn", "info", "debug", "trace"};
static const char *const subsystems[NUM_SUBSYSTEMS] = {
    "base",   "batch",   "config", "plugin",
    "select", "runtime", "verify", "tools"};

/* The last entry is the general level, for subsystems without a name. */
static _Atomic int32_t shown[NUM_SUBSYSTEMS + 1] = {
    ATTN_LOG_WARN, ATTN_LOG_WARN, ATTN_LOG_WARN, ATTN_LOG_WARN, ATTN_LOG_WARN,
    ATTN_LOG_WARN, ATTN_LOG_WARN, ATTN_LOG_WARN, ATTN_LOG_WARN};

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static attn_log_sink current_sink;
static void *current_arg;

static int32_t
effective_level(int32_t level)
{
    return level < 0 ? 0 : level > ATTN_LOG_TRACE ? ATTN_LOG_WARN : level;
}

static int
subsystem_index(const char *name)
{
    int i = 0;
    while (i < NUM_SUBSYSTEMS && strcmp(subsystems[i], name) != 0)
        i++;
    return i;
}

static int
level_index(const char *name)
{
    for (int i = 0; i <= ATTN_LOG_TRACE; i++)
        if (strcmp(levels[i], name) == 0)
            return i;
    return -1;
}

const char *
attn_log_level_str(int32_t level)
{
    return levels[effective_level(level)];
}

int
attn_log_wants(int32_t level, const char *subsystem)
{
    int i = subsystem_index(subsystem);
    return effective_level(level) <=
           atomic_load_explicit(&shown[i], memory_order_relaxed);
}

void
attn_log_set_sink(attn_log_sink sink, void *arg)
{
    pthread_mutex_lock(&sink_lock);
    current_sink = sink;
    current_arg = arg;
    pthread_mutex_unlock(&sink_lock);
}

void
attn_log_write(int32_t level, const char *subsystem, const char *fmt, ...)
{
    if (!attn_log_wants(level, subsystem))
        return;
    char text[1001];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    pthread_mutex_lock(&sink_lock);
    attn_log_sink sink = current_sink;
    void *arg = current_arg;
    pthread_mutex_unlock(&sink_lock);
    if (sink)
        sink(arg, effective_level(level), subsystem, text);
    else
        fprintf(stderr, "attn: %s: %s: %s\n", attn_log_level_str(level),
                subsystem, text);
}

static attn_status
bad_word(const char *word, const char *const *known, size_t count,
         const char *what, attn_error *err)
{
    char hint[MAX_WORD + 32];
    attn_nearest nearest = {.text = word};
    for (size_t i = 0; i < count; i++)
        attn_nearest_offer(&nearest, known[i]);
    return attn_error_set(err, ATTN_E_ARG, "log", "unknown log %s '%s'%s", what,
                          word, attn_nearest_hint(&nearest, hint, sizeof hint));
}

static void
trim(char *word)
{
    size_t skip = strspn(word, " \t"), end = strlen(word);
    memmove(word, word + skip, end - skip + 1);
    end -= skip;
    while (end && (word[end - 1] == ' ' || word[end - 1] == '\t'))
        word[--end] = 0;
}

/* "warn" sets all, "plugin:debug" one. */
static attn_status
apply_item(char *item, int32_t level_of[NUM_SUBSYSTEMS + 1], attn_error *err)
{
    char *colon = strchr(item, ':');
    char *word = colon ? colon + 1 : item;
    if (colon)
        *colon = 0;
    trim(item);
    trim(word);
    int subsystem = colon ? subsystem_index(item) : NUM_SUBSYSTEMS;
    if (colon && subsystem == NUM_SUBSYSTEMS)
        return bad_word(item, subsystems, NUM_SUBSYSTEMS, "subsystem", err);
    int level = level_index(word);
    if (level < 0)
        return bad_word(word, levels, ATTN_LOG_TRACE + 1, "level", err);
    for (int i = 0; i <= NUM_SUBSYSTEMS; i++)
        if (!colon || i == subsystem)
            level_of[i] = level;
    return ATTN_OK;
}

/* Levels for a whole filter; nothing is applied. */
static attn_status
parse_spec(const char *spec, int32_t level_of[NUM_SUBSYSTEMS + 1],
           attn_error *err)
{
    for (int i = 0; i <= NUM_SUBSYSTEMS; i++)
        level_of[i] = ATTN_LOG_WARN;
    for (const char *p = spec; p;) {
        char item[2 * MAX_WORD];
        size_t n = strcspn(p, ",");
        if (n >= sizeof item)
            return attn_error_set(err, ATTN_E_ARG, "log",
                                  "log word of %zu bytes: at most %zu", n,
                                  sizeof item - 1);
        memcpy(item, p, n);
        item[n] = 0;
        attn_status s = apply_item(item, level_of, err);
        if (s != ATTN_OK)
            return s;
        p = p[n] ? p + n + 1 : NULL;
    }
    return ATTN_OK;
}

attn_status
attn_log_check(const char *spec, attn_error *err)
{
    int32_t level_of[NUM_SUBSYSTEMS + 1];
    return parse_spec(spec, level_of, err);
}

attn_status
attn_log_configure(const char *spec, attn_error *err)
{
    int32_t level_of[NUM_SUBSYSTEMS + 1];
    attn_status s = parse_spec(spec, level_of, err);
    for (int i = 0; s == ATTN_OK && i <= NUM_SUBSYSTEMS; i++)
        atomic_store_explicit(&shown[i], level_of[i], memory_order_relaxed);
    return s;
}
