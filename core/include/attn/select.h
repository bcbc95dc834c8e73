/* SPDX-License-Identifier: Apache-2.0 */
/* attn/select.h - describing a layer, and choosing its backend.
 *
 * Each family's layer is described once, as a table of fields; parsing,
 * defaults, checks, JSON and help come from that table. */
#ifndef ATTN_SELECT_H
#define ATTN_SELECT_H

#include <attn/api.h>
#include <attn/registry.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_FIELD_U32 0u
#define ATTN_FIELD_I32 1u
#define ATTN_FIELD_BOOL 2u /* uint32_t, 0 or 1 */
#define ATTN_FIELD_F32 3u
#define ATTN_FIELD_DTYPE 4u
#define ATTN_FIELD_ACTIVATION 5u /* uint32_t; none, silu */

/* One field of a layer struct. Static. */
typedef struct attn_field {
    const char *name;  /* "head_dim"; the same in INI, JSON and options */
    uint32_t type;     /* ATTN_FIELD_* */
    uint32_t offset;   /* bytes from the start of the layer */
    const char *value; /* default in text; "" computed or required */
    double lo, hi;
    const char *help;
} attn_field;

/* A family known to this library. Static. */
typedef struct attn_family {
    const char *key; /* "flash", "mla", "mamba2", "mamba1" */
    const char *id;  /* ATTN_FAMILY_* */
    const attn_field *fields;
    uint32_t num_fields;
    uint32_t layer_size; /* sizeof of its layer struct */
} attn_family;

/* Room for the layer of any known family, also of those to come. Frozen, 256
 * bytes. */
typedef union attn_any_layer {
    attn_layer head;
    attn_flash_layer flash;
    attn_mla_layer mla;
    attn_mamba2_layer mamba2;
    attn_mamba1_layer mamba1;
    uint64_t room[32];
} attn_any_layer;

/* [any] By key or id; NULL when unknown. Index walks all; NULL ends. */
ATTN_API const attn_family *attn_family_find(const char *key_or_id);
ATTN_API const attn_family *attn_family_at(size_t index);

/* [any] Defaults of the family. */
ATTN_API void attn_layer_init(const attn_family *family, attn_any_layer *layer);
/* [any] One field by name from text. ATTN_E_ARG: unknown name with the
 * nearest one, or a bad value with its range. */
ATTN_API attn_status attn_layer_set(attn_any_layer *layer, const char *name,
                                    const char *text, attn_error *err);
/* [any] Fills computed fields (scale 1/sqrt(head_dim) where 0, head_dim_v,
 * out_dtype, kv_dtype where absent), checks ranges and relations, derives
 * the features that follow from fields (causal, window, softcap, cross no).
 * Bits that do not follow from a field (sinks, alibi, lse, prefix ranges,
 * per-request causal, cross, scales, gate, drafts) are kept as set. */
ATTN_API attn_status attn_layer_finish(attn_any_layer *layer, attn_error *err);
/* [any] One field as text. */
ATTN_API attn_status attn_layer_get(const attn_layer *layer, const char *name,
                                    char *text, size_t size);
/* [any] "causal", "sinks", ... for one feature bit; bit by name, 0 unknown. */
ATTN_API const char *attn_feature_str(uint64_t bit);
ATTN_API uint64_t attn_feature_parse(const char *name);

#define ATTN_PHASE_ANY 0u
#define ATTN_PHASE_PREFILL 1u
#define ATTN_PHASE_DECODE 2u
#define ATTN_LAYER_INDEX_NONE 0xFFFFFFFFu

/* What is asked. Grows at its end. */
typedef struct attn_select_params {
    uint32_t struct_size;
    uint32_t phase;       /* ATTN_PHASE_* */
    uint32_t layer_index; /* for [select layers a-b]; or _NONE */
    uint32_t capture;     /* level wanted */
    const char *backend;  /* NULL, or the one name to take, never replaced */
    uint64_t max_seq_len; /* longest sequence; 0: not said */
    uint32_t device;      /* which of a backend's devices, from 0; those that
                             run on the CPU have one whatever is asked */
    uint32_t reserved;
} attn_select_params;

/* One candidate with all its reasons, winner first, then the order of
 * preference. */
typedef struct attn_candidate {
    const attn_entry *entry;
    uint32_t chosen;      /* 1: the winner */
    uint32_t eligible;    /* 1: could run the layer */
    uint32_t num_reasons; /* why it is not eligible, or why it ranks so */
    uint32_t admitted;    /* 1: the rule may take it: auto all but the emulated,
                             a list of names these alone */
    const char *const *reasons;
} attn_candidate;

typedef struct attn_selection attn_selection;

/* [any] Every candidate of the layer's family, on the device asked for. ATTN_OK
 * also when none is eligible: then attn_selection_winner is NULL and
 * attn_selection_explain says why. Where auto decides, the higher priority goes
 * first, then the less time in the [profile] sections that speak for the layer
 * and phase. ATTN_E_CONFIG: a configured name does not exist or cannot run (a
 * named backend is never replaced silently); *selection is filled then too.
 * Where
 * auto decides, also for a profile of the layer's family that names a field or
 * feature wrongly; then *selection is not written. The caller frees *selection.
 */
ATTN_API attn_status attn_select(attn_registry *registry,
                                 const attn_layer *layer,
                                 const attn_select_params *params,
                                 attn_selection **selection, attn_error *err);
ATTN_API size_t attn_selection_count(const attn_selection *selection);
ATTN_API const attn_candidate *attn_selection_at(const attn_selection *s,
                                                 size_t index);
ATTN_API const attn_entry *attn_selection_winner(const attn_selection *s);
/* [any] One line: who won by which rule ("[select] flash.decode at
 * file:line", "auto: priority 100"), or why nobody did. */
ATTN_API const char *attn_selection_rule(const attn_selection *selection);
ATTN_API void attn_selection_free(attn_selection *selection);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_SELECT_H */
