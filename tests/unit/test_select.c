/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "alloc_fail.h"
#include "select/match.h"
#include "select/selection.h"
#include "unit.h"

static attn_error err;

/* Backends that claim things: three rows, as a registry would have them. */

static attn_status
check_yes(const attn_backend *self, const char *arch, const attn_layer *layer,
          attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer, (void)reasons;
    return ATTN_OK;
}

static attn_status
check_no(const attn_backend *self, const char *arch, const attn_layer *layer,
         attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer;
    attn_reason_add(reasons, "block_size 16 with fp8: needs 32");
    return ATTN_E_UNSUPPORTED;
}

static attn_status
check_odd(const attn_backend *self, const char *arch, const attn_layer *layer,
          attn_reasons *reasons)
{
    (void)self, (void)arch, (void)layer, (void)reasons;
    return ATTN_E_INTERNAL;
}

static const attn_op op_yes = {.struct_size = sizeof op_yes,
                               .check = check_yes};
static const attn_op op_no = {.struct_size = sizeof op_no, .check = check_no};
static const attn_op op_odd = {.struct_size = sizeof op_odd,
                               .check = check_odd};

static const attn_dim_claim dims[] = {{"head_dim", {64, 0, 0}, 0},
                                      {"head_dim", {128, 256, 128}, 0},
                                      {"gqa_ratio", {1, 8, 1}, 0}};
static const attn_dtype_claim dtypes[] = {{"q_dtype", ATTN_BF16, 0},
                                          {"q_dtype", ATTN_F16, 0}};
static const char *const archs[] = {"sm_80", "sm_90a"};

static const attn_caps strict_caps = {.struct_size = sizeof strict_caps,
                                      .capture = ATTN_CAPTURE_DECODE,
                                      .features = ATTN_F_CAUSAL | ATTN_F_LSE,
                                      .max_seq_len = 4096,
                                      .archs = archs,
                                      .num_archs = 2,
                                      .dims = dims,
                                      .num_dims = 3,
                                      .dtypes = dtypes,
                                      .num_dtypes = 2};
static const attn_caps wide_caps = {.struct_size = sizeof wide_caps,
                                    .capture = ATTN_CAPTURE_ALWAYS,
                                    .features = (1ull << 14) - 1};
static const attn_caps *const strict_list[] = {&strict_caps};
static const attn_caps *const wide_list[] = {&wide_caps};

#define BACKEND(n, o, c)                                                \
    {                                                                   \
        .struct_size = sizeof(attn_backend), .name = n, .summary = "",  \
        .family = ATTN_FAMILY_FLASH, .op = &o, .caps = c, .num_caps = 1 \
    }
static const attn_backend strict_backend =
    BACKEND("a.strict", op_yes, strict_list);
static const attn_backend wide_backend = BACKEND("b.wide", op_yes, wide_list);
static const attn_backend refusing = BACKEND("c.no", op_no, wide_list);
static const attn_backend odd = BACKEND("d.odd", op_odd, wide_list);

#define ENTRY(n, s, p, b)                                                      \
    {                                                                          \
        .struct_size = sizeof(attn_entry), .state = s, .name = n,              \
        .section = "-", .file = "/x.so", .reason = "no driver", .version = "", \
        .family = ATTN_FAMILY_FLASH, .device = "", .arch = "", .priority = p,  \
        .backend = b                                                           \
    }
static attn_entry rows[] = {
    ENTRY("a.strict", ATTN_STATE_READY, 200, &strict_backend),
    ENTRY("b.wide", ATTN_STATE_READY, 100, &wide_backend),
    ENTRY("b.wide-emu", ATTN_STATE_READY, 900, &wide_backend),
    ENTRY("c.no", ATTN_STATE_READY, 300, &refusing),
    ENTRY("x.gpu", ATTN_STATE_SKIPPED, 500, NULL),
};
#define NUM_ROWS (sizeof rows / sizeof *rows)
static const attn_entry *list[NUM_ROWS];

static attn_any_layer
layer_of(uint32_t head_dim)
{
    attn_any_layer l;
    rows[2].emulated = 1;
    for (size_t i = 0; i < NUM_ROWS; i++)
        list[i] = &rows[i];
    attn_layer_init(attn_family_find("flash"), &l);
    l.flash.num_heads = 32;
    l.flash.head_dim = head_dim;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    return l;
}

static attn_status
choose(const char *ini, const attn_any_layer *l,
       const attn_select_params *params, attn_selection **s)
{
    attn_config *c;
    ck_assert_good(attn_config_parse("t.ini", ini, strlen(ini), &c, &err), err);
    err = ATTN_ERROR_INIT;
    attn_status status =
        attn_select_among(list, NUM_ROWS, c, &l->head, params, s, &err);
    attn_config_free(c);
    return status;
}

static const attn_candidate *
named(const attn_selection *s, const char *name)
{
    for (size_t i = 0; i < attn_selection_count(s); i++)
        if (strcmp(attn_selection_at(s, i)->entry->name, name) == 0)
            return attn_selection_at(s, i);
    ck_abort_msg("no candidate %s", name);
}

/* What most tests ask: any phase, no layer number. */
static attn_select_params
params_of(uint32_t phase, uint32_t layer_index, const char *backend)
{
    return (attn_select_params){.struct_size = sizeof(attn_select_params),
                                .phase = phase,
                                .layer_index = layer_index,
                                .backend = backend};
}

#define ANY_LAYER ATTN_LAYER_INDEX_NONE
#define P(phase, layer, backend) \
    &(attn_select_params[1]){params_of(phase, layer, backend)}[0]

START_TEST(auto_takes_the_highest_that_can)
{
    attn_any_layer l = layer_of(64);
    attn_selection *s;
    ck_assert_int_eq(choose("", &l, P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
                     ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "a.strict");
    ck_assert_str_eq(attn_selection_rule(s), "auto: priority 200");
    ck_assert_uint_eq(attn_selection_count(s), 5);
    ck_assert_int_eq((int)attn_selection_at(s, 0)->chosen, 1);
    ck_assert_str_eq(attn_selection_at(s, 1)->entry->name, "b.wide");
    ck_assert_str_eq(attn_selection_at(s, 1)->reasons[0],
                     "priority 100 below 200 of a.strict");
    ck_assert_str_eq(attn_selection_at(s, 2)->reasons[0],
                     "emulated: never chosen by auto");
    ck_assert_str_eq(named(s, "x.gpu")->reasons[0], "skipped: no driver");
    ck_assert_str_eq(named(s, "c.no")->reasons[0],
                     "block_size 16 with fp8: needs 32");
    ck_assert_ptr_null(attn_selection_at(s, 5));
    attn_selection_free(s);
}
END_TEST

START_TEST(every_reason_has_its_values)
{
    attn_any_layer l = layer_of(96);
    l.flash.q_dtype = (attn_dtype)ATTN_F32;
    l.flash.num_kv_heads = 2;
    l.flash.window_left = 7;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    attn_selection *s;
    attn_select_params p = params_of(ATTN_PHASE_ANY, ANY_LAYER, NULL);
    p.capture = ATTN_CAPTURE_UNIFORM;
    p.max_seq_len = 8192;
    ck_assert_int_eq(choose("", &l, &p, &s), ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide");
    const attn_candidate *c = named(s, "a.strict");
    static const char *const want[] = {
        "head_dim 96: supports 64, 128 to 256 by 128",
        "gqa_ratio 16: supports 1 to 8",
        "q_dtype f32: supports bf16, f16",
        "window needed: supports causal, lse",
        "capture uniform: supports decode",
        "max_seq_len 8192: supports up to 4096",
    };
    ck_assert_uint_eq(c->num_reasons, sizeof want / sizeof *want);
    for (uint32_t i = 0; i < c->num_reasons; i++)
        ck_assert_str_eq(c->reasons[i], want[i]);
    attn_selection_free(s);
}
END_TEST

START_TEST(steps_of_a_range_count)
{
    attn_any_layer l = layer_of(192);
    char buf[500];
    attn_wish wish = {.layer = &l.head, .arch = ""};
    attn_reasons r = {sizeof r, 0, buf, sizeof buf, 0};
    ck_assert_int_eq(attn_backend_match(&strict_backend, &wish, &r),
                     ATTN_E_UNSUPPORTED);
    ck_assert_str_eq(buf, "head_dim 192: supports 64, 128 to 256 by 128");
    l = layer_of(256);
    ck_assert_int_eq(attn_backend_match(&strict_backend, &wish, &r), ATTN_OK);
}
END_TEST

START_TEST(the_narrowest_wins_wherever_it_stands)
{
    attn_any_layer l = layer_of(64);
    attn_selection *s;
    const char ini[] = "[select layers 4]\nflash = a.strict\n"
                       "[select layers 0-9]\nflash = b.wide\n"
                       "[select]\nflash = b.wide\n";
    ck_assert_int_eq(choose(ini, &l, P(ATTN_PHASE_ANY, 4, NULL), &s), ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "a.strict");
    attn_selection_free(s);
}
END_TEST

START_TEST(architectures)
{
    attn_any_layer l = layer_of(64);
    char buf[500];
    attn_wish wish = {.layer = &l.head, .arch = "sm_90"};
    attn_reasons r = {sizeof r, 0, buf, sizeof buf, 0};
    ck_assert_int_eq(attn_backend_match(&strict_backend, &wish, &r), ATTN_OK);
    wish.arch = "sm_80";
    ck_assert_int_eq(attn_backend_match(&strict_backend, &wish, &r), ATTN_OK);
    wish.arch = "sm_9";
    ck_assert_int_eq(attn_backend_match(&strict_backend, &wish, &r),
                     ATTN_E_UNSUPPORTED);
    ck_assert_str_eq(buf, "arch sm_9: supports sm_80, sm_90a");
    wish.arch = "";
    r = (attn_reasons){sizeof r, 0, buf, sizeof buf, 0};
    ck_assert_int_eq(attn_backend_match(&odd, &wish, &r), ATTN_E_UNSUPPORTED);
    ck_assert_str_eq(buf, "check answers status 8: internal error");
}
END_TEST

START_TEST(names_are_taken_in_order)
{
    attn_any_layer l = layer_of(64);
    attn_selection *s;
    const char ini[] = "[select]\nflash = b.wide\n"
                       "flash.decode = x.gpu, b.wide-emu, b.wide\n"
                       "[select layers 0-9]\nflash = c.no, b.wide\n"
                       "[select layers 4]\nflash = a.strict\n";
    ck_assert_int_eq(
        choose(ini, &l, P(ATTN_PHASE_PREFILL, ANY_LAYER, NULL), &s), ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide");
    ck_assert_str_eq(attn_selection_rule(s), "[select] flash at t.ini:2");
    ck_assert_str_eq(named(s, "a.strict")->reasons[0],
                     "not named: [select] flash at t.ini:2");
    attn_selection_free(s);
    ck_assert_int_eq(choose(ini, &l, P(ATTN_PHASE_DECODE, ANY_LAYER, NULL), &s),
                     ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide-emu");
    ck_assert_str_eq(attn_selection_rule(s),
                     "[select] flash.decode at t.ini:3");
    ck_assert_str_eq(named(s, "b.wide")->reasons[0], "named after b.wide-emu");
    attn_selection_free(s);
    ck_assert_int_eq(choose(ini, &l, P(ATTN_PHASE_ANY, 4, NULL), &s), ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "a.strict");
    attn_selection_free(s);
    ck_assert_int_eq(choose(ini, &l, P(ATTN_PHASE_DECODE, 9, NULL), &s),
                     ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide");
    ck_assert_str_eq(attn_selection_rule(s),
                     "[select layers 0-9] flash at t.ini:5");
    attn_selection_free(s);
}
END_TEST

START_TEST(a_name_is_never_replaced)
{
    attn_any_layer l = layer_of(96);
    attn_selection *s;
    ck_assert_int_eq(choose("[select]\nflash = a.strict\n", &l,
                            P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
                     ATTN_E_CONFIG);
    ck_assert_str_eq(err.message,
                     "[select] flash at t.ini:2: a.strict cannot run this "
                     "layer: head_dim 96: supports 64, 128 to 256 by 128");
    ck_assert_ptr_null(attn_selection_winner(s));
    ck_assert_uint_eq(named(s, "b.wide")->eligible, 1);
    attn_selection_free(s);
    ck_assert_int_eq(choose("[select]\nflash = b.wid, b.wide\n", &l,
                            P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
                     ATTN_E_CONFIG);
    ck_assert_str_eq(err.message, "[select] flash at t.ini:2: no backend "
                                  "'b.wid': did you mean 'b.wide'?");
    ck_assert_str_eq(
        named(s, "b.wide")->reasons[0],
        "named beside one that is none: [select] flash at t.ini:2");
    ck_assert_str_eq(named(s, "b.wide-emu")->reasons[0],
                     "not named: [select] flash at t.ini:2");
    ck_assert_ptr_null(attn_selection_winner(s));
    attn_selection_free(s);
    ck_assert_int_eq(choose("", &l, P(ATTN_PHASE_ANY, ANY_LAYER, "x.gpu"), &s),
                     ATTN_E_CONFIG);
    ck_assert_str_eq(err.message, "asked for by name: x.gpu cannot run this "
                                  "layer: skipped: no driver");
    attn_selection_free(s);
    ck_assert_int_eq(choose("[select]\nflash = a.strict\n", &l,
                            P(ATTN_PHASE_ANY, ANY_LAYER, "b.wide"), &s),
                     ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide");
    attn_selection_free(s);
}
END_TEST

START_TEST(nobody_is_no_error_with_auto)
{
    attn_any_layer l;
    attn_selection *s;
    layer_of(64);
    attn_layer_init(attn_family_find("mla"), &l);
    l.mla.num_heads = 16;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_int_eq(choose("", &l, P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
                     ATTN_OK);
    ck_assert_ptr_null(attn_selection_winner(s));
    ck_assert_str_eq(attn_selection_rule(s),
                     "no plugin offers family attn.op.mla/1");
    attn_selection_free(s);
    ck_assert_int_eq(choose("[select]\nmla = b.wide\n", &l,
                            P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
                     ATTN_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.message, "b.wide is of another family"));
    attn_selection_free(s);
    l = layer_of(64);
    attn_error e = ATTN_ERROR_INIT;
    ck_assert_int_eq(attn_select_among(&list[2], 1, NULL, &l.head,
                                       P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s,
                                       &e),
                     ATTN_OK);
    ck_assert_ptr_null(attn_selection_winner(s));
    ck_assert_str_eq(attn_selection_rule(s),
                     "auto: none of 1 candidate can be chosen");
    attn_selection_free(s);
}
END_TEST

/* What decides where priorities are equal. */
#define PROFILE(name, more) \
    "[profile " name "]\nfamily = flash\nlayer.head_dim = 64\n" more

static void
wins(const char *ini, uint32_t phase, const char *winner, const char *rule,
     const char *other, const char *reason)
{
    attn_any_layer l = layer_of(64);
    attn_selection *s;
    rows[0].priority = 100;
    ck_assert_int_eq(choose(ini, &l, P(phase, ANY_LAYER, NULL), &s), ATTN_OK);
    rows[0].priority = 200;
    ck_assert_str_eq(attn_selection_winner(s)->name, winner);
    ck_assert_str_eq(attn_selection_rule(s), rule);
    ck_assert_str_eq(named(s, other)->reasons[0], reason);
    attn_selection_free(s);
}

START_TEST(measured_speed_decides_between_equals)
{
    wins("", ATTN_PHASE_ANY, "a.strict", "auto: priority 100", "b.wide",
         "priority 100 as a.strict, listed after it");
    const char both[] =
        PROFILE("x", "time_us.a.strict = 30.5\ntime_us.b.wide = 12\n");
    wins(both, ATTN_PHASE_ANY, "b.wide",
         "auto: priority 100, 12 us in [profile x] at t.ini:1", "a.strict",
         "priority 100 as b.wide, 30.5 us against 12 us in [profile x] at "
         "t.ini:1");
    wins(PROFILE("x", "time_us.b.wide = 12\n"), ATTN_PHASE_DECODE, "b.wide",
         "auto: priority 100, 12 us in [profile x] at t.ini:1", "a.strict",
         "priority 100 as b.wide, not measured in [profile x] at t.ini:1");
    /* Emulated ones stay out, however fast. */
    wins(PROFILE("x", "time_us.b.wide-emu = 1\n"), ATTN_PHASE_ANY, "a.strict",
         "auto: priority 100", "b.wide",
         "priority 100 as a.strict, listed after it");
    /* Priority goes before speed. */
    attn_any_layer l = layer_of(64);
    attn_selection *s;
    ck_assert_int_eq(choose(both, &l, P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
                     ATTN_OK);
    ck_assert_str_eq(attn_selection_winner(s)->name, "a.strict");
    ck_assert_str_eq(named(s, "b.wide")->reasons[0],
                     "priority 100 below 200 of a.strict");
    attn_selection_free(s);
}
END_TEST

START_TEST(profiles_count_for_what_they_state)
{
    static const char *const others[] = {
        "[profile x]\nfamily = mla\ntime_us.b.wide = 1\n",
        PROFILE("x", "layer.num_heads = 16\ntime_us.b.wide = 1\n"),
        PROFILE("x", "layer.kv_dtype = f16\ntime_us.b.wide = 1\n"),
        PROFILE("x", "features = sinks, alibi\ntime_us.b.wide = 1\n"),
        PROFILE("x", "phase = decode\ntime_us.b.wide = 1\n"),
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        wins(others[i], ATTN_PHASE_PREFILL, "a.strict", "auto: priority 100",
             "b.wide", "priority 100 as a.strict, listed after it");
    wins(PROFILE("x", "layer.num_heads = 32\nlayer.causal = on\n"
                      "layer.softcap = 0.0\nfeatures = none\n"
                      "phase = prefill\ntime_us.b.wide = 1\n"),
         ATTN_PHASE_PREFILL, "b.wide",
         "auto: priority 100, 1 us in [profile x] at t.ini:1", "a.strict",
         "priority 100 as b.wide, not measured in [profile x] at t.ini:1");
    /* The phase's own go before those of any; any phase takes all. */
    const char three[] = PROFILE(
        "p", "phase = prefill\ntime_us.a.strict = 9\ntime_us.b.wide = 1\n")
        PROFILE("d", "phase = decode\ntime_us.a.strict = 1\n"
                     "time_us.b.wide = 2\n")
            PROFILE("a", "time_us.a.strict = 1\ntime_us.b.wide = 2\n");
    wins(three, ATTN_PHASE_PREFILL, "b.wide",
         "auto: priority 100, 1 us in [profile p] at t.ini:1", "a.strict",
         "priority 100 as b.wide, 9 us against 1 us in [profile p] at t.ini:1");
    wins(three, ATTN_PHASE_DECODE, "a.strict",
         "auto: priority 100, 1 us in [profile d] at t.ini:7", "b.wide",
         "priority 100 as a.strict, 2 us against 1 us in [profile d] at "
         "t.ini:7");
    wins(three, ATTN_PHASE_ANY, "b.wide",
         "auto: priority 100, 5 us in 3 profiles", "a.strict",
         "priority 100 as b.wide, 11 us against 5 us in 3 profiles");
}
END_TEST

START_TEST(a_wrong_profile_is_named)
{
    static const struct {
        const char *ini, *message;
    } cases[] = {
        {"[profile x]\nfamily = flash\nlayer.head_dims = 64\n",
         "t.ini:3: [profile x] unknown field 'head_dims' of flash: did you "
         "mean 'head_dim'?"},
        {"[profile x]\nfamily = flash\nlayer.head_dim = wide\n",
         "t.ini:3: [profile x] head_dim 'wide': not a whole number"},
        {"[profile x]\nfamily = flash\nfeatures = sinks, sings\n",
         "t.ini:3: [profile x] no feature 'sings'"},
    };
    attn_any_layer l = layer_of(64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        attn_selection *s = NULL;
        ck_assert_int_eq(
            choose(cases[i].ini, &l, P(ATTN_PHASE_ANY, ANY_LAYER, NULL), &s),
            ATTN_E_CONFIG);
        ck_assert_str_eq(err.message, cases[i].message);
        ck_assert_ptr_null(s);
    }
}
END_TEST

/* Where a name decides, no profile is asked: what is wrong in one is no
 * trouble of this layer. */
START_TEST(a_name_needs_no_profile)
{
    static const char wrong[] =
        "[profile x]\nfamily = flash\nlayer.head_dims = 64\n";
    attn_any_layer l = layer_of(64);
    attn_selection *s = NULL;
    char ini[160];
    ck_assert_good(
        choose(wrong, &l, P(ATTN_PHASE_ANY, ANY_LAYER, "b.wide"), &s), err);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide");
    attn_selection_free(s);
    snprintf(ini, sizeof ini, "[select]\nflash.decode = b.wide\n%s", wrong);
    ck_assert_good(choose(ini, &l, P(ATTN_PHASE_DECODE, ANY_LAYER, NULL), &s),
                   err);
    ck_assert_str_eq(attn_selection_winner(s)->name, "b.wide");
    attn_selection_free(s);
    s = NULL;
    ck_assert_int_eq(
        choose(ini, &l, P(ATTN_PHASE_PREFILL, ANY_LAYER, NULL), &s),
        ATTN_E_CONFIG);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(memory_shortage_is_an_error)
{
    attn_any_layer l = layer_of(64);
    attn_selection *s = NULL;
    const attn_select_params *p = P(ATTN_PHASE_ANY, ANY_LAYER, NULL);
    alloc_fail_start(ALLOC_FAIL_NEVER);
    attn_status whole =
        attn_select_among(list, NUM_ROWS, NULL, &l.head, p, &s, NULL);
    size_t n = alloc_fail_stop();
    ck_assert_int_eq(whole, ATTN_OK);
    attn_selection_free(s);
    ck_assert_uint_gt(n, 10);
    for (size_t i = 0; i < n; i++) {
        s = NULL;
        alloc_fail_start(i);
        attn_status st =
            attn_select_among(list, NUM_ROWS, NULL, &l.head, p, &s, NULL);
        alloc_fail_stop();
        ck_assert_msg(st == ATTN_E_NOMEM, "allocation %zu: status %d", i, st);
        ck_assert_ptr_null(s);
    }
}
END_TEST

START_TEST(the_device_is_chosen)
{
    attn_any_layer l = layer_of(64);
    attn_entry two[3] = {rows[1], rows[1], rows[1]};
    const attn_entry *among[3] = {&two[0], &two[1], &two[2]};
    attn_select_params p = params_of(ATTN_PHASE_ANY, ANY_LAYER, NULL);
    attn_selection *s;
    two[0].device_type = two[1].device_type = ATTN_DEVICE_CUDA;
    two[0].num_devices = two[1].num_devices = 2;
    two[1].device_index = 1;
    two[2].name = "c.cpu";
    two[2].device_type = ATTN_DEVICE_CPU;
    two[2].priority = 1;
    for (p.device = 0; p.device < 4; p.device++) {
        ck_assert_good(attn_select_among(among, 3, NULL, &l.head, &p, &s, &err),
                       err);
        ck_assert_uint_eq(attn_selection_count(s), 2);
        ck_assert_ptr_eq(attn_selection_winner(s),
                         p.device < 2 ? &two[p.device] : &two[2]);
        if (p.device >= 2)
            ck_assert_msg(
                strstr(named(s, "b.wide")->reasons[0], "has 2, from 0") != NULL,
                "%s", named(s, "b.wide")->reasons[0]);
        attn_selection_free(s);
    }
}
END_TEST

UNIT_MAIN("select", 10, auto_takes_the_highest_that_can,
          every_reason_has_its_values, steps_of_a_range_count,
          the_narrowest_wins_wherever_it_stands, architectures,
          names_are_taken_in_order, a_name_is_never_replaced,
          nobody_is_no_error_with_auto, the_device_is_chosen,
          measured_speed_decides_between_equals,
          profiles_count_for_what_they_state, a_wrong_profile_is_named,
          a_name_needs_no_profile, memory_shortage_is_an_error)
