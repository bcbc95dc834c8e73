/* SPDX-License-Identifier: Apache-2.0 */
/* commands.h - every command of attnctl. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "cli.h"

extern const cli_command cmd_batch;
extern const cli_command cmd_list;
extern const cli_command cmd_inspect;
extern const cli_command cmd_config;
extern const cli_command cmd_explain;
extern const cli_command cmd_test;
extern const cli_command cmd_bench;
extern const cli_command cmd_tune;
extern const cli_command cmd_replay;
extern const cli_command cmd_doctor;
extern const cli_command cmd_new;
extern const cli_command cmd_rescan;
extern const cli_command cmd_help;

/* The usage of c, NULL: of the program; with --json or --csv the options. */
int cli_help(const cli_args *args, const cli_command *c);
/* By name, NULL when there is none. */
const cli_command *cli_command_find(const char *name);
/* Says so with the nearest name; CLI_USAGE. */
int cli_command_unknown(const char *name);

#endif /* COMMANDS_H */
