/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include "alloc_fail.h"
#include "unit.h"

static attn_error err;

#define OPTION(kind, its_name, its_value, words, least, most)                \
    {                                                                        \
        .struct_size = sizeof(attn_option), .type = ATTN_OPTION_##kind,      \
        .name = its_name, .value = its_value, .choices = words, .lo = least, \
        .hi = most, .help = "help"                                           \
    }

static const attn_option table[] = {
    OPTION(BOOL, "flag", "no", NULL, 0, 0),
    OPTION(INT, "depth", "3", NULL, -4, 8),
    OPTION(FLOAT, "ratio", "0.5", NULL, 0, 1),
    OPTION(CHOICE, "isa", "auto", "auto|avx2|generic", 0, 0),
    OPTION(STRING, "label", "", NULL, 0, 0),
};
static const attn_option *const options[] = {table, table + 1, table + 2,
                                             table + 3, table + 4};
static const attn_plugin plugin = {
    .id = "org.example.t", .options = options, .num_options = 5};

static attn_config *
configure(const char *text)
{
    attn_config *config = NULL;
    ck_assert_good(
        attn_config_parse("t.ini", text, strlen(text), &config, &err), err);
    return config;
}

START_TEST(defaults)
{
    const attn_option_source none = {0};
    attn_key_value *v = NULL;
    ck_assert_good(attn_options_merge(&plugin, &none, &v, &err), err);
    ck_assert_str_eq(v[0].key, "flag");
    ck_assert_str_eq(v[0].value, "no");
    ck_assert_str_eq(v[3].value, "auto");
    ck_assert_str_eq(v[4].value, "");
    free(v);
}
END_TEST

START_TEST(the_nearer_source_wins)
{
    attn_config *config =
        configure("[plugin t]\nlibrary = /t.so\noption.flag = on\n"
                  "option.depth = -4\noption.isa = avx2\n"
                  "[plugin u]\nlibrary = /u.so\noption.depth = 1\n");
    const attn_key_value given[] = {{"isa", "generic"}, {NULL, NULL}};
    const attn_option_source source = {config, "plugin t", given};
    attn_key_value *v = NULL;
    ck_assert_good(attn_options_merge(&plugin, &source, &v, &err), err);
    ck_assert_str_eq(v[0].value, "yes");
    ck_assert_str_eq(v[1].value, "-4");
    ck_assert_str_eq(v[2].value, "0.5");
    ck_assert_str_eq(v[3].value, "generic");
    free(v);
    attn_config_free(config);
}
END_TEST

static void
check_mistake(const char *text, const char *message)
{
    attn_config *config = configure(text);
    const attn_option_source source = {config, "plugin t", NULL};
    attn_key_value *v = NULL;
    ck_assert_error(attn_options_merge(&plugin, &source, &v, &err), err,
                    ATTN_E_CONFIG, message);
    ck_assert_ptr_null(v);
    attn_config_free(config);
}

START_TEST(mistakes_in_the_file)
{
    check_mistake("[plugin t]\nlibrary = /t.so\n\noption.dpeth = 3\n",
                  "t.ini:4: unknown option 'dpeth' of plugin org.example.t: "
                  "did you mean 'depth'?");
    check_mistake("[plugin t]\nlibrary = /t.so\noption.depth = 9\n",
                  "t.ini:3: option depth 9: outside -4 to 8");
    check_mistake("[plugin t]\nlibrary = /t.so\noption.isa = sse\n",
                  "auto|avx2|generic");
    check_mistake("[plugin t]\nlibrary = /t.so\noption.ratio = 1.5\n",
                  "t.ini:3: option ratio");
    check_mistake("[plugin t]\nlibrary = /t.so\noption.flag = maybe\n",
                  "option flag");
}
END_TEST

START_TEST(mistakes_of_the_caller)
{
    const attn_key_value unknown[] = {{"isaa", "avx2"}, {NULL, NULL}};
    const attn_key_value bad[] = {{"depth", "x"}, {NULL, NULL}};
    attn_key_value *v = NULL;
    attn_option_source source = {NULL, NULL, unknown};
    ck_assert_error(attn_options_merge(&plugin, &source, &v, &err), err,
                    ATTN_E_ARG, "unknown option 'isaa'");
    source.given = bad;
    ck_assert_error(attn_options_merge(&plugin, &source, &v, &err), err,
                    ATTN_E_ARG, "option depth 'x': not a whole number");
    ck_assert_ptr_null(v);
}
END_TEST

START_TEST(allocation_failure)
{
    const attn_option_source none = {0};
    attn_key_value *v = NULL;
    alloc_fail_start(0);
    const attn_status status = attn_options_merge(&plugin, &none, &v, &err);
    alloc_fail_stop();
    ck_assert_int_eq(status, ATTN_E_NOMEM);
    ck_assert_ptr_null(v);
}
END_TEST

UNIT_MAIN("options", 10, defaults, the_nearer_source_wins, mistakes_in_the_file,
          mistakes_of_the_caller, allocation_failure)
