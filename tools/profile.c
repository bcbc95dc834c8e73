/* SPDX-License-Identifier: Apache-2.0 */
#include "profile.h"
#include "rows.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* "x.ini" has the drop-ins "x.d". */
static int
drop_in_path(const attn_config *config, const char *name, char **path)
{
    const char *main_file = attn_config_main_file(config);
    const size_t n = strlen(main_file);
    const size_t stem = n > 4 && !strcmp(main_file + n - 4, ".ini") ? n - 4 : n;
    if (!n)
        return cli_fail(CLI_USAGE, "no configuration file: --out is needed");
    if (asprintf(path, "%.*s.d", (int)stem, main_file) < 0) {
        *path = NULL;
        return cli_fail(CLI_INTERNAL, "out of memory");
    }
    char *dir = *path;
    if (mkdir(dir, 0777) && errno != EEXIST)
        return cli_fail(CLI_INTERNAL, "%s: %s", dir, strerror(errno));
    if (asprintf(path, "%s/%s.ini", dir, name) < 0)
        *path = NULL;
    free(dir);
    return *path ? CLI_OK : cli_fail(CLI_INTERNAL, "out of memory");
}

/* A name beside the file's that no reader of drop-ins takes. */
static int
open_temporary(profile *p)
{
    struct stat st;
    const mode_t mask = umask(0);
    umask(mask);
    if (!lstat(p->path, &st) && !S_ISREG(st.st_mode))
        return cli_fail(CLI_INTERNAL, "%s is no regular file", p->path);
    if (asprintf(&p->temporary, "%s.XXXXXX", p->path) < 0) {
        p->temporary = NULL;
        return cli_fail(CLI_INTERNAL, "out of memory");
    }
    const int fd = mkostemp(p->temporary, O_CLOEXEC);
    p->file = fd >= 0 && !fchmod(fd, 0666 & ~mask) ? fdopen(fd, "w") : NULL;
    if (p->file)
        return CLI_OK;
    const int rc = cli_fail(CLI_INTERNAL, "%s: %s", p->path, strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(p->temporary);
    }
    free(p->temporary);
    p->temporary = NULL;
    return rc;
}

int
profile_open(const attn_config *config, const char *out, const char *name,
             profile *p)
{
    *p = (profile){.name = name};
    int rc = CLI_OK;
    if (!out)
        rc = drop_in_path(config, name, &p->path);
    else if (!(p->path = strdup(out)))
        rc = cli_fail(CLI_INTERNAL, "out of memory");
    return rc == CLI_OK ? open_temporary(p) : rc;
}

static void
put_features(FILE *f, uint64_t features)
{
    static const uint64_t stated[] = {ATTN_F_PER_REQUEST_CAUSAL,
                                      ATTN_F_SINKS,
                                      ATTN_F_ALIBI,
                                      ATTN_F_PREFIX_RANGES,
                                      ATTN_F_CROSS,
                                      ATTN_F_KV_SCALES,
                                      ATTN_F_GATE,
                                      ATTN_F_DRAFTS,
                                      ATTN_F_CHECKPOINTS};
    const char *between = "";
    fputs("features = ", f);
    for (size_t i = 0; i < CLI_COUNT(stated); i++)
        if (features & stated[i]) {
            fprintf(f, "%s%s", between, attn_feature_str(stated[i]));
            between = ", ";
        }
    fputs(*between ? "\n" : "none\n", f);
}

/* Every field but the scale, which costs no time. */
static void
put_fields(FILE *f, const attn_layer *layer)
{
    const attn_family *family = attn_family_find(layer->family);
    char text[64];
    for (uint32_t i = 0; family && i < family->num_fields; i++) {
        const char *name = family->fields[i].name;
        if (strcmp(name, "scale") &&
            !attn_layer_get(layer, name, text, sizeof text))
            fprintf(f, "layer.%s = %s\n", name, text);
    }
}

static void
put_head(FILE *f)
{
    char date[32];
    const time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &tm));
    fprintf(f, "; Written by attnctl tune of libattn %s, %s.\n", attn_version(),
            date);
}

/* For people only: what a line of the configuration cannot hold is left out. */
static void
put_batch(FILE *f, const char *batch)
{
    const size_t most = BENCH_LINE_BYTES - strlen("batch = "),
                 n = strlen(batch);
    fprintf(f, "batch = %.*s%s\n", (int)(n > most ? most - 3 : n), batch,
            n > most ? "..." : "");
}

void
profile_section(profile *p, const profile_case *c)
{
    char machine[BENCH_MACHINE_BYTES];
    bench_processor(machine, sizeof machine);
    if (p->sections == 0)
        put_head(p->file);
    fprintf(p->file, "\n[profile %s.%u]\nfamily = %s\nphase = %s\n", p->name,
            ++p->sections, row_family(c->layer->head.family), c->phase);
    put_batch(p->file, c->batch);
    fprintf(p->file, "threads = %u\nmachine = %s\n", c->threads, machine);
    put_features(p->file, c->layer->head.features);
    put_fields(p->file, &c->layer->head);
}

void
profile_time(profile *p, const char *backend, double microseconds)
{
    fprintf(p->file, "time_us.%s = %.6g\n", backend, microseconds);
}

/* A file that cannot be read would take the whole configuration with it. */
static int
check_readable(const profile *p)
{
    attn_error err = CLI_ERROR_INIT;
    attn_config *config;
    if (attn_config_load(p->temporary, &config, &err))
        return cli_fail(CLI_FAILED,
                        "%s is not written, it could not be read: %s", p->path,
                        err.message);
    attn_config_free(config);
    return CLI_OK;
}

int
profile_keep(profile *p)
{
    int bad = ferror(p->file);
    bad |= fflush(p->file);
    bad |= fsync(fileno(p->file));
    bad |= fclose(p->file);
    p->file = NULL;
    if (!bad && check_readable(p) != CLI_OK)
        return CLI_FAILED;
    if (bad || rename(p->temporary, p->path))
        return cli_fail(CLI_INTERNAL, "%s: %s", p->path, strerror(errno));
    free(p->temporary);
    p->temporary = NULL;
    return CLI_OK;
}

void
profile_free(profile *p)
{
    if (p->file)
        fclose(p->file);
    if (p->temporary)
        unlink(p->temporary);
    free(p->temporary);
    free(p->path);
    *p = (profile){0};
}
