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
version(void)
{
    printf("attnctl %s (plugin ABI %d.%d)\n", attn_version(), ATTN_ABI_MAJOR,
           ATTN_ABI_MINOR);
    return out_flush(CLI_OK);
}

static int
run_command(const cli_command *c, int argc, char **argv)
{
    cli_args args;
    int rc = cli_parse(c, argc, argv, &args);
    if (rc == CLI_OK && args.help) {
        cli_usage(stdout, c);
        rc = out_flush(CLI_OK);
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
        return version();
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
        cli_usage(stdout, NULL);
        return out_flush(CLI_OK);
    }
    if (word[0] == '-')
        return cli_fail(CLI_USAGE, "unknown option %s; see attnctl --help",
                        word);
    const cli_command *c = cli_command_find(word);
    if (!c)
        return cli_command_unknown(word);
    return run_command(c, argc - 2, argv + 2);
}
