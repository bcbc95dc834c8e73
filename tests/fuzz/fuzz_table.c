/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin's table with fields and texts of the fuzzer's choosing, through
 * the checks of the loader. Arrays are as long as the largest count the
 * checks may believe; texts need not end. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "plugin/abi.h"
#include "plugin/options.h"

#define ENDLESS 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
nothing(void)
{
}

static const void *
no_extension(const char *id)
{
    (void)id;
    return NULL;
}

static attn_op op;
static attn_caps caps;
static attn_backend backends[64];
static attn_option option, second_option;
static attn_plugin plugin;
static const attn_backend *backend_list[64];
static const attn_caps *caps_list[64];
static const attn_option *option_list[256];
static const char *archs[64];
static attn_dim_claim dims[256];
static attn_dtype_claim dtypes[256];
static char text[ENDLESS];

static void
fill_functions(void *table, size_t from, size_t to)
{
    void (*function)(void) = nothing;
    for (size_t at = from; at + sizeof function <= to; at += sizeof function)
        memcpy((char *)table + at, &function, sizeof function);
}

static void
make_claims(void)
{
    for (size_t i = 0; i < 256; i++) {
        dims[i] = (attn_dim_claim){"head_dim", {64, 128, 64}, 0};
        dtypes[i] = (attn_dtype_claim){"q_dtype", ATTN_F32, 0};
        option_list[i] = i == 0 ? &option : &second_option;
    }
    caps = (attn_caps){.struct_size = sizeof caps,
                       .archs = archs,
                       .dims = dims,
                       .dtypes = dtypes,
                       .num_archs = 1,
                       .num_dims = 1,
                       .num_dtypes = 1};
    option = (attn_option){.struct_size = sizeof option,
                           .type = ATTN_OPTION_INT,
                           .name = "depth",
                           .value = "3",
                           .choices = "3|4",
                           .lo = 1,
                           .hi = 8,
                           .help = "help"};
    second_option = option;
    second_option.name = "width";
}

static void
make_plugin(void)
{
    static const char names[64][4] = {"b"};
    op = (attn_op){.struct_size = sizeof op};
    fill_functions(&op, offsetof(attn_op, check), sizeof op);
    for (size_t i = 0; i < 64; i++) {
        archs[i] = "*";
        caps_list[i] = &caps;
        backends[i] = (attn_backend){.struct_size = sizeof backends[i],
                                     .device_type = ATTN_DEVICE_CPU,
                                     .name = i ? names[i] : "b",
                                     .summary = "s",
                                     .family = ATTN_FAMILY_FLASH,
                                     .op = &op,
                                     .caps = caps_list,
                                     .num_caps = 1};
        backend_list[i] = &backends[i];
    }
    plugin = (attn_plugin){.struct_size = sizeof plugin,
                           .id = "org.example.f",
                           .version = "1",
                           .vendor = "",
                           .url = "",
                           .license = "",
                           .backends = backend_list,
                           .options = option_list,
                           .num_backends = 1,
                           .num_options = 1};
    fill_functions(&plugin, offsetof(attn_plugin, get_extension),
                   sizeof plugin);
    plugin.get_extension = no_extension;
}

/* Numbers, which may take any value. */
#define NUMBER(o, f)           \
    {                          \
        &(o).f, sizeof(o).f, 0 \
    }
/* Texts and other pointers: NULL, or bytes without end. */
#define TEXT(o, f)                     \
    {                                  \
        (void *)&(o).f, sizeof(o).f, 1 \
    }
#define POINTER(o, f)                  \
    {                                  \
        (void *)&(o).f, sizeof(o).f, 2 \
    }
static const struct {
    void *field;
    size_t size;
    int kind;
} fields[] = {
    NUMBER(plugin, struct_size),
    NUMBER(plugin, flags),
    NUMBER(plugin, num_backends),
    NUMBER(plugin, num_options),
    TEXT(plugin, id),
    TEXT(plugin, version),
    TEXT(plugin, vendor),
    TEXT(plugin, url),
    TEXT(plugin, license),
    POINTER(plugin, backends),
    POINTER(plugin, options),
    POINTER(plugin, init),
    POINTER(plugin, close),
    NUMBER(backends[0], struct_size),
    NUMBER(backends[0], device_type),
    NUMBER(backends[0], num_caps),
    NUMBER(backends[0], reserved),
    TEXT(backends[0], name),
    TEXT(backends[0], summary),
    TEXT(backends[0], family),
    POINTER(backends[0], op),
    POINTER(backends[0], caps),
    NUMBER(op, struct_size),
    NUMBER(op, reserved),
    POINTER(op, check),
    POINTER(op, update_cache),
    POINTER(op, forward),
    NUMBER(caps, struct_size),
    NUMBER(caps, capture),
    NUMBER(caps, features),
    NUMBER(caps, properties),
    NUMBER(caps, max_seq_len),
    NUMBER(caps, num_archs),
    NUMBER(caps, num_dims),
    NUMBER(caps, num_dtypes),
    NUMBER(caps, reserved0),
    NUMBER(caps, reserved[2]),
    POINTER(caps, archs),
    POINTER(caps, dims),
    POINTER(caps, dtypes),
    TEXT(dims[0], name),
    NUMBER(dims[0], range),
    NUMBER(dims[0], reserved),
    TEXT(dtypes[0], name),
    NUMBER(dtypes[0], dtype),
    NUMBER(dtypes[0], reserved),
    NUMBER(option, struct_size),
    NUMBER(option, type),
    NUMBER(option, lo),
    NUMBER(option, hi),
    TEXT(option, name),
    TEXT(option, value),
    TEXT(option, choices),
    TEXT(option, help),
    TEXT(second_option, name),
    TEXT(backends[1], name),
};
#define NUM_FIELDS (sizeof fields / sizeof fields[0])

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const attn_plugin *checked = NULL;
    attn_key_value *values = NULL;
    const attn_option_source none = {0};
    attn_error err = ATTN_ERROR_INIT;
    make_claims();
    make_plugin();
    memset(text, 'x', sizeof text);
    while (size >= 2) {
        const size_t i = data[0] % NUM_FIELDS;
        size_t n = data[1] % 33;
        data += 2, size -= 2;
        n = n < size ? n : size;
        if (fields[i].kind == 0) {
            memcpy(fields[i].field, data,
                   n < fields[i].size ? n : fields[i].size);
        } else if (fields[i].kind == 2 || n == 0) {
            memset(fields[i].field, 0, sizeof(void *));
        } else {
            const char *start = text;
            memcpy(text, data, n);
            memcpy(fields[i].field, &start, sizeof start);
        }
        data += n, size -= n;
    }
    const attn_status status = attn_abi_check(1, 0, &plugin, &checked, &err);
    if (status != ATTN_OK && (status != ATTN_E_REFUSED || !err.message[0]))
        abort();
    if (status == ATTN_OK &&
        attn_options_merge(checked, &none, &values, &err) != ATTN_OK)
        abort();
    free(values);
    return 0;
}
