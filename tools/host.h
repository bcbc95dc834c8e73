/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - configuration and registry of one run of attnctl. */
#ifndef HOST_H
#define HOST_H

#include "cli.h"

typedef struct host {
    attn_config *config;
    attn_registry *registry;
    attn_executor *executor; /* NULL: the registry's own */
    attn_key_value *options; /* from --option; ends with a NULL key */
} host;

/* Loads the configuration of --config, else $ATTN_CONFIG, else in a build
 * tree its attn.ini, else the installed one; warnings go to stderr. An exit
 * code; the caller frees *config. */
int host_config(const cli_args *args, attn_config **config);

/* The values of --option, ending with a NULL key; *options is NULL when there
 * are none. One block that the caller frees. */
int host_options(const cli_args *args, attn_key_value **options);

/* Configuration and registry. library: NULL, or the one file to load.
 * --option values go to the library, or to the plugin of `backend` (may be
 * NULL when there are none). threads 0: as many as there are. On failure
 * nothing is left open. */
int host_open(const cli_args *args, const char *library, const char *backend,
              uint32_t threads, host *h);
void host_close(host *h);

/* For commands whose rows say it: no warning about each plugin that is not
 * ready. */
void host_quiet(void);

/* The ready entry of that name on that device (attn_entry_is_on; NULL: the
 * first), else what is wrong with it. CLI_OK, or CLI_UNUSABLE, CLI_SKIPPED,
 * CLI_FAILED (refused) after the message. */
int host_backend(const host *h, const char *name, const char *device,
                 const attn_entry **entry);

/* The best of what selection may take for this layer that is on that device
 * (NULL: the first of each). CLI_OK, or an exit code after the message. */
int host_select(const host *h, const attn_layer *layer, const char *device,
                const attn_entry **entry);

/* A word that names a file rather than a backend: it has a slash or ends in
 * ".so". */
int host_is_file(const char *word);

/* What /proc/cpuinfo says of the first processor under this name, such as
 * "flags"; 0 when it says nothing. */
int host_cpuinfo(const char *name, char *value, size_t size);

/* The path of the build tree's attn.ini, when this program runs in one. */
const char *host_build_config(char *path, size_t size);

#endif /* HOST_H */
