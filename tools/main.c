/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "output.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const cli_command *const cli_commands[] = {
    &cmd_list,  &cmd_inspect, &cmd_explain, &cmd_config, &cmd_test,
    &cmd_batch, &cmd_bench,   &cmd_tune,    &cmd_replay, &cmd_doctor,
    &cmd_new,   &cmd_rescan,  &cmd_help,
};
const size_t cli_num_commands = CLI_COUNT(cli_commands);

/* So that no file opened later becomes standard output. A closed stdout is
 * replaced by one that cannot be written: losing data must show. */
static void
hold_standard_files(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY);
}

static int
run_version(const cli_args *args)
{
    static const out_column columns[] = {{.path = "version"}, {.path = "abi"}};
    out_writer out;
    char abi[32];
    snprintf(abi, sizeof abi, "%d.%d", ATTN_ABI_MAJOR, ATTN_ABI_MINOR);
    if (!cli_has(args, "json") && !cli_has(args, "csv")) {
        printf("attnctl %s (plugin ABI %s)\n", attn_version(), abi);
        return out_flush(CLI_OK);
    }
    const int rc = out_open(&out, args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    out_set(&out, "version", out_text(attn_version()));
    out_set(&out, "abi", out_text(abi));
    out_row(&out,
            json_pack("{s:s, s:s}", "version", attn_version(), "abi", abi));
    return out_close(&out, CLI_OK);
}

/* "--version" takes the options of every command. */
static const cli_command version = {
    .name = "version", .operands = "", .summary = "", .run = run_version};

static int
run_command(const cli_command *c, int argc, char **argv)
{
    cli_args args;
    int rc = cli_parse(c, argc, argv, &args);
    if (rc == CLI_OK && args.help) {
        rc = cli_help(&args, c == &version ? NULL : c);
    } else if (rc == CLI_OK) {
        rc = c->run(&args);
    }
    cli_args_free(&args);
    return rc;
}

int
main(int argc, char **argv)
{
    hold_standard_files();
    if (argc < 2) {
        cli_usage(stderr, NULL);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--version"))
        return run_command(&version, argc - 2, argv + 2);
    if (!strcmp(word, "--help") || !strcmp(word, "-h"))
        return run_command(&cmd_help, argc - 2, argv + 2);
    if (word[0] == '-')
        return cli_fail(CLI_USAGE, "unknown option %s; see attnctl --help",
                        word);
    const cli_command *c = cli_command_find(word);
    if (!c)
        return cli_command_unknown(word);
    return run_command(c, argc - 2, argv + 2);
}
