/* SPDX-License-Identifier: 0BSD */
/* attn/plugin.h - the whole contract between libattn and a plugin.
 *
 * A plugin is one shared object that offers attention backends. It includes
 * this file and nothing else of libattn, links to nothing of libattn, and
 * exports one symbol, attn_plugin_entry, written by ATTN_PLUGIN_ENTRY().
 *
 * The way of a backend, in the order of the calls:
 *
 *   entry        handshake: versions both ways, the plugin's table
 *   init         options; no device work
 *   check        pure: can this layer run here? reasons carry values
 *   open         one context per device
 *   builder_create, workspace, bind      per group of equal layers
 *   layer_bytes, layer_prepare           per layer: pack its constants
 *   build                                once per step: metadata -> plan
 *   update_cache, forward                per layer and step
 *   builder_destroy, close, shutdown
 *
 * THREADS. Each function pointer carries one class in brackets:
 *   [main]     serialised by the host against every other call here
 *   [any]      may run concurrently on any thread
 *   [ctx]      one thread at a time per attn_ctx
 *   [builder]  one thread at a time per attn_builder; builders run in parallel
 *   [hot]      also: no allocation, no blocking, no device synchronisation,
 *              no lock shared between builders, no host call but log and
 *              parallel_for
 *   [nocap]    never called while the stream is being captured
 *
 * MEMORY. Nothing is freed by the side that did not allocate it. What static
 * tables point to lives until the process ends: plugins are never unloaded.
 * Pointers in arguments are borrowed for the call unless said otherwise.
 *
 * GROWTH. A struct that starts with struct_size grows only at its end; its
 * maker sets struct_size, its reader uses fields that lie inside it
 * (ATTN_HAS). Such structs travel by pointer, never by value and never in
 * arrays by value. The others ("frozen") never change. Reserved fields are
 * zero. attn/abi_layout.h asserts every offset.
 *
 * VERSIONS. A plugin built for 1.x loads in every host 1.y with y >= x, and
 * in older ones down to the minor it says it needs. Within a major nothing is
 * removed or gets another meaning; numbers, bits and ids are not used again.
 * A meaning that a reader must know comes with a feature bit (ATTN_F_*) or a
 * flag, and who does not know it refuses: a host never hands a backend a
 * layer with a bit that its claims lack. A host is never older than the minor
 * that a plugin needs, but its application may be: metadata, extensions and
 * argument blocks are as long as the application made them (struct_size, at
 * least that of 1.0), and their later fields are read under ATTN_KNOWS, or
 * after attn_take; layers and limits are the host's, with defaults and zeros
 * for what the application did not know. Claims of bits beyond the host's minor
 * are passed over when the plugin is of a later minor, and refused as garbage
 * when it is not. What breaks this is a new major, with its own adapter in
 * the host (core/plugin/abi_N.c).
 *
 * No C++ exception, longjmp or signal may cross this border.
 */
#ifndef ATTN_PLUGIN_H
#define ATTN_PLUGIN_H

#include <attn/device.h>
#include <attn/layer.h>
#include <attn/metadata.h>
#include <attn/op.h>
#include <attn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------- host */

#define ATTN_LOG_ERROR 0
#define ATTN_LOG_WARN 1
#define ATTN_LOG_INFO 2
#define ATTN_LOG_DEBUG 3
#define ATTN_LOG_TRACE 4
#define ATTN_LOG_HOST_MISBEHAVING 5 /* shown as warn: the host's fault */
#define ATTN_LOG_PLUGIN_MISBEHAVING 6

/* One piece of a parallel loop. `worker` is below the max_workers passed to
 * parallel_for and is held by one thread at a time: index scratch with it. */
typedef void (*attn_task)(void *arg, uint32_t task, uint32_t worker);

/* What the host gives a plugin. Read-only; lives until shutdown returns. */
typedef struct attn_host attn_host;
struct attn_host {
    uint32_t struct_size;
    uint32_t reserved;
    void *impl;          /* the host's own */
    const char *name;    /* of the host library; for messages, never compared */
    const char *version; /* likewise */
    /* [any][hot] One line, no newline; the text is copied. */
    void (*log)(const attn_host *host, int32_t level, const char *text);
    /* [any][hot] Runs task(arg, i, w) once for each i < num_tasks on at most
     * max_workers threads, the calling one included, and returns when all
     * are done. Tasks start in ascending order of i but may run in any
     * interleaving: results must not depend on it. Must not be nested. */
    void (*parallel_for)(const attn_host *host, uint32_t num_tasks,
                         uint32_t max_workers, attn_task task, void *arg);
    /* [main] A host extension by id, NULL when unknown. None exist in 1.0. */
    const void *(*get_extension)(const attn_host *host, const char *id);
};

/* ----------------------------------------------------------------- options */

#define ATTN_OPTION_BOOL 0u   /* yes, no */
#define ATTN_OPTION_INT 1u    /* lo..hi */
#define ATTN_OPTION_FLOAT 2u  /* lo..hi */
#define ATTN_OPTION_CHOICE 3u /* one of choices */
#define ATTN_OPTION_STRING 4u

/* One knob: `option.NAME = VALUE` of its [plugin] section. The host checks
 * values against it, prints it in `attnctl inspect`, and hands init every
 * option, defaults included. Static data. */
typedef struct attn_option {
    uint32_t struct_size;
    uint32_t type;       /* ATTN_OPTION_* */
    const char *name;    /* [a-z0-9_], 1..31 bytes */
    const char *value;   /* the default, in its INI spelling */
    const char *choices; /* "auto|avx2|generic"; NULL unless a choice */
    double lo, hi;       /* for int and float */
    const char *help;    /* one line */
} attn_option;

/* Frozen. */
typedef struct attn_key_value {
    const char *key;
    const char *value;
} attn_key_value;

/* ------------------------------------------------------------------ plugin */

typedef struct attn_plugin {
    uint32_t struct_size;
    uint32_t flags;      /* none in 1.0; zero */
    const char *id;      /* reverse domain, 1..63 bytes: "org.example.x" */
    const char *version; /* of the plugin, 1..31 bytes */
    const char *vendor;
    const char *url;
    const char *license; /* SPDX expression */
    const attn_backend *const *backends;
    const attn_option *const *options;
    uint32_t num_backends; /* 1..64 */
    uint32_t num_options;  /* 0..256 */
    /* [any] A service by exact id, NULL when unknown; before or after
     * init. */
    const void *(*get_extension)(const char *id);
    /* [main] No device work. Harmless when it failed before. host lives until
     * shutdown returns. */
    attn_status (*init)(const attn_host *host, const attn_key_value *options,
                        uint32_t num_options, attn_error *err);
    /* [main] After the last close. */
    void (*shutdown)(void);
    /* [main][nocap] ATTN_E_NO_DEVICE: absent; ATTN_E_DEVICE: no code for
     * this device, named. */
    attn_status (*open)(attn_device device, attn_ctx **ctx, attn_error *err);
    void (*close)(attn_ctx *ctx); /* [main][nocap] */
} attn_plugin;

/* --------------------------------------------------------------- handshake */

#define ATTN_MAGIC_ASK 0x4E545441u /* "ATTN" */
#define ATTN_MAGIC_ACK 0x4B4E5441u /* "ATNK" */

/* Frozen for ever, across majors; 96 bytes. The host fills magic, size, its
 * range and host. The plugin acknowledges with magic, fills its own range
 * (on refusal too, so that both sides can be printed), and either chooses a
 * major of both ranges and gives its table, or leaves chosen_major 0 and says
 * why. A minor is that of the highest major of its side; an older major is
 * spoken to its last minor. */
typedef struct attn_handshake {
    uint32_t magic;
    uint32_t size;
    uint16_t host_major_lo, host_major_hi, host_minor, host_flags;
    uint16_t plugin_major_lo, plugin_major_hi, plugin_minor;
    uint16_t need_minor;   /* least minor of chosen_major it can live with */
    uint16_t chosen_major; /* lies in both ranges */
    uint16_t accepted;     /* 1: chosen_major and plugin are valid */
    uint16_t reserved16[2];
    const attn_host *host; /* log only, and only until entry returns */
    const void *plugin;    /* const attn_plugin * */
    const char *refusal;   /* one line, or NULL */
    uint64_t reserved[5];
} attn_handshake;

#if defined(__GNUC__)
#define ATTN_EXPORT __attribute__((visibility("default")))
#else
#define ATTN_EXPORT
#endif

/* [main] The one exported symbol. No side effect; may be called again. */
ATTN_EXPORT attn_status attn_plugin_entry(attn_handshake *hs);

/* Size of each growable struct at 1.0: what a reader compares with. Never
 * sizeof, which grows when a reader is recompiled. */
#define ATTN_BATCH_SIZE_1_0 104u
#define ATTN_KV_GROUP_SIZE_1_0 72u
#define ATTN_EXT_PREFIX_RANGES_SIZE_1_0 48u
#define ATTN_EXT_CONTEXT_PARALLEL_SIZE_1_0 56u
#define ATTN_EXT_STATE_SIZE_1_0 80u
#define ATTN_FLASH_LAYER_SIZE_1_0 112u
#define ATTN_MLA_LAYER_SIZE_1_0 104u
#define ATTN_MAMBA2_LAYER_SIZE_1_0 104u
#define ATTN_MAMBA1_LAYER_SIZE_1_0 96u
#define ATTN_CAPS_SIZE_1_0 104u
#define ATTN_REASONS_SIZE_1_0 32u
#define ATTN_KV_SPEC_SIZE_1_0 440u
#define ATTN_LIMITS_SIZE_1_0 40u
#define ATTN_WORKSPACE_SIZE_1_0 56u
#define ATTN_BINDING_SIZE_1_0 32u
#define ATTN_FLASH_CONSTANTS_SIZE_1_0 24u
#define ATTN_MLA_CONSTANTS_SIZE_1_0 24u
#define ATTN_MAMBA_CONSTANTS_SIZE_1_0 48u
#define ATTN_FLASH_UPDATE_SIZE_1_0 80u
#define ATTN_MLA_UPDATE_SIZE_1_0 64u
#define ATTN_FLASH_FORWARD_SIZE_1_0 96u
#define ATTN_MLA_FORWARD_SIZE_1_0 88u
#define ATTN_MAMBA2_FORWARD_SIZE_1_0 88u
#define ATTN_MAMBA1_FORWARD_SIZE_1_0 104u
#define ATTN_OP_SIZE_1_0 96u
#define ATTN_BACKEND_SIZE_1_0 56u
#define ATTN_DEVICE_INFO_SIZE_1_0 120u
#define ATTN_DEVICE_SERVICE_SIZE_1_0 160u
#define ATTN_HOST_SIZE_1_0 56u
#define ATTN_OPTION_SIZE_1_0 56u
#define ATTN_PLUGIN_SIZE_1_0 112u
#define ATTN_STRUCT_SIZE_MAX 4096u /* above: garbage */

/* ------------------------------------------------------ for plugin authors */

#define ATTN_STR_(x) #x
#define ATTN_STR(x) ATTN_STR_(x)

/* The plugin's identity in the ELF file (section .note.attn), so that
 * `attnctl list` can describe a plugin without running any of its code. */
#define ATTN_PLUGIN_NOTE(id, version, device, backends)                    \
    ATTN_PLUGIN_NOTE_("abi=" ATTN_STR(ATTN_ABI_MAJOR) "." ATTN_STR(        \
        ATTN_ABI_MINOR) "\nid=" id "\nversion=" version "\ndevice=" device \
                        "\nbackends=" backends "\n")
#define ATTN_PLUGIN_NOTE_(text)                         \
    __attribute__((section(".note.attn"), used,         \
                   aligned(4))) static const struct {   \
        uint32_t namesz, descsz, type;                  \
        char name[8], desc[(sizeof(text) + 3) / 4 * 4]; \
    } attn_plugin_note = {5, sizeof(text), 1, "ATTN", text};

/* The least host minor the plugin can live with: that of this header, unless
 * a plugin says less before it includes it. It then touches what is newer
 * than that minor only under ATTN_KNOWS; what an application makes may be
 * older than both (VERSIONS). */
#ifndef ATTN_PLUGIN_NEED_MINOR
#define ATTN_PLUGIN_NEED_MINOR ATTN_ABI_MINOR
#endif

/* The handshake, written once: ATTN_PLUGIN_ENTRY(table) defines
 * attn_plugin_entry to offer `table`, a static const attn_plugin. */
#define ATTN_PLUGIN_ENTRY(table)                      \
    attn_status attn_plugin_entry(attn_handshake *hs) \
    {                                                 \
        return attn_handshake_answer(hs, &(table));   \
    }

static inline attn_status
attn_handshake_answer(attn_handshake *hs, const attn_plugin *plugin)
{
    if (hs->magic != ATTN_MAGIC_ASK || hs->size < sizeof *hs)
        return ATTN_E_VERSION;
    const int lo = hs->host_major_lo, hi = hs->host_major_hi;
    const int minor = hs->host_minor, need = ATTN_PLUGIN_NEED_MINOR;
    hs->magic = ATTN_MAGIC_ACK;
    hs->plugin_major_lo = hs->plugin_major_hi = ATTN_ABI_MAJOR;
    hs->plugin_minor = ATTN_ABI_MINOR;
    hs->need_minor = ATTN_PLUGIN_NEED_MINOR;
    if (lo > ATTN_ABI_MAJOR || hi < ATTN_ABI_MAJOR ||
        (hi == ATTN_ABI_MAJOR && minor < need)) {
        hs->refusal = "built for ABI " ATTN_STR(ATTN_ABI_MAJOR) "." ATTN_STR(
            ATTN_ABI_MINOR);
        return ATTN_E_VERSION;
    }
    hs->chosen_major = ATTN_ABI_MAJOR;
    hs->accepted = 1;
    hs->plugin = plugin;
    return ATTN_OK;
}

static inline void
attn_text_copy(char *dst, size_t size, const char *src)
{
    size_t i = 0;
    for (; src && src[i] && i + 1 < size; i++)
        dst[i] = src[i];
    dst[i] = 0;
}

/* Copies a struct that grows, of which `size` bytes are known here: what the
 * maker knew, and zeros after it. The copy's struct_size is what was copied,
 * so that ATTN_KNOWS tells of it the same. */
static inline void
attn_take(void *to, uint32_t size, const void *from)
{
    uint8_t *dst = (uint8_t *)to;
    const uint8_t *src = (const uint8_t *)from;
    const uint32_t made = *(const uint32_t *)from;
    const uint32_t known = made < size ? made : size;
    for (uint32_t i = 0; i < size; i++)
        dst[i] = i < known ? src[i] : 0;
    *(uint32_t *)to = known;
}

/* Fills *err (if any) and returns status: return attn_fail(err, ...); */
static inline attn_status
attn_fail(attn_error *err, attn_status status, const char *where,
          const char *message)
{
    if (err && err->struct_size >= sizeof *err) {
        err->status = status;
        err->native = 0;
        attn_text_copy(err->where, sizeof err->where, where);
        attn_text_copy(err->message, sizeof err->message, message);
    }
    return status;
}

/* Appends one reason; counts it even when it no longer fits. */
static inline void
attn_reason_add(attn_reasons *r, const char *text)
{
    size_t n = 0;
    if (!r)
        return;
    r->count++;
    while (text[n])
        n++;
    if (!r->buf || r->capacity < r->used || r->capacity - r->used < n + 1)
        return;
    attn_text_copy(r->buf + r->used, n + 1, text);
    r->used += n + 1;
}

static inline int
attn_dtype_eq(attn_dtype a, attn_dtype b)
{
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

/* The block of this id on a chain, or NULL. Compares whole ids. */
static inline const attn_ext *
attn_ext_find(const attn_ext *chain, const char *id)
{
    for (; chain; chain = chain->next) {
        const char *a = chain->id, *b = id;
        while (*a && *a == *b)
            a++, b++;
        if (*a == *b)
            return chain;
    }
    return NULL;
}

#ifdef __cplusplus
}
#endif

#endif /* ATTN_PLUGIN_H */
