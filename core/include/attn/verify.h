/* SPDX-License-Identifier: Apache-2.0 */
/* attn/verify.h - libattn-verify: is a backend right, and how fast could it
 * be?
 *
 * Problems are attn_call objects (call.h), recorded or generated. An oracle
 * computes them in double precision from the definitions of layer.h, a runner
 * executes them on a backend under guard, a comparison applies one rule, and
 * the ladder puts these together, each rung in a child of its own.
 *
 *   attn_call_load, attn_case_make       a problem
 *   attn_reference_create                what must come out
 *   attn_call_run                        what does come out
 *   attn_compare                         the verdict
 *   attn_ladder_run                      all of it, for `attnctl test`
 *   attn_bench_*, attn_roof_measure      for `attnctl bench`
 *
 * Nothing here is hot; all functions may allocate. Link with -lattn-verify.
 */
#ifndef ATTN_VERIFY_H
#define ATTN_VERIFY_H

#include <attn/api.h>
#include <attn/batch.h>
#include <attn/call.h>
#include <attn/registry.h>
#include <attn/select.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------- recorded calls */

/* [any] Reads an attn-call/1 file (safetensors). Every offset, size, dtype,
 * shape and the layer are checked: ATTN_E_FORMAT says what is wrong and
 * where, ATTN_E_IO has errno in native. The caller frees *call. */
ATTN_API attn_status attn_call_load(const char *path, attn_call **call,
                                    attn_error *err);

/* [any] The same from memory; `name` stands for the path in messages. */
ATTN_API attn_status attn_call_parse(const char *name, const void *data,
                                     size_t size, attn_call **call,
                                     attn_error *err);

/* --------------------------------------------------------- generated calls */

#define ATTN_CASE_NEW_TOKENS                                                   \
    1u                         /* adds k, v (MLA: latent, k_pe), slot_mapping: \
                                  the run writes them by update_cache first */
#define ATTN_CASE_NO_POISON 2u /* spare pages hold numbers: for timing */
#define ATTN_CASE_IN_ORDER 4u  /* pages not permuted */
#define ATTN_CASE_LARGE 8u     /* scores up to about +-90 */
#define ATTN_CASE_PADDING 16u  /* a padding request and padding tokens */

/* What to generate. Which optional tensors exist follows from the layer's
 * feature bits (sinks, ALiBi, prefix ranges, scales, gate, drafts,
 * checkpoints, per-request causal, cross, lse). The same parameters give the
 * same bytes on every machine. */
typedef struct attn_case_params {
    uint32_t struct_size;
    uint32_t num_reqs;
    const attn_layer *layer;           /* finished (attn_layer_finish) */
    const attn_spec_request *requests; /* [num_reqs] query_len, seq_len; Mamba:
                                          seq_len > query_len has a state */
    uint64_t seed;
    uint32_t flags; /* ATTN_CASE_* */
    uint32_t reserved;
} attn_case_params;

/* [any] Pages no request owns and page tails hold NaN, block-table entries
 * past a sequence 0x7FFFFFFF, foreign states NaN. ATTN_E_ARG names a request
 * that the layer cannot have; ATTN_E_UNSUPPORTED: it and a copy of it take more
 * than this machine's memory, and nothing was allocated. The caller frees
 * *call. */
ATTN_API attn_status attn_case_make(const attn_case_params *params,
                                    attn_call **call, attn_error *err);

/* What one forward of a call must do at least. */
typedef struct attn_cost {
    uint32_t struct_size;
    uint32_t reserved;
    double flops; /* multiply and add count 2; flash: 2 (D + Dv) H per visible
                     pair */
    double bytes; /* inputs read once and outputs written once */
    double tokens;
} attn_cost;

/* [any] */
ATTN_API void attn_call_cost(const attn_call *call, attn_cost *cost);

/* --------------------------------------------------------------- reference */

/* One output that is checked, as rows of row_size elements: row i is element
 * rows[i] * row_size of the dense output and on. Owned by the reference. */
typedef struct attn_reference_block {
    const char *name; /* "out", "lse", "conv_state", "ssm_state" */
    attn_dtype dtype; /* of the backend's output */
    uint32_t is_lse;  /* 1: the rule for lse applies */
    uint64_t num_rows, row_size;
    const int64_t *rows; /* [num_rows], ascending */
    const double *exact; /* [num_rows, row_size] from the definition */
    const double *plain; /* ... by the plain implementation, rounded */
} attn_reference_block;

typedef struct attn_reference attn_reference;

#define ATTN_REFERENCE_USE_EXPECTED                                         \
    1u                               /* the file's expected.* (float64) are \
                                        the exact values where present */
#define ATTN_REFERENCE_EXACT_ONLY 2u /* plain = exact */

/* [any] Computes what `call` must give. max_rows: rows (tokens) checked per
 * request, 0 for all, else at least 64 are taken where a request has as many:
 * first, last, page edges and a random rest. A call with new tokens is
 * computed on the caches as they are after update_cache. ATTN_E_UNSUPPORTED:
 * no oracle for this family; ATTN_E_FORMAT: a tensor is missing or does not
 * fit. The caller frees *reference. */
ATTN_API attn_status attn_reference_create(const attn_call *call,
                                           uint32_t max_rows, uint32_t flags,
                                           attn_reference **reference,
                                           attn_error *err);
ATTN_API void attn_reference_free(attn_reference *reference);
ATTN_API size_t attn_reference_count(const attn_reference *reference);
ATTN_API const attn_reference_block *
attn_reference_at(const attn_reference *reference, size_t index);

/* -------------------------------------------------------------- comparison */

/* The verdict on one output. The rule: max error at most 2x and mean error at
 * most 1.5x those of the plain implementation, which count as at least half
 * an ulp (mean: a quarter) of the output's type; lse at most
 * max(1e-5, 2e-6 max|lse|, 2x plain); NaN and infinity where the exact values
 * have them and nowhere else. */
typedef struct attn_verdict {
    uint32_t struct_size;
    uint32_t pass; /* 1: within the rule */
    char name[32]; /* of the output */
    uint64_t count;
    double max_error, mean_error; /* of the backend, absolute */
    double plain_max, plain_mean; /* of the plain implementation */
    double bound_max, bound_mean; /* what was allowed */
    uint64_t mask_errors;         /* NaN or infinity in the wrong place */
    int64_t worst;                /* element index of the dense output */
    double worst_got, worst_want;
    char reason[192]; /* one line when it fails, else "" */
} attn_verdict;

/* [any] One block against the dense tensor of the same name in `result`. */
ATTN_API attn_status attn_compare_block(const attn_reference_block *block,
                                        const attn_call *result,
                                        attn_verdict *verdict, attn_error *err);

/* [any] All blocks; *pass is 1 when each passes. verdicts may be NULL or has
 * room for attn_reference_count of them. An lse that `result` lacks counts as
 * not asked for: its verdict passes with count 0. */
ATTN_API attn_status attn_compare(const attn_reference *reference,
                                  const attn_call *result,
                                  attn_verdict *verdicts, uint32_t *pass,
                                  attn_error *err);

/* --------------------------------------------------------------------- run */

#define ATTN_RUN_CAPTURE 1u /* device: forward in a graph, launched once */
#define ATTN_RUN_PADDED 2u  /* free outer strides longer than needed */
#define ATTN_RUN_TURNED 4u  /* blocks of K and V lie head by head */

typedef struct attn_run_params {
    uint32_t struct_size;
    uint32_t flags;       /* ATTN_RUN_* */
    uint32_t num_threads; /* limits.num_threads; 0: the executor's */
    uint32_t reserved;
} attn_run_params;

/* [main] Executes a call once on a ready entry of the registry, straight
 * through the contract of plugin.h: builder, workspace, bind, layer_prepare,
 * build, update_cache where the call has new tokens, forward. On the host
 * every tensor, metadata array and workspace ends at an unmapped page and
 * inputs are read-only; on a device margins are checked; outputs and
 * workspaces start as NaN. *result is a call of the same layer with "out" and
 * what else the family writes (lse, conv_state, ssm_state; k_cache, v_cache
 * or kv_cache after an update). ATTN_E_UNSUPPORTED: the backend refuses the
 * layer; ATTN_E_INTERNAL: it wrote outside its outputs. params may be NULL;
 * registry too, for an entry whose plugin the caller initialised himself.
 * The caller frees *result. */
ATTN_API attn_status attn_call_run(attn_registry *registry,
                                   const attn_entry *entry,
                                   const attn_call *call,
                                   const attn_run_params *params,
                                   attn_call **result, attn_error *err);

/* ------------------------------------------------------------------ ladder */

/* One rung. Static, in the order they run. */
typedef struct attn_rung {
    const char *name; /* "file", "handshake", "claims", "check", "numerics",
                         "memory", "capture", "threads", "invariance",
                         "leaks" */
    const char *help; /* one line */
    uint32_t limit_s; /* time limit of its child; a quick ladder: a third */
    uint32_t reserved;
} attn_rung;

/* [any] NULL past the last. */
ATTN_API const attn_rung *attn_rung_at(size_t index);

#define ATTN_RUNG_PASS 0u
#define ATTN_RUNG_FAIL 1u
#define ATTN_RUNG_SKIP 2u

/* Strings are valid during the callback. */
typedef struct attn_rung_result {
    uint32_t struct_size;
    uint32_t state;      /* ATTN_RUNG_* */
    const char *backend; /* "-" for rungs of the file */
    const char *rung;
    const char *reason;    /* one line; what was run when it passed */
    const char *reproduce; /* command line, "" when it passed */
    uint64_t seed;         /* of the failing case; 0: none */
    uint32_t num_cases;    /* that ran */
    uint32_t reserved;
    double seconds;
} attn_rung_result;

/* A claim of the backend's capabilities, and whether a case that needed it
 * passed. */
typedef struct attn_claim_result {
    uint32_t struct_size;
    uint32_t proven; /* 1: yes */
    const char *backend;
    const char *kind;   /* "dtype", "feature", "dim", "property", "capture" */
    const char *claim;  /* "q_dtype bf16", "sinks", "head_dim 256" */
    const char *reason; /* why not; "" when proven */
} attn_claim_result;

typedef struct attn_ladder_events {
    void *arg;
    /* Before a rung and between its cases (done of total, 0 unknown). */
    void (*progress)(void *arg, const char *backend, const char *rung,
                     uint32_t done, uint32_t total);
    void (*rung)(void *arg, const attn_rung_result *result);
    void (*claim)(void *arg, const attn_claim_result *result);
} attn_ladder_events;

/* Grows at its end. */
typedef struct attn_ladder_params {
    uint32_t struct_size;
    uint32_t quick;      /* 1: about ten seconds for a fast backend */
    uint32_t in_process; /* 1: no child, no limit: for a debugger */
    uint32_t num_threads;
    const attn_config *config;     /* borrowed */
    const char *only_library;      /* NULL, or the file to test */
    const char *backend;           /* NULL: every backend that is found */
    const char *rung;              /* NULL: all */
    const attn_key_value *options; /* NULL-key terminated, may be NULL */
    uint64_t seed;                 /* of random cases; 0: a fixed one */
    uint64_t only_case;            /* not 0: this case of numerics alone */
    /* Only backends that have this device (attn_entry_is_on), on it; NULL:
     * each on its first. */
    const char *device;
} attn_ladder_params;

/* What a ladder came to. The caller sets struct_size; what lies in it is
 * written. Grows at its end. */
typedef struct attn_ladder_summary {
    uint32_t struct_size;
    uint32_t num_backends; /* that were tested */
    uint32_t passed, failed, skipped;
    uint32_t claims, claims_proven;
    uint32_t reserved;
} attn_ladder_summary;

/* [main] Runs the ladder. The calling process loads no plugin (so must not
 * have opened a registry with device plugins before): rungs run in forked
 * children. A backend without its device gives one skipped "handshake" rung.
 * ATTN_OK whatever the rungs say; ATTN_E_NOT_FOUND: no such backend or rung,
 * with the nearest names, or device; ATTN_E_REFUSED never: a refused file is a
 * failed rung. */
ATTN_API attn_status attn_ladder_run(const attn_ladder_params *params,
                                     const attn_ladder_events *events,
                                     attn_ladder_summary *summary,
                                     attn_error *err);

/* ------------------------------------------------------------------- roofs */

/* What this machine gives, measured now. Rates per second; 0: not there. The
 * caller sets struct_size. Grows at its end. */
typedef struct attn_roof {
    uint32_t struct_size;
    uint32_t num_threads;
    double read_bytes;     /* streaming reads beyond the last-level cache */
    double f32_flops;      /* fused multiply-add, best vector width */
    double bf16_flops;     /* vdpbf16ps, or AMX tiles; else f32_flops */
    const char *f32_kind;  /* "avx512", "avx2", "generic" */
    const char *bf16_kind; /* "amx", "avx512bf16", "f32" */
    double f64_flops;      /* as f32_flops, of f64 */
} attn_roof;

/* [any] Takes about `seconds` for each of the rates (0: 0.15). Writes what lies
 * in roof->struct_size. */
ATTN_API attn_status attn_roof_measure(uint32_t num_threads, double seconds,
                                       attn_roof *roof, attn_error *err);

/* ------------------------------------------------------------------- bench */

#define ATTN_CACHE_COLD 0u /* caches cycle through more copies than fit */
#define ATTN_CACHE_WARM 1u /* one copy, used again and again */

typedef struct attn_bench_params {
    uint32_t struct_size;
    uint32_t num_reqs;
    const attn_layer *layer;
    const attn_spec_request *requests;
    uint32_t num_threads; /* 0: the executor's */
    uint32_t cache;       /* ATTN_CACHE_* wanted */
    uint64_t seed;
    uint32_t skip_check;  /* 1: time even a wrong result */
    uint32_t use_graph;   /* 1: time a graph launch, on a device */
    uint32_t num_readers; /* host: threads of streaming reads beside; 0: none */
    uint32_t is_turned;   /* 1: blocks of K and V lie head by head (HND) */
} attn_bench_params;

/* Percentiles in microseconds. */
typedef struct attn_times {
    double p50, p90, p99, min, mean;
    uint32_t count;
    uint32_t reserved;
} attn_times;

typedef struct attn_bench_result {
    uint32_t struct_size;
    uint32_t cache; /* reached, ATTN_CACHE_* */
    attn_times build;
    attn_times forward;
    attn_cost cost;
    double copies_bytes; /* all copies of the caches together */
    attn_verdict verdict;
    /* Streaming reads between the forwards; 0: not measured. */
    double read_bytes;   /* per second, median */
    double stream_bytes; /* what they move in the time of one forward */
} attn_bench_result;

typedef struct attn_bench attn_bench;

/* [main] Sets the problem up and checks its result on sampled rows first:
 * ATTN_E_INTERNAL with the verdict's line when it is wrong. ATTN_E_UNSUPPORTED:
 * a graph of a backend that runs on the CPU or claims no capture. */
ATTN_API attn_status attn_bench_create(attn_registry *registry,
                                       const attn_entry *entry,
                                       const attn_bench_params *params,
                                       attn_bench **bench, attn_error *err);
ATTN_API void attn_bench_destroy(attn_bench *bench);
/* [main] *result is written as far as its struct_size, which the caller sets.
 * Warms up, then times build and forward for about `seconds`, each at
 * least 5 times. On a device, by its events. With num_readers, and where the
 * caches are cold: in slices, before and after each of which that many threads
 * read for some milliseconds, since the memory of a shared machine is twice as
 * fast in one second as in the next. stream_bytes is the median over slices
 * of the slice's median forward times the mean of the two rates beside it. */
ATTN_API attn_status attn_bench_measure(attn_bench *bench, double seconds,
                                        attn_bench_result *result,
                                        attn_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_VERIFY_H */
