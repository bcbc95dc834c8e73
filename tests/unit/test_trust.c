/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/trust.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static attn_error err;
static char dir[64], file[96];

static void
make(void)
{
    strcpy(dir, "/tmp/attn-trust-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/x.so", dir);
    const int fd = open(file, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void
clean(void)
{
    unlink(file);
    rmdir(dir);
}

START_TEST(own_file_below_tmp)
{
    make();
    ck_assert_good(attn_trust_check(file, &err), err);
    ck_assert_error(attn_trust_check("x.so", &err), err, ATTN_E_ARG,
                    "not an absolute path");
    ck_assert_error(attn_trust_check("/no/such.so", &err), err, ATTN_E_REFUSED,
                    "cannot examine /no: No such");
    clean();
}
END_TEST

START_TEST(writable_by_others)
{
    make();
    chmod(file, 0602);
    ck_assert_error(attn_trust_check(file, &err), err, ATTN_E_REFUSED,
                    "x.so is writable by everyone (mode 0602)");
    chmod(file, 0600);
    chmod(dir, 0703);
    ck_assert_error(attn_trust_check(file, &err), err, ATTN_E_REFUSED,
                    "is writable by everyone (mode 0703)");
    chmod(dir, 01777);
    ck_assert_good(attn_trust_check(file, &err), err);
    clean();
}
END_TEST

/* Giving files away takes root; the fork of each test keeps it harmless. */
START_TEST(foreign_owner_and_group)
{
    make();
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(file, 12345, 0), 0);
        ck_assert_error(attn_trust_check(file, &err), err, ATTN_E_REFUSED,
                        "belongs to user 12345, neither root nor user 0");
        ck_assert_int_eq(chown(file, 0, 12345), 0);
        chmod(file, 0660);
        ck_assert_error(attn_trust_check(file, &err), err, ATTN_E_REFUSED,
                        "is writable by group 12345 (mode 0660)");
        ck_assert_int_eq(chown(file, 12345, 12345), 0);
        ck_assert_int_eq(chown(dir, 12345, 12345), 0);
        ck_assert_int_eq(seteuid(12345), 0);
        ck_assert_good(attn_trust_check(file, &err), err);
        ck_assert_int_eq(seteuid(0), 0);
    } else {
        chmod(file, 0660);
        const attn_status status = attn_trust_check(file, &err);
        ck_assert_int_eq(status,
                         getegid() == geteuid() ? ATTN_OK : ATTN_E_REFUSED);
    }
    clean();
}
END_TEST

START_TEST(links_are_seen)
{
    make();
    unlink(file);
    ck_assert_int_eq(symlink("/etc/passwd", file), 0);
    ck_assert_error(attn_trust_check(file, &err), err, ATTN_E_REFUSED,
                    "became a symbolic link");
    clean();
}
END_TEST

UNIT_MAIN("trust", 10, own_file_below_tmp, writable_by_others,
          foreign_owner_and_group, links_are_seen)
