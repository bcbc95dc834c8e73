/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/config.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc_fail.h"
#include "unit.h"

static attn_error err;

static attn_status
parse(const char *text, attn_config **config)
{
    return attn_config_parse("t.ini", text, strlen(text), config, &err);
}

static void
refuse(const char *text, const char *message)
{
    attn_config *c = NULL;
    ck_assert_error(parse(text, &c), err, ATTN_E_CONFIG, message);
    ck_assert_ptr_null(c);
}

static const attn_config_value *
find(const attn_config *c, const char *section, const char *key)
{
    for (size_t i = 0; i < attn_config_count(c); i++) {
        const attn_config_value *v = attn_config_at(c, i);
        if (strcmp(v->section, section) == 0 && strcmp(v->key, key) == 0)
            return v;
    }
    return NULL;
}

static const char good[] = "; a comment\n"
                           "[attn]\r\n"
                           "log = warn, plugin:debug   ; inline\n"
                           "   ; an indented comment\n"
                           "\n"
                           "[select layers 0-3]\n"
                           "flash = flash.cpu\n"
                           "[plugin  flash_cpu]\n"
                           "library=attn_flash_cpu.so\n"
                           "priority = -5\n"
                           "option.isa = avx2\n"
                           "option.path = a;b\n"
                           "[select] ; the rest\n"
                           "flash.decode = flash.cuda , flash.cpu\n"
                           "com.acme.op.x/1.decode = acme.x";

START_TEST(values_with_origins)
{
    attn_config *c;
    ck_assert_good(parse(good, &c), err);
    ck_assert_str_eq(attn_config_get(c, "attn", "log"), "warn, plugin:debug");
    ck_assert_str_eq(attn_config_get(c, "attn", "trust"), "strict");
    ck_assert_str_eq(attn_config_get(c, "plugin flash_cpu", "option.path"),
                     "a;b");
    ck_assert_str_eq(attn_config_get(c, "plugin flash_cpu", "enabled"), "auto");
    ck_assert_str_eq(attn_config_get(c, "select layers 0-3", "flash"),
                     "flash.cpu");
    ck_assert_ptr_null(attn_config_get(c, "select", "flash.prefill"));
    ck_assert_str_eq(attn_config_get(c, "select", "com.acme.op.x/1.decode"),
                     "acme.x");
    const attn_config_value *v = find(c, "plugin flash_cpu", "priority");
    ck_assert_str_eq(v->value, "-5");
    ck_assert_str_eq(v->origin, "t.ini");
    ck_assert_uint_eq(v->line, 10);
    ck_assert_ptr_nonnull(strstr(v->help, "rank"));
    v = find(c, "attn", "probe");
    ck_assert_str_eq(v->origin, "default");
    ck_assert_uint_eq(v->line, 0);
    attn_config_free(c);
}
END_TEST

START_TEST(order_is_stable)
{
    attn_config *c;
    ck_assert_good(parse(good, &c), err);
    ck_assert_str_eq(attn_config_at(c, 0)->key, "plugin_path");
    size_t n = attn_config_count(c);
    ck_assert_str_eq(attn_config_at(c, n - 1)->section, "select layers 0-3");
    ck_assert_ptr_null(attn_config_at(c, n));
    for (size_t i = 0; i < n; i++)
        ck_assert_ptr_nonnull(attn_config_at(c, i)->help);
    attn_config_free(c);
}
END_TEST

START_TEST(unknown_names_get_the_nearest)
{
    refuse("[plugin x]\nlibrary = a.so\npriorty = 3\n",
           "t.ini:3: unknown key 'priorty' in [plugin x]: did you mean "
           "'priority'?");
    refuse("[selct]\n",
           "t.ini:1: unknown section [selct]: did you mean 'select'?");
    refuse("[select layer 0-3]\n",
           "unknown section [select layer 0-3]: did you mean 'select layers "
           "A-B'?");
    refuse("[attn]\ncolour = red\n", "t.ini:2: unknown key 'colour' in [attn]");
    refuse("[select]\nflsh.decode = auto\n",
           "unknown key 'flsh.decode' in [select]: did you mean "
           "'flash.decode'?");
    refuse("[plugin x]\nlibrary = a\noption.A = 1\n",
           "t.ini:3: bad option name 'A'");
    refuse("[profil x]\n",
           "unknown section [profil x]: did you mean 'profile'?");
    refuse("[profile x]\nfamily = flash\nbatches = q1\n",
           "t.ini:3: unknown key 'batches' in [profile x]: did you mean "
           "'batch'?");
    refuse("[profile x]\nlayer.A = 1\n", "t.ini:2: bad field name 'A'");
}
END_TEST

START_TEST(values_are_checked)
{
    refuse("[attn]\ntrust = lax\n",
           "t.ini:2: [attn] trust 'lax': must be one of strict|warn|off");
    refuse("[attn]\nlog = warm\n",
           "[attn] unknown log level 'warm': did you mean 'warn'?");
    refuse("[attn]\nplugin_path = /a:b/c\n",
           "'b/c' is not an absolute directory");
    refuse("[attn]\nthreads = 5000\n", "threads 5000: outside 0 to 4096");
    refuse("[attn]\ntrust =\n", "trust has no value");
    refuse("[plugin x]\nlibrary = ./a.so\n",
           "'./a.so' is neither absolute nor a bare file name");
    refuse("[plugin x]\nlibrary = a\nsha256 = 12\n",
           "'12' is not 64 hexadecimal digits");
    refuse("[plugin x]\nlibrary = a\npriority = high\n",
           "priority 'high': not a whole number");
    refuse("[select]\nflash = a b\n", "'a b': names are separated by commas");
    refuse("[select]\nflash = a,,b\n", "'' is no backend name");
    refuse("[select]\nflash = a, auto\n", "'a, auto': auto stands alone");
    refuse("[select]\nflash = flash.cpu, x, flash.cpu\n",
           "'flash.cpu' is named twice");
    refuse("[select]\nflash = Flash\n", "'Flash' is no backend name");
    refuse("[plugin a/b]\n", "a plugin has a name of 1 to 31 letters");
    refuse("[select layers 3-1]\n", "layers '3-1': not a range");
    refuse("; nothing\n[plugin x]\npriority = 3\n",
           "t.ini:2: [plugin x] names no library");
    refuse("[profile a/b]\n", "a profile has a name of 1 to 31 letters");
    refuse("[profile x]\nphase = both\n",
           "phase 'both': must be one of any|prefill|decode");
    refuse("[profile x]\ntime_us.a.b = 0\n", "time_us.BACKEND 0: outside");
    refuse("[profile x]\ntime_us.A = 1\n", "'A' is no backend name");
    refuse("[profile x]\nphase = any\n",
           "t.ini:1: [profile x] names no family");
}
END_TEST

START_TEST(lines_are_strict)
{
    char longer[600];
    refuse("log = warn\n", "t.ini:1: key 'log' before any [section]");
    refuse("[attn]\n log = warn\n", "t.ini:2: leading blank before 'log");
    refuse("[attn\n", "t.ini:1: section without ']': '[attn'");
    refuse("[attn] x\n", "t.ini:1: text after ']': 'x'");
    refuse("[attn];x\n", "text after ']'");
    refuse("[]\n", "section name of 0 bytes: 1 to 48");
    refuse("[attn]\nlog warn\n", "t.ini:2: 'log warn' is no 'key = value'");
    refuse("[attn]\nlog: a = warn\n", "is no 'key = value'");
    refuse("[attn]\n= warn\n", "key of 0 bytes: 1 to 48");
    refuse("[attn]\nlog\x01 = warn\n", "control byte 0x01 in column 4");
    refuse("[attn]\nlog = warn\n[attn]\n",
           "t.ini:3: section [attn] again: first in line 1");
    refuse("[plugin x]\nlibrary=a\n[plugin   x]\n", "[plugin x] again");
    refuse("[attn]\nlog = warn\nlog = info\n",
           "t.ini:3: key 'log' again in [attn]: first in line 2");
    snprintf(longer, sizeof longer, "[attn]\nplugin_path = /%0300d\n", 0);
    refuse(longer, "t.ini:2: line of 315 bytes: at most 197");
    snprintf(longer, sizeof longer, "[plugin %060d]\n", 0);
    refuse(longer, "section name of 67 bytes: 1 to 48");
    snprintf(longer, sizeof longer, "[attn]\n%060d = 1\n", 0);
    refuse(longer, "key of 60 bytes: 1 to 48");
    attn_config *c;
    ck_assert_error(
        attn_config_parse("t.ini", "[attn]\nlog\0= x", 15, &c, &err), err,
        ATTN_E_CONFIG, "t.ini:2: control byte 0x00");
}
END_TEST

START_TEST(longest_line_comes_whole)
{
    char text[400], path[200];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[197 - strlen("plugin_path=")] = 0;
    snprintf(text, sizeof text, "\xEF\xBB\xBF[attn]\nplugin_path=%s", path);
    attn_config *c;
    ck_assert_good(parse(text, &c), err);
    ck_assert_str_eq(attn_config_get(c, "attn", "plugin_path"), path);
    attn_config_free(c);
}
END_TEST

static void
write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(drop_ins_and_environment)
{
    char dir[] = "attn-config-XXXXXX", command[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chdir(dir), 0);
    mkdir("x.d", 0700);
    write_file("x.ini", "[attn]\ntrust = warn\nprobe = never\n");
    write_file("x.d/20-b.ini", "[attn]\ntrust = off\n");
    write_file("x.d/10-a.ini",
               "[plugin p]\nlibrary = p.so\n[attn]\ntrust = strict\n");
    write_file("x.d/readme", "not read");
    write_file("x.d/.hidden.ini", "not read");
    setenv("ATTN_LOG", "info", 1);
    setenv("ATTN_PLUGIN_PATH", "/p", 1);
    setenv("ATTN_PLUGINPATH", "/q", 1);
    setenv("ATTN_BACKEND", "x", 1);
    setenv("ATTN_CONFIG", "x.ini", 1);
    attn_config *c;
    ck_assert_good(attn_config_load(NULL, &c, &err), err);
    const attn_config_value *v = find(c, "attn", "trust");
    ck_assert_str_eq(v->value, "off");
    ck_assert_str_eq(attn_config_main_file(c), "x.ini");
    ck_assert_ptr_nonnull(strstr(v->origin, "x.d/20-b.ini"));
    ck_assert_uint_eq(v->line, 2);
    ck_assert_str_eq(attn_config_get(c, "attn", "probe"), "never");
    ck_assert_str_eq(attn_config_get(c, "plugin p", "library"), "p.so");
    ck_assert_str_eq(find(c, "attn", "log")->origin, "environment");
    ck_assert_str_eq(attn_config_get(c, "attn", "plugin_path"), "/p");
    ck_assert_uint_eq(attn_config_num_warnings(c), 2);
    ck_assert_str_eq(attn_config_warning(c, 0),
                     "unknown variable ATTN_PLUGINPATH: did you mean "
                     "'ATTN_PLUGIN_PATH'?");
    ck_assert_ptr_nonnull(strstr(attn_config_warning(c, 1), "[select]"));
    attn_config_free(c);
    setenv("ATTN_LOG", "loud", 1);
    ck_assert_error(attn_config_load(NULL, &c, &err), err, ATTN_E_CONFIG,
                    "ATTN_LOG: unknown log level 'loud'");
    unsetenv("ATTN_LOG");
    write_file("x.d/30.ini", "[attn]\nx\n");
    ck_assert_error(attn_config_load("x.ini", &c, &err), err, ATTN_E_CONFIG,
                    "x.d/30.ini:2: 'x' is no 'key = value'");
    ck_assert_error(attn_config_load("none.ini", &c, &err), err, ATTN_E_CONFIG,
                    "none.ini: cannot be opened: No such file");
    ck_assert_error(attn_config_load(".", &c, &err), err, ATTN_E_CONFIG,
                    "cannot be read: Is a directory");
    ck_assert_int_eq(chdir(".."), 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Nobody writes: an empty configuration would be believed. */
START_TEST(a_pipe_is_no_configuration)
{
    char dir[] = "attn-config-XXXXXX", path[64];
    attn_config *c;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x.ini", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_error(attn_config_load(path, &c, &err), err, ATTN_E_CONFIG,
                    "x.ini: not a regular file");
    unlink(path);
    rmdir(dir);
    ck_assert_good(attn_config_load("/dev/null", &c, &err), err);
    attn_config_free(c);
}
END_TEST

/* Files, drop-ins and variables, each allocation in turn. */
START_TEST(memory_shortage_while_loading)
{
    char dir[] = "attn-config-XXXXXX", command[64];
    attn_config *c;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chdir(dir), 0);
    mkdir("x.d", 0700);
    write_file("x.ini", good);
    write_file("x.d/10-a.ini", "[plugin a]\nlibrary = a.so\n");
    write_file("x.d/20-b.ini", "[plugin b]\nlibrary = b.so\n");
    setenv("ATTN_LOG", "info", 1);
    setenv("ATTN_PLUGINPATH", "/q", 1);
    setenv("ATTN_CONFIG", "x.ini", 1);
    alloc_fail_start(ALLOC_FAIL_NEVER);
    attn_status whole = attn_config_load(NULL, &c, NULL);
    size_t n = alloc_fail_stop();
    ck_assert_int_eq(whole, ATTN_OK);
    attn_config_free(c);
    for (size_t i = 0; i < n; i++) {
        alloc_fail_start(i);
        attn_status s = attn_config_load(NULL, &c, NULL);
        alloc_fail_stop();
        ck_assert_msg(s == ATTN_E_NOMEM, "allocation %zu of %zu: status %d", i,
                      n, s);
    }
    ck_assert_int_eq(chdir(".."), 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(memory_shortage_is_an_error)
{
    attn_config *c;
    alloc_fail_start(ALLOC_FAIL_NEVER);
    attn_status whole = parse(good, &c);
    size_t n = alloc_fail_stop();
    ck_assert_int_eq(whole, ATTN_OK);
    attn_config_free(c);
    ck_assert_uint_gt(n, 20);
    for (size_t i = 0; i < n; i++) {
        alloc_fail_start(i);
        attn_status s = parse(good, &c);
        alloc_fail_stop();
        ck_assert_msg(s == ATTN_E_NOMEM, "allocation %zu of %zu: status %d", i,
                      n, s);
    }
}
END_TEST

START_TEST(the_sample_is_good)
{
    char path[1024];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof path, "%s/attn.ini", top ? top : ".");
    attn_config *c;
    ck_assert_good(attn_config_load(path, &c, &err), err);
    ck_assert_str_eq(attn_config_get(c, "plugin flash_cpu", "library"),
                     "attn_flash_cpu.so");
    /* The values it shows as defaults are the defaults. */
    attn_config *none;
    ck_assert_good(parse("", &none), err);
    for (size_t i = 0; i < attn_config_count(none); i++) {
        const attn_config_value *v = attn_config_at(none, i);
        if (strcmp(v->key, "plugin_path") != 0)
            ck_assert_str_eq(attn_config_get(c, v->section, v->key), v->value);
    }
    attn_config_free(none);
    attn_config_free(c);
}
END_TEST

UNIT_MAIN("config", 20, values_with_origins, order_is_stable,
          unknown_names_get_the_nearest, values_are_checked, lines_are_strict,
          longest_line_comes_whole, drop_ins_and_environment,
          a_pipe_is_no_configuration, memory_shortage_while_loading,
          memory_shortage_is_an_error, the_sample_is_good)
