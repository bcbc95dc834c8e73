/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/registry.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <attn/base.h>

#include "alloc_fail.h"
#include "unit.h"

static attn_error err;
static char dir[64], hello[4200];

static void
make_dir(void)
{
    char command[8500];
    const char *top = getenv("top_builddir");
    strcpy(dir, "/tmp/attn-registry-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(hello, sizeof hello, "%s/attn_hello.so", dir);
    snprintf(command, sizeof command, "cp '%s/.libs/attn_hello.so' '%s'",
             top ? top : ".", dir);
    ck_assert_int_eq(system(command), 0);
    setenv("XDG_CACHE_HOME", dir, 1);
}

static void
copy_two_devices(void)
{
    char command[8500];
    const char *top = getenv("top_builddir");
    snprintf(command, sizeof command,
             "cp '%s/tests/unit/.libs/two_devices.so' '%s'", top ? top : ".",
             dir);
    ck_assert_int_eq(system(command), 0);
}

static void
remove_dir(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

/* An INI text with DIR for the test's directory. */
static attn_config *
configure(const char *text)
{
    char ini[4096];
    size_t used = 0;
    for (; *text; text++)
        if (strncmp(text, "DIR", 3) == 0) {
            used += (size_t)snprintf(ini + used, sizeof ini - used, "%s", dir);
            text += 2;
        } else {
            ini[used++] = *text;
        }
    attn_config *config = NULL;
    ck_assert_good(attn_config_parse("t.ini", ini, used, &config, &err), err);
    return config;
}

static attn_registry *
open_registry(const attn_registry_params *params)
{
    attn_registry *registry = NULL;
    ck_assert_good(attn_registry_open(params, &registry, &err), err);
    return registry;
}

START_TEST(nothing_configured)
{
    make_dir();
    attn_config *config = configure("[attn]\nplugin_path = DIR/none\n");
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    attn_registry *r = open_registry(&params);
    ck_assert_uint_eq(attn_registry_count(r), 0);
    ck_assert_ptr_null(attn_registry_at(r, 0));
    ck_assert_ptr_null(attn_registry_find(r, "hello"));
    ck_assert_ptr_eq(attn_registry_config(r), config);
    ck_assert_ptr_nonnull(attn_registry_executor(r));
    attn_registry_close(r);
    attn_registry_close(NULL);
    attn_config_free(config);
    remove_dir();
}
END_TEST

START_TEST(bad_parameters)
{
    attn_registry *r = NULL;
    const attn_registry_params old = {.struct_size = 8};
    ck_assert_error(attn_registry_open(&old, &r, &err), err, ATTN_E_ARG,
                    "struct_size 8: at least 48");
    ck_assert_error(attn_registry_open(NULL, &r, &err), err, ATTN_E_ARG,
                    "struct_size 0");
    ck_assert_ptr_null(r);
}
END_TEST

/* Configured rows in their order, then what lies in the path by name; lib*.so
 * without a note are no plugins. */
START_TEST(order_and_scan)
{
    char other[4300];
    make_dir();
    snprintf(other, sizeof other,
             "cd '%s' && cp attn_hello.so b_second.so && cp attn_hello.so "
             "a_first.so && cp /bin/sh libnone.so && echo y >notes.txt",
             dir);
    ck_assert_int_eq(system(other), 0);
    attn_config *config = configure("[attn]\nplugin_path = DIR/none:DIR\n"
                                    "[plugin zz]\nlibrary = attn_hello.so\n"
                                    "[plugin aa]\nlibrary = nosuch.so\n");
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    attn_registry *r = open_registry(&params);
    ck_assert_uint_eq(attn_registry_count(r), 4);
    const attn_entry *e[4];
    for (size_t i = 0; i < 4; i++)
        e[i] = attn_registry_at(r, i);
    ck_assert_str_eq(e[0]->section, "zz");
    ck_assert_str_eq(e[0]->name, "hello");
    ck_assert_str_eq(e[0]->version, "0.1.0");
    ck_assert_str_eq(e[0]->family, ATTN_FAMILY_FLASH);
    ck_assert_str_eq(e[0]->device, "cpu");
    ck_assert_str_eq(e[0]->reason, "");
    ck_assert_int_eq(e[0]->device_type, ATTN_DEVICE_CPU);
    ck_assert_str_eq(e[1]->section, "aa");
    ck_assert_str_eq(e[1]->name, "-");
    ck_assert_uint_eq(e[1]->state, ATTN_STATE_REFUSED);
    ck_assert_str_eq(e[2]->section, "-");
    ck_assert_ptr_nonnull(strstr(e[2]->file, "/a_first.so"));
    ck_assert_uint_eq(e[2]->state, ATTN_STATE_SHADOWED);
    ck_assert_ptr_nonnull(strstr(e[3]->file, "/b_second.so"));
    ck_assert_ptr_eq(attn_registry_find(r, "hello"), e[0]);
    attn_registry_close(r);
    attn_config_free(config);
    remove_dir();
}
END_TEST

START_TEST(priority_decides)
{
    char command[4300];
    make_dir();
    snprintf(command, sizeof command, "cp '%s' '%s/late.so'", hello, dir);
    ck_assert_int_eq(system(command), 0);
    attn_config *config =
        configure("[attn]\nplugin_path = DIR/none\nlog = error\n"
                  "[plugin early]\nlibrary = DIR/attn_hello.so\npriority = -5\n"
                  "[plugin late]\nlibrary = DIR/late.so\npriority = 7\n"
                  "[plugin again]\nlibrary = DIR/late.so\npriority = 9\n");
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    attn_registry *r = open_registry(&params);
    ck_assert_str_eq(attn_registry_find(r, "hello")->section, "again");
    ck_assert_int_eq(attn_registry_find(r, "hello")->priority, 9);
    ck_assert_ptr_nonnull(
        strstr(attn_registry_at(r, 0)->reason, "late.so (higher priority)"));
    ck_assert_ptr_nonnull(strstr(attn_registry_at(r, 1)->reason,
                                 "the same file as that of [plugin again]"));
    attn_registry_close(r);
    attn_config_free(config);
    remove_dir();
}
END_TEST

/* One byte of the file decides what a pin and a damaged copy do. */
START_TEST(pin_and_trust)
{
    char command[16384];
    make_dir();
    snprintf(command, sizeof command,
             "cp '%s' '%s/p.so' && chmod 0666 '%s/p.so' && printf "
             "'[attn]\nplugin_path = %s/none\ntrust = off\n[plugin p]\n"
             "library = %s/p.so\nsha256 = ' >'%s/t.ini' && sha256sum '%s' | "
             "cut -c1-64 | tr a-f A-F >>'%s/t.ini'",
             hello, dir, dir, dir, dir, dir, hello, dir);
    ck_assert_int_eq(system(command), 0);
    snprintf(command, sizeof command, "%s/t.ini", dir);
    attn_config *config = NULL;
    ck_assert_good(attn_config_load(command, &config, &err), err);
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    attn_registry *r = open_registry(&params);
    ck_assert_msg(attn_registry_find(r, "hello") != NULL, "%s",
                  attn_registry_at(r, 0)->reason);
    attn_registry_close(r);
    attn_config_free(config);
    remove_dir();
}
END_TEST

START_TEST(options_of_the_caller)
{
    make_dir();
    attn_registry *r = NULL;
    const attn_key_value options[] = {{"no_such", "1"}, {NULL, NULL}};
    attn_registry_params params = {.struct_size = sizeof params,
                                   .only_library = hello,
                                   .options = options};
    ck_assert_error(attn_registry_open(&params, &r, &err), err, ATTN_E_ARG,
                    "unknown option 'no_such' of plugin org.example.hello");
    params.options = options + 1;
    r = open_registry(&params);
    ck_assert_uint_eq(attn_registry_at(r, 0)->state, ATTN_STATE_READY);
    attn_registry_close(r);
    remove_dir();
}
END_TEST

/* Its row stays, with what is known of it. */
START_TEST(missing_library)
{
    make_dir();
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .only_library = "/no/such/file.so"};
    attn_registry *r = open_registry(&params);
    ck_assert_uint_eq(attn_registry_at(r, 0)->state, ATTN_STATE_REFUSED);
    ck_assert_str_eq(attn_registry_at(r, 0)->file, "/no/such/file.so");
    attn_ctx *ctx = NULL;
    ck_assert_error(
        attn_registry_context(r, attn_registry_at(r, 0), &ctx, &err), err,
        ATTN_E_ARG, "is refused: /no/such/file.so");
    attn_registry_close(r);
    remove_dir();
}
END_TEST

/* What is disabled is not missed. */
START_TEST(disabled_without_a_file)
{
    make_dir();
    attn_config *config =
        configure("[attn]\nplugin_path = DIR\n"
                  "[plugin a]\nlibrary = gone.so\nenabled = no\n");
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    attn_registry *r = open_registry(&params);
    ck_assert_uint_eq(attn_registry_at(r, 0)->state, ATTN_STATE_DISABLED);
    ck_assert_str_eq(attn_registry_at(r, 0)->reason,
                     "enabled = no in [plugin a]");
    attn_registry_close(r);
    attn_config_free(config);
    remove_dir();
}
END_TEST

/* That plugin alone, in a new directory. */
static attn_config *
take_two_devices(attn_registry_params *params)
{
    static char path[128];
    make_dir();
    copy_two_devices();
    snprintf(path, sizeof path, "%s/two_devices.so", dir);
    attn_config *config = configure("[attn]\nplugin_path = DIR/none\n");
    *params = (attn_registry_params){
        .struct_size = sizeof *params, .config = config, .only_library = path};
    return config;
}

/* A row and a context for each device of the backend's type. */
START_TEST(a_row_for_each_device)
{
    attn_ctx *ctx[2], *again;
    attn_registry_params params;
    attn_config *config = take_two_devices(&params);
    attn_registry *r = open_registry(&params);
    ck_assert_uint_eq(attn_registry_count(r), 2);
    for (uint32_t i = 0; i < 2; i++) {
        const attn_entry *e = attn_registry_at(r, i);
        ck_assert_msg(e->state == ATTN_STATE_READY, "%s", e->reason);
        ck_assert_str_eq(e->name, "mock.two");
        ck_assert_str_eq(e->device, i ? "mock two #1" : "mock one #0");
        ck_assert_str_eq(e->arch, "mock");
        ck_assert_int_eq(e->device_id, i ? 6 : 4);
        ck_assert_uint_eq(e->device_index, i);
        ck_assert_uint_eq(e->num_devices, 2);
        alloc_fail_start(0);
        const attn_status short_of = attn_registry_context(r, e, &again, &err);
        const size_t asked = alloc_fail_stop();
        ck_assert_int_eq(short_of, asked ? ATTN_E_NOMEM : ATTN_OK);
        ck_assert(i > 0 || asked > 0);
        ck_assert_good(attn_registry_context(r, e, &ctx[i], &err), err);
        ck_assert_int_eq(*(int32_t *)(void *)ctx[i], e->device_id);
        ck_assert_good(attn_registry_context(r, e, &again, &err), err);
        ck_assert_ptr_eq(again, ctx[i]);
    }
    ck_assert_ptr_eq(attn_registry_find(r, "mock.two"), attn_registry_at(r, 0));
    attn_registry_close(r);
    attn_config_free(config);
    remove_dir();
}
END_TEST

/* A device that is there and does not answer costs the others nothing. */
START_TEST(a_broken_device_is_left_out)
{
    attn_registry_params params;
    attn_config *config = take_two_devices(&params);
    for (int broken = 1; broken < 4; broken++) {
        char text[2] = {(char)('0' + broken), 0};
        setenv("TWO_DEVICES_BROKEN", text, 1);
        attn_registry *r = open_registry(&params);
        const attn_entry *e = attn_registry_at(r, 0);
        ck_assert_uint_eq(attn_registry_count(r), 1);
        if (broken < 3) {
            ck_assert_msg(e->state == ATTN_STATE_READY, "%s", e->reason);
            ck_assert_str_eq(e->device, broken == 1 ? "mock two" : "mock one");
            ck_assert_uint_eq(e->num_devices, 1);
        } else {
            ck_assert_uint_eq(e->state, ATTN_STATE_REFUSED);
            ck_assert_str_eq(
                e->reason,
                "device service: info: fell off the bus (device fault)");
        }
        attn_registry_close(r);
    }
    attn_config_free(config);
    remove_dir();
}
END_TEST

/* Each allocation of open fails once: it says so and leaves nothing behind
 * that disturbs the next open. */
START_TEST(allocation_failures)
{
    make_dir();
    copy_two_devices();
    attn_config *config =
        configure("[attn]\nplugin_path = DIR\nthreads = 2\nlog = error\n"
                  "[plugin a]\nlibrary = attn_hello.so\n"
                  "[plugin b]\nlibrary = DIR/attn_hello.so\nenabled = no\n"
                  "[plugin c]\nlibrary = gone.so\n"
                  "[plugin d]\nlibrary = two_devices.so\n");
    const attn_registry_params params = {.struct_size = sizeof params,
                                         .config = config};
    attn_registry_close(open_registry(&params));
    /* Check itself allocates: nothing of it in between. */
    attn_registry *counted = NULL;
    alloc_fail_start(ALLOC_FAIL_NEVER);
    attn_registry_open(&params, &counted, NULL);
    const size_t count = alloc_fail_stop();
    attn_registry_close(counted);
    ck_assert_uint_gt(count, 5);
    for (size_t i = 0; i < count; i++) {
        attn_registry *r = NULL;
        err = ATTN_ERROR_INIT;
        alloc_fail_start(i);
        const attn_status status = attn_registry_open(&params, &r, &err);
        alloc_fail_stop();
        ck_assert_msg(status == ATTN_E_NOMEM && r == NULL &&
                          err.status == ATTN_E_NOMEM,
                      "allocation %zu of %zu: status %d, %s", i, count, status,
                      err.message);
    }
    attn_registry *r = open_registry(&params);
    ck_assert_ptr_nonnull(attn_registry_find(r, "hello"));
    attn_registry_close(r);
    attn_config_free(config);
    remove_dir();
}
END_TEST

/* The same for a file that the process has never loaded: each attempt has a
 * copy of its own. The last has no allocation left that could fail. */
START_TEST(allocation_failures_of_a_first_load)
{
    char command[4400], ini[256];
    size_t seen = 0, i = 0;
    make_dir();
    for (; i == 0 || seen >= i; i++) {
        attn_registry *r = NULL;
        snprintf(command, sizeof command, "cp '%s' '%s/copy-%zu.so'", hello,
                 dir, i);
        ck_assert_int_eq(system(command), 0);
        snprintf(ini, sizeof ini,
                 "[attn]\nplugin_path = DIR/none\nprobe = never\ntrust = off\n"
                 "log = error\n[plugin a]\nlibrary = DIR/copy-%zu.so\n",
                 i);
        attn_config *config = configure(ini);
        const attn_registry_params params = {.struct_size = sizeof params,
                                             .config = config};
        err = ATTN_ERROR_INIT;
        alloc_fail_start(i);
        const attn_status status = attn_registry_open(&params, &r, &err);
        seen = alloc_fail_stop();
        ck_assert_msg(status == (seen > i ? ATTN_E_NOMEM : ATTN_OK),
                      "allocation %zu of %zu: status %d, %s", i, seen, status,
                      err.message);
        attn_registry_close(r);
        attn_config_free(config);
    }
    ck_assert_uint_gt(i, 12);
    remove_dir();
}
END_TEST

UNIT_MAIN("registry", 120, nothing_configured, bad_parameters, order_and_scan,
          priority_decides, pin_and_trust, options_of_the_caller,
          missing_library, disabled_without_a_file, a_row_for_each_device,
          a_broken_device_is_left_out, allocation_failures,
          allocation_failures_of_a_first_load)
