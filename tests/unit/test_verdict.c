/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/verdict.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static attn_error err;
static char dir[64];
static attn_file file;

static void
make(void)
{
    strcpy(dir, "/tmp/attn-verdict-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("XDG_CACHE_HOME", dir, 1);
    file = (attn_file){
        .path = "/lib/x.so",
        .id = {
            .device = 1, .inode = 2, .size = 3, .mtime_s = 4, .mtime_ns = 5}};
}

static void
clean(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

/* The path of the one file in the cache. */
static const char *
stored(void)
{
    static char path[512];
    char sub[128];
    snprintf(sub, sizeof sub, "%s/attn", dir);
    DIR *d = opendir(sub);
    path[0] = 0;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        if (e->d_name[0] != '.') {
            ck_assert_int_eq(path[0], 0);
            snprintf(path, sizeof path, "%s/%s", sub, e->d_name);
        }
    if (d)
        closedir(d);
    return path;
}

static attn_verdict
find(void)
{
    attn_verdict v;
    attn_verdict_find(&file, &v);
    return v;
}

START_TEST(remembered_and_forgotten)
{
    make();
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    attn_verdict_store(&file, ATTN_VERDICT_HARMFUL, "crashed: Aborted");
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_HARMFUL);
    ck_assert_str_eq(find().reason, "crashed: Aborted");
    ck_assert_int_gt(find().when, 1600000000);
    attn_verdict_store(&file, ATTN_VERDICT_GOOD, "");
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_GOOD);
    ck_assert_good(attn_verdict_forget("/lib/y.so", &err), err);
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_GOOD);
    ck_assert_good(attn_verdict_forget("/lib/x.so", &err), err);
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    attn_verdict_store(&file, ATTN_VERDICT_GOOD, "");
    ck_assert_good(attn_verdict_forget(NULL, &err), err);
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    ck_assert_str_eq(stored(), "");
    clean();
}
END_TEST

START_TEST(another_version_is_unknown)
{
    make();
    attn_verdict_store(&file, ATTN_VERDICT_HARMFUL, "x");
    file.id.mtime_ns++;
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    file.id.mtime_ns--;
    file.id.size++;
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    file.id.size--;
    file.id.inode++;
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    file.id.inode--;
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_HARMFUL);
    clean();
}
END_TEST

START_TEST(damaged_or_foreign_files_are_unknown)
{
    make();
    attn_verdict_store(&file, ATTN_VERDICT_GOOD, "");
    const char *path = stored();
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(chmod(path, 0666), 0);
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    ck_assert_int_eq(chmod(path, 0600), 0);
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_GOOD);
    /* The time may be cut at any digit; before it nothing is known. */
    for (off_t cut = st.st_size - 13; cut-- > 0;) {
        ck_assert_int_eq(truncate(path, cut), 0);
        ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    }
    clean();
}
END_TEST

START_TEST(unwritable_cache_is_harmless)
{
    make();
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
    attn_verdict_store(&file, ATTN_VERDICT_GOOD, "");
    ck_assert_uint_eq(find().kind, ATTN_VERDICT_UNKNOWN);
    ck_assert_good(attn_verdict_forget(NULL, &err), err);
    ck_assert_good(attn_verdict_forget("/lib/x.so", &err), err);
    clean();
}
END_TEST

UNIT_MAIN("verdict", 20, remembered_and_forgotten, another_version_is_unknown,
          damaged_or_foreign_files_are_unknown, unwritable_cache_is_harmless)
