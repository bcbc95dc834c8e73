/* SPDX-License-Identifier: Apache-2.0 */
/* engine - a small inference engine whose attention is all libattn's.
 *
 * It decodes random models under random schedules and holds every logit
 * against a dense computation of the same model. doc/engine.md walks
 * through it. */
#include "sched.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    const char *model;  /* NULL: all in turn */
    const char *config; /* NULL: $ATTN_CONFIG, the build tree's, the default */
    uint32_t schedules, only;
    uint64_t seed;
    enum fault fault;
    int has_only;
};

static void
usage(FILE *out)
{
    fputs("usage: engine [--verify N] [--seed S] [--model NAME] [--only K]\n"
          "              [--inject FAULT] [--config FILE] [--list]\n"
          "  --verify N   run N random schedules (default 20)\n"
          "  --only K     run schedule K of that seed alone\n"
          "  --inject F   make a mistake on purpose: the run must fail\n"
          "  --list       print the names of models and faults\n"
          "exit: 0 all equal, 1 a difference, 2 usage, 4 no backend\n",
          out);
}

static void
list(void)
{
    for (size_t i = 0; shape_at(i); i++)
        printf("model %s\n", shape_at(i)->name);
    for (int i = 1; i < NUM_FAULTS; i++)
        printf("fault %s\n", fault_name((enum fault)i));
}

/* -1: go on; else the exit status. */
static int
parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"verify", 1, NULL, 'v'}, {"seed", 1, NULL, 's'},
        {"model", 1, NULL, 'm'},  {"only", 1, NULL, 'o'},
        {"inject", 1, NULL, 'i'}, {"config", 1, NULL, 'c'},
        {"list", 0, NULL, 'l'},   {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        switch (c) {
        case 'v':
            o->schedules = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 's':
            o->seed = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            o->only = (uint32_t)strtoul(optarg, NULL, 10);
            o->has_only = 1;
            break;
        case 'm':
            o->model = optarg;
            break;
        case 'c':
            o->config = optarg;
            break;
        case 'i':
            o->fault = fault_find(optarg);
            break;
        case 'l':
            list();
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    if (o->fault == NUM_FAULTS || (o->model && !shape_find(o->model))) {
        fputs("engine: unknown model or fault: see --list\n", stderr);
        return 2;
    }
    return -1;
}

/* The build tree's attn.ini, three folders up at most, as attnctl does. */
static const char *
build_config(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 16);
    path[n > 0 ? n : 0] = 0;
    for (int up = 0; up < 4; up++) {
        char *slash = strrchr(path, '/');
        if (!slash)
            return NULL;
        strcpy(slash, "/attn.ini");
        if (!access(path, R_OK))
            return path;
        *slash = 0;
    }
    return NULL;
}

/* ------------------------------------------------------------ the schedules */

static const char *const names[NUM_SHARES] = {"metadata", "cache update",
                                              "attention", "rest"};

static void
make_plan(uint64_t seed, const struct shape *shape, struct plan *p)
{
    uint64_t s = seed;
    int recurrent = 0;
    for (uint32_t i = 0; i < shape->num_layers; i++)
        recurrent |= shape->kinds[i] == KIND_MAMBA;
    *p = (struct plan){.seed = random_next(&s)};
    p->num_requests = random_range(&s, 1, MAX_REQS);
    p->max_running = random_range(&s, 1, p->num_requests);
    p->chunk = random_range(&s, 0, 3) ? random_range(&s, 1, 40) : MAX_LEN;
    p->budget =
        random_range(&s, 0, 1) ? random_range(&s, 16, 100) : MAX_LEN * MAX_REQS;
    p->microbatches = random_range(&s, 1, MAX_PARTS);
    p->max_drafts =
        random_range(&s, 0, 1) ? random_range(&s, 1, MAX_DRAFTS) : 0;
    p->preempt = random_range(&s, 0, 1) ? random_range(&s, 0, 25) : 0;
    p->share = random_range(&s, 0, 1);
    p->local_mode = random_range(&s, 0, 2) ? LOCAL_VIRTUAL : LOCAL_MASK;
    p->spare = random_range(&s, 0, 6) * 100;
    for (int kind = 0; kind < NUM_KINDS; kind++)
        p->block_size[kind] = 1u << random_range(&s, 0, 4);
    /* A request with drafts cannot be cut: its states stand in columns. */
    if (recurrent && p->max_drafts)
        p->microbatches = 1;
}

struct run {
    const struct options *options;
    attn_registry *registry;
    struct tally tally;
    double seconds[NUM_SHARES];
};

static int
run_schedule(struct run *run, const struct scripts *scripts,
             const struct model *draft, uint32_t index)
{
    const struct options *o = run->options;
    const char *name = scripts->model->shape.name;
    struct plan plan;
    char text[600];
    make_plan(o->seed * 1000003u + index, &scripts->model->shape, &plan);
    if (!sched_run(&plan, scripts, draft, run->registry, o->fault, &run->tally,
                   run->seconds, text, sizeof text))
        return 0;
    printf("schedule %u of model %s differs: %s\n", index, name, text);
    printf("  requests %u, running %u, chunk %u, budget %u, microbatches %u, "
           "drafts %u, preempt %u%%, sharing %u, local %s\n",
           plan.num_requests, plan.max_running, plan.chunk, plan.budget,
           plan.microbatches, plan.max_drafts, plan.preempt, plan.share,
           plan.local_mode == LOCAL_MASK ? "mask" : "virtual");
    printf("reproduce: engine --model %s --seed %llu --only %u%s%s\n", name,
           (unsigned long long)o->seed, index, o->fault ? " --inject " : "",
           o->fault ? fault_name(o->fault) : "");
    return 1;
}

static int
run_model(struct run *run, const struct shape *shape, uint32_t from,
          uint32_t step)
{
    const struct options *o = run->options;
    struct shape draft_shape = *shape_find("llama");
    struct scripts scripts = {0};
    draft_shape.num_layers = 1;
    struct model *model = model_create(shape, o->seed);
    struct model *draft = model_create(&draft_shape, o->seed);
    int rc = !model || !draft || scripts_create(model, 24, o->seed, &scripts);
    for (uint32_t i = from; !rc && i < o->schedules; i += step)
        if (!o->has_only || i == o->only)
            rc = run_schedule(run, &scripts, draft, i);
    scripts_destroy(&scripts);
    model_free(model);
    model_free(draft);
    return rc;
}

static int
run_all(struct run *run)
{
    const struct options *o = run->options;
    uint32_t count = 0;
    int rc = 0;
    if (o->model)
        return run_model(run, shape_find(o->model), 0, 1);
    while (shape_at(count))
        count++;
    for (uint32_t i = 0; i < count && !rc; i++)
        rc = run_model(run, shape_at(i), i, count);
    return rc;
}

static void
report(const struct run *run)
{
    const struct tally *t = &run->tally;
    double all = 0;
    for (int i = 0; i < NUM_SHARES; i++)
        all += run->seconds[i];
    printf("%llu rows equal, worst error %.2g of max|logit|, %llu ties of %llu "
           "tokens\n",
           (unsigned long long)t->rows, t->worst, (unsigned long long)t->ties,
           (unsigned long long)t->tokens);
    printf("drafts: %llu tried, %llu accepted; %llu preemptions, %llu shared "
           "tokens, %llu chunks, %llu microbatches\n",
           (unsigned long long)t->drafted, (unsigned long long)t->accepted,
           (unsigned long long)t->preempted,
           (unsigned long long)t->shared_tokens, (unsigned long long)t->chunks,
           (unsigned long long)t->microbatches);
    printf("%.0f tokens/s;", (double)t->rows / all);
    for (int i = 0; i < NUM_SHARES; i++)
        printf(" %s %.0f%%%s", names[i], 100 * run->seconds[i] / all,
               i + 1 < NUM_SHARES ? "," : "\n");
}

/* A tie is rounding; more than one in a thousand is not. */
static int
too_many_ties(const struct tally *t)
{
    if (t->ties * 1000 <= t->tokens)
        return 0;
    printf("%llu ties of %llu tokens: more than 0.1 %%\n",
           (unsigned long long)t->ties, (unsigned long long)t->tokens);
    return 1;
}

int
main(int argc, char **argv)
{
    struct options o = {.schedules = 20, .seed = 1};
    struct run run = {.options = &o};
    attn_error err = {.struct_size = sizeof err};
    attn_config *config = NULL;
    char path[4096];
    int rc = parse(argc, argv, &o);
    if (rc >= 0)
        return rc;
    if (o.has_only && o.only >= o.schedules)
        o.schedules = o.only + 1;
    if (!o.config && !getenv("ATTN_CONFIG"))
        o.config = build_config(path, sizeof path);
    attn_registry_params params = {.struct_size = sizeof params};
    if (!attn_config_load(o.config, &config, &err)) {
        params.config = config;
        attn_registry_open(&params, &run.registry, &err);
    }
    if (!run.registry) {
        fprintf(stderr, "engine: %s\n", err.message);
        attn_config_free(config);
        return 4;
    }
    rc = run_all(&run);
    if (!rc) {
        report(&run);
        rc = too_many_ties(&run.tally);
    }
    attn_registry_close(run.registry);
    attn_config_free(config);
    return rc;
}
