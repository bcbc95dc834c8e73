/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h - commands of attnctl as data, and the parser of their arguments.
 *
 * A command is one static struct; its usage text, the checks of the man page
 * and of the completion, and the parser all read the same option tables. */
#ifndef CLI_H
#define CLI_H

#include <attn/attn.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of attnctl(1). */
#define CLI_OK 0
#define CLI_FAILED 1   /* a test or threshold failed, a file was refused */
#define CLI_USAGE 2    /* the command line is wrong */
#define CLI_CONFIG 3   /* configuration or a malformed input file */
#define CLI_UNUSABLE 4 /* no usable backend, or the layer is unsupported */
#define CLI_INTERNAL 5
#define CLI_SKIPPED 77 /* the device is absent */

#define CLI_LIST 1u  /* a comma list is a grid */
#define CLI_MULTI 2u /* may be given more than once */

/* One option: "--name ARG", "--name=ARG", or a flag. */
typedef struct cli_option {
    const char *name; /* without the dashes: "head-dim" */
    const char *arg;  /* what it takes, for the usage text; NULL: a flag */
    const char *help; /* one line */
    uint32_t flags;   /* CLI_LIST, CLI_MULTI */
} cli_option;

#define CLI_LAYER 1u /* the fields of the families' layers are options too */

typedef struct cli_args cli_args;

/* One command. Static. */
typedef struct cli_command {
    const char *name;
    const char *operands; /* "FILE...", for the usage text; "" none */
    const char *summary;  /* one line */
    const cli_option *options;
    uint32_t num_options;
    uint32_t min_operands;
    uint32_t max_operands;
    uint32_t flags; /* CLI_LAYER */
    /* Returns the exit code, having said on stderr what went wrong. */
    int (*run)(const cli_args *args);
} cli_command;

/* The commands of this program, in the order of the usage text. */
extern const cli_command *const cli_commands[];
extern const size_t cli_num_commands;
/* The options that every command takes. */
extern const cli_option cli_common[];
extern const size_t cli_num_common;
/* The spellings that come beside the layers' own fields. */
extern const cli_option cli_layer_options[];
extern const size_t cli_num_layer_options;

typedef struct cli_pair {
    const char *name;  /* static: of the option, or of the layer's field */
    const char *value; /* "" for a flag */
} cli_pair;

/* What was given. Strings are borrowed from argv. */
struct cli_args {
    const cli_command *command;
    cli_pair *options;
    cli_pair *layer; /* options that describe a layer, in their order */
    const char **operands;
    size_t num_options, num_layer, num_operands;
    int help; /* --help was given: nothing else was checked */
};

/* Parses the words after the command's name. CLI_OK, or CLI_USAGE after the
 * message. args is released with cli_args_free in either case. */
int cli_parse(const cli_command *command, int argc, char **argv,
              cli_args *args);
void cli_args_free(cli_args *args);

/* The last value given, NULL when absent. */
const char *cli_get(const cli_args *args, const char *name);
int cli_has(const cli_args *args, const char *name);
/* The number of times it was given, and each value. */
size_t cli_count(const cli_args *args, const char *name);
const char *cli_nth(const cli_args *args, const char *name, size_t index);
/* A whole number in lo..hi; *value keeps its default when absent. CLI_OK or
 * CLI_USAGE after the message. */
int cli_get_u64(const cli_args *args, const char *name, uint64_t lo,
                uint64_t hi, uint64_t *value);
/* The same from text, for `what` in the message. */
int cli_parse_u64(const char *what, const char *text, uint64_t lo, uint64_t hi,
                  uint64_t *value);
int cli_get_double(const cli_args *args, const char *name, double lo, double hi,
                   double *value);

/* Splits "a,b,c" (no empty part). *parts points into one block that the
 * caller frees. CLI_USAGE after the message. */
int cli_split(const char *what, const char *text, char ***parts, size_t *count);

/* The nearest of `count` names read through `at`, NULL when none is near. */
const char *cli_nearest(const char *word, const char *(*at)(size_t, void *),
                        void *arg, size_t count);

/* Prints "attnctl: ..." on stderr and returns code. */
int cli_fail(int code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the error and returns the exit code of its status. */
int cli_fail_error(const attn_error *err);
int cli_exit_code(attn_status status);

/* Usage text, on `to` (a FILE *). command NULL: of the program. */
void cli_usage(void *to, const cli_command *command);

/* A progress line on stderr, only when that is a terminal; replaced by the
 * next one. NULL clears it. */
void cli_progress(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* An attn_error ready to be passed. */
#define CLI_ERROR_INIT ((attn_error){.struct_size = sizeof(attn_error)})

/* Elements of a static array. */
#define CLI_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif /* CLI_H */
