/* SPDX-License-Identifier: Apache-2.0 */
/* The proof that the ladder can fail: each defect is found by its rung, with
 * a reason that says what is wrong, and without the defect all rungs pass. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <attn/verify.h>

/* Sanitizers bring an allocator of their own, which counts elsewhere. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_ALLOCATOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_ALLOCATOR 1
#endif
#endif

static const struct {
    const char *defect, *rung, *says;
} CASES[] = {
    {"none", NULL, NULL},
    {"writes_past", "memory", "past the end of 'out'"},
    {"writes_before", "memory", "before 'out'"},
    {"writes_table", "memory", "read-only 'block_table'"},
#ifdef OWN_ALLOCATOR
    {"reads_past", "memory", "none of the call's"},
#else
    {"reads_past", "memory", "wild address"},
#endif
    {"workspace", "memory", "past the end of 'host workspace'"},
    {"keeps_sinks", "claims", "'sinks' after the call that lent it"},
#ifndef OWN_ALLOCATOR
    {"allocates", "memory", "malloc"},
    {"leaks", "leaks", "bytes leaked"},
#endif
    {"reads_tail", "numerics", "NaN"},
    {"uninitialised", "numerics", "NaN"},
    {"no_mask", "numerics", "error"},
    {"off_by_one", "numerics", "error"},
    {"rounded", "numerics", "error"},
    {"wrong_lse", "claims", "lse"},
    {"sink_lost", "claims", "sinks"},
    {"skips_update", "numerics", "update_cache"},
    {"updates_skipped", "numerics", "update_cache"},
    {"leaks_file", "leaks", "files left open"},
    {"shared_scratch", "threads", "beside another builder"},
    {"random", "threads", "beside another builder"},
    {"mates", "invariance", "without its batch mates"},
    {"refuses", "claims", "head_dim 64"},
    {"no_reason", "check", "reason ''"},
    {"accepts", "check", "not 5 after all"},
    {"hangs", "memory", "still running"},
    {"exits", "numerics", "ended the process"},
};

typedef struct seen {
    uint32_t failed;
    char rung[32], reason[600], reproduce[600];
    uint64_t seed;
} seen;

static void
on_rung(void *arg, const attn_rung_result *r)
{
    seen *s = arg;
    if (r->state != ATTN_RUNG_FAIL || s->failed++)
        return;
    snprintf(s->rung, sizeof s->rung, "%s", r->rung);
    snprintf(s->reason, sizeof s->reason, "%s", r->reason);
    snprintf(s->reproduce, sizeof s->reproduce, "%s", r->reproduce);
    s->seed = r->seed;
}

static int
climb(const char *file, const attn_config *config, const char *defect,
      const char *rung, seen *s)
{
    const attn_key_value options[] = {{"defect", defect}, {NULL, NULL}};
    attn_error err = {.struct_size = sizeof err};
    attn_ladder_summary sum = {.struct_size = sizeof sum};
    const attn_ladder_events events = {.arg = s, .rung = on_rung};
    const attn_ladder_params params = {.struct_size = sizeof params,
                                       .quick = 1,
                                       .config = config,
                                       .only_library = file,
                                       .backend = "liar",
                                       .rung = rung,
                                       .options = options};
    memset(s, 0, sizeof *s);
    if (attn_ladder_run(&params, &events, &sum, &err)) {
        printf("FAIL %s: %s\n", defect, err.message);
        return 0;
    }
    return sum.passed + sum.failed > 0;
}

/* What must be said of one defect; the plain truth where there is none. */
static int
judge(size_t i, const seen *s)
{
    const char *rung = CASES[i].rung, *says = CASES[i].says;
    if (!rung) {
        if (s->failed)
            printf("FAIL %s: rung %s: %s\n", CASES[i].defect, s->rung,
                   s->reason);
        return !s->failed;
    }
    if (!s->failed || strcmp(s->rung, rung) != 0 || !strstr(s->reason, says)) {
        printf("FAIL %s: %s says '%s', not '%s'\n", CASES[i].defect, rung,
               s->failed ? s->reason : "nothing", says);
        return 0;
    }
    if (strncmp(s->reproduce, "attnctl test ", 13) != 0) {
        printf("FAIL %s: no command to reproduce\n", CASES[i].defect);
        return 0;
    }
    return 1;
}

/* An application built before `device` has something else behind its struct. */
static int
old_caller(const char *file, const attn_config *config)
{
    attn_error err = {.struct_size = sizeof err};
    attn_ladder_summary sum = {.struct_size = sizeof sum};
    attn_ladder_params params = {.struct_size =
                                     offsetof(attn_ladder_params, device),
                                 .quick = 1,
                                 .config = config,
                                 .only_library = file,
                                 .backend = "liar",
                                 .rung = "file",
                                 .device = "not of this struct"};
    if (attn_ladder_run(&params, NULL, &sum, &err) || sum.passed != 1) {
        printf("FAIL an older caller: %s\n", err.message);
        return 0;
    }
    struct {
        attn_ladder_summary sum;
        uint64_t later;
    } more = {.sum = {.struct_size = sizeof more}, .later = 7};
    if (attn_ladder_run(&params, NULL, &more.sum, &err) || more.later != 7 ||
        more.sum.struct_size != sizeof sum) {
        printf("FAIL a summary of later: %s\n", err.message);
        return 0;
    }
    sum.struct_size -= 4;
    if (attn_ladder_run(&params, NULL, &sum, &err) != ATTN_E_ARG ||
        !strstr(err.message, "struct_size 28: at least 32")) {
        printf("FAIL a summary too short: %s\n", err.message);
        return 0;
    }
    sum.struct_size = sizeof sum;
    params.struct_size -= 8;
    return attn_ladder_run(&params, NULL, &sum, &err) == ATTN_E_ARG &&
           strstr(err.message, "struct_size 64: at least 72") != NULL;
}

int
main(int argc, char **argv)
{
    const char *build = getenv("top_builddir");
    attn_error err = {.struct_size = sizeof err};
    attn_config *config = NULL;
    char file[1024];
    uint32_t failed = 0, ran = 0;
    snprintf(file, sizeof file, "%s/tests/verify/.libs/attn_liar.so",
             build ? build : ".");
    if (access(file, R_OK)) {
        printf("%s is not built\n", file);
        return 77;
    }
    const char text[] = "[attn]\ntrust = off\nprobe = never\n";
    if (attn_config_parse("test", text, sizeof text - 1, &config, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    failed += !old_caller(file, config);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        seen s;
        if (argc > 1 && strcmp(argv[1], CASES[i].defect) != 0)
            continue;
        const int ok =
            climb(file, config, CASES[i].defect, CASES[i].rung, &s) &&
            judge(i, &s);
        printf("%s %s: %s\n", ok ? "ok" : "FAIL", CASES[i].defect,
               s.failed ? s.reason : "all rungs pass");
        fflush(stdout);
        failed += !ok;
        ran++;
    }
    attn_config_free(config);
    printf("%u defects, %u not found as they must be\n", ran, failed);
    return failed != 0;
}
