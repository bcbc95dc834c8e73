/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "select/layer.h"
#include "unit.h"

static attn_error err;

static attn_any_layer
flash(void)
{
    attn_any_layer l;
    attn_layer_init(attn_family_find("flash"), &l);
    ck_assert_good(attn_layer_set(&l, "num_heads", "32", &err), err);
    ck_assert_good(attn_layer_set(&l, "head_dim", "64", &err), err);
    return l;
}

START_TEST(tables_are_sound)
{
    const attn_family *f;
    for (size_t i = 0; (f = attn_family_at(i)); i++) {
        ck_assert_ptr_eq(attn_family_find(f->key), f);
        ck_assert_ptr_eq(attn_family_find(f->id), f);
        ck_assert_uint_le(f->layer_size, sizeof(attn_any_layer));
        attn_any_layer l;
        attn_layer_init(f, &l);
        for (uint32_t j = 0; j < f->num_fields; j++) {
            const attn_field *x = &f->fields[j];
            ck_assert_uint_le(x->offset + 4, f->layer_size);
            ck_assert_ptr_eq(attn_family_field(f, x->name), x);
            if (x->value[0]) {
                char text[64];
                ck_assert_int_eq(
                    attn_layer_get(&l.head, x->name, text, sizeof text), 0);
                ck_assert_str_eq(text, x->value);
            }
        }
    }
    ck_assert_ptr_null(attn_family_find("rwkv"));
}
END_TEST

START_TEST(flash_is_completed)
{
    attn_any_layer l = flash();
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_uint_eq(l.flash.num_kv_heads, 32);
    ck_assert_uint_eq(l.flash.head_dim_v, 64);
    ck_assert_float_eq(l.flash.scale, 0.125f);
    ck_assert_int_eq(attn_dtype_eq(l.flash.out_dtype, l.flash.q_dtype), 1);
    ck_assert_uint_eq(l.head.features, ATTN_F_CAUSAL);
    l.head.features |= ATTN_F_SINKS | ATTN_F_WINDOW;
    l.flash.causal = 0;
    l.flash.softcap = 30;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_uint_eq(l.head.features,
                      ATTN_F_NONCAUSAL | ATTN_F_SOFTCAP | ATTN_F_SINKS);
    l.flash.window_left = 5;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_uint_ne(l.head.features & ATTN_F_WINDOW, 0);
}
END_TEST

START_TEST(other_families_are_completed)
{
    attn_any_layer l;
    attn_layer_init(attn_family_find("mla"), &l);
    l.mla.num_heads = 16;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_float_eq_tol(l.mla.scale, 1 / sqrtf(192), 1e-9f);
    ck_assert_int_eq(attn_dtype_eq(l.mla.weight_dtype, l.mla.q_dtype), 1);
    attn_layer_init(attn_family_find("mamba2"), &l);
    l.mamba2.num_heads = 24;
    l.head.features = ATTN_F_GATE;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_uint_eq(l.mamba2.activation, ATTN_ACTIVATION_SILU);
    ck_assert_uint_eq(l.mamba2.ssm_state_dtype.bits, 32);
    ck_assert_uint_eq(l.mamba2.conv_state_dtype.bits, 16);
    ck_assert_uint_eq(l.head.features, ATTN_F_GATE);
    l.mamba2.num_groups = 5;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "num_heads 24: not a multiple of num_groups 5");
    attn_layer_init(attn_family_find("mamba1"), &l);
    l.mamba1.num_channels = 128;
    ck_assert_good(attn_layer_finish(&l, &err), err);
    ck_assert_uint_eq(l.mamba1.out_dtype.bits, 16);
}
END_TEST

START_TEST(text_in_and_out)
{
    attn_any_layer l = flash();
    char text[32];
    ck_assert_good(attn_layer_set(&l, "scale", "0.1", &err), err);
    ck_assert_int_eq(attn_layer_get(&l.head, "scale", text, 32), 0);
    ck_assert_str_eq(text, "0.1");
    ck_assert_good(attn_layer_set(&l, "window_left", "127", &err), err);
    ck_assert_int_eq(attn_layer_get(&l.head, "window_left", text, 32), 0);
    ck_assert_str_eq(text, "127");
    ck_assert_good(attn_layer_set(&l, "causal", "no", &err), err);
    ck_assert_int_eq(attn_layer_get(&l.head, "causal", text, 32), 0);
    ck_assert_str_eq(text, "no");
    ck_assert_good(attn_layer_set(&l, "kv_dtype", "e4m3", &err), err);
    ck_assert_int_eq(attn_layer_get(&l.head, "kv_dtype", text, 32), 0);
    ck_assert_str_eq(text, "e4m3");
    ck_assert_int_eq(attn_layer_get(&l.head, "kvdtype", text, 32), ATTN_E_ARG);
}
END_TEST

START_TEST(mistakes_are_named)
{
    attn_any_layer l = flash();
    ck_assert_error(attn_layer_set(&l, "head_dmi", "64", &err), err, ATTN_E_ARG,
                    "unknown field 'head_dmi' of flash: did you mean "
                    "'head_dim'?");
    ck_assert_error(attn_layer_set(&l, "head_dim", "0", &err), err, ATTN_E_ARG,
                    "head_dim 0: outside 1 to 65536");
    ck_assert_error(attn_layer_set(&l, "window_left", "-2", &err), err,
                    ATTN_E_ARG, "window_left -2: outside -1 to");
    ck_assert_error(attn_layer_set(&l, "q_dtype", "half", &err), err,
                    ATTN_E_ARG, "unknown dtype 'half'");
    l.flash.num_kv_heads = 5;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "num_heads 32: not a multiple of num_kv_heads 5");
    l = flash();
    l.flash.num_heads = 0;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "num_heads is not given");
    l = flash();
    l.flash.scale = NAN;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG, "scale nan");
    l = flash();
    l.flash.window_right = -7;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "window_right -7: outside -1 to 2147483647");
    l = flash();
    l.flash.q_dtype = (attn_dtype)ATTN_I32;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "q_dtype i32: not a floating type");
    l = flash();
    l.head.features = ATTN_F_GATE;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "feature gate: a flash layer has none");
    l = flash();
    l.head.struct_size = 100;
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "struct_size 100: a flash layer has");
    l.head.family = "x.y/1";
    ck_assert_error(attn_layer_finish(&l, &err), err, ATTN_E_ARG,
                    "unknown family 'x.y/1'");
}
END_TEST

START_TEST(feature_names)
{
    for (int i = 0; i < 14; i++)
        ck_assert_uint_eq(attn_feature_parse(attn_feature_str(1ull << i)),
                          1ull << i);
    ck_assert_str_eq(attn_feature_str(1ull << 50), "vendor");
    ck_assert_str_eq(attn_feature_str(1ull << 40), "unknown");
    ck_assert_uint_eq(attn_feature_parse("nope"), 0);
}
END_TEST

UNIT_MAIN("layer", 10, tables_are_sound, flash_is_completed,
          other_families_are_completed, text_in_and_out, mistakes_are_named,
          feature_names)
