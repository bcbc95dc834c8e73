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

/* A new file beside the profile's that no reader of drop-ins takes. Its
 * descriptor and *name; -1 after the message. */
static int
make_temporary(const profile *p, char **name)
{
    struct stat st;
    const mode_t mask = umask(0);
    umask(mask);
    *name = NULL;
    if (!lstat(p->path, &st) && !S_ISREG(st.st_mode)) {
        cli_fail(CLI_INTERNAL, "%s is no regular file", p->path);
        return -1;
    }
    if (asprintf(name, "%s.XXXXXX", p->path) < 0) {
        *name = NULL;
        cli_fail(CLI_INTERNAL, "out of memory");
        return -1;
    }
    const int fd = mkostemp(*name, O_CLOEXEC);
    if (fd >= 0 && !fchmod(fd, 0666 & ~mask))
        return fd;
    cli_fail(CLI_INTERNAL, "%s: %s", p->path, strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(*name);
    }
    free(*name);
    *name = NULL;
    return -1;
}

/* That it can be made is found out before the measuring, but it is made after:
 * who breaks off leaves nothing behind. */
static int
open_text(profile *p)
{
    char *name;
    const int fd = make_temporary(p, &name);
    if (fd < 0)
        return CLI_INTERNAL;
    close(fd);
    unlink(name);
    free(name);
    p->file = open_memstream(&p->text, &p->size);
    return p->file ? CLI_OK : cli_fail(CLI_INTERNAL, "out of memory");
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
    return rc == CLI_OK ? open_text(p) : rc;
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

/* Every field but the scale, which costs no time, and pages that each backend
 * chose for itself. */
static void
put_fields(FILE *f, const attn_layer *layer, int any_pages)
{
    const attn_family *family = attn_family_find(layer->family);
    char text[64];
    for (uint32_t i = 0; family && i < family->num_fields; i++) {
        const char *name = family->fields[i].name;
        if (any_pages && !strcmp(name, "block_size"))
            continue;
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
    put_fields(p->file, &c->layer->head, c->any_pages);
}

void
profile_time(profile *p, const char *backend, double microseconds)
{
    fprintf(p->file, "time_us.%s = %.6g\n", backend, microseconds);
}

/* A file that cannot be read would take the whole configuration with it. */
static int
check_readable(const profile *p, const char *file)
{
    attn_error err = CLI_ERROR_INIT;
    attn_config *config;
    if (attn_config_load(file, &config, &err))
        return cli_fail(CLI_FAILED,
                        "%s is not written, it could not be read: %s", p->path,
                        err.message);
    attn_config_free(config);
    return CLI_OK;
}

static int
write_text(const profile *p, int fd)
{
    FILE *f = fdopen(fd, "w");
    if (!f) {
        close(fd);
        return -1;
    }
    int bad = fwrite(p->text, 1, p->size, f) != p->size;
    bad |= fflush(f);
    bad |= fsync(fd);
    return fclose(f) | bad;
}

int
profile_keep(profile *p)
{
    char *name;
    const int lost = fclose(p->file);
    p->file = NULL;
    if (lost)
        return cli_fail(CLI_INTERNAL, "out of memory");
    const int fd = make_temporary(p, &name);
    if (fd < 0)
        return CLI_INTERNAL;
    int rc = CLI_OK;
    if (write_text(p, fd))
        rc = cli_fail(CLI_INTERNAL, "%s: %s", p->path, strerror(errno));
    if (rc == CLI_OK)
        rc = check_readable(p, name);
    if (rc == CLI_OK && rename(name, p->path))
        rc = cli_fail(CLI_INTERNAL, "%s: %s", p->path, strerror(errno));
    if (rc != CLI_OK)
        unlink(name);
    free(name);
    return rc;
}

void
profile_free(profile *p)
{
    if (p->file)
        fclose(p->file);
    free(p->text);
    free(p->path);
    *p = (profile){0};
}
