/* SPDX-License-Identifier: Apache-2.0 */
/* bench_metadata.h - attnctl bench --metadata. */
#ifndef BENCH_METADATA_H
#define BENCH_METADATA_H

#include "cli.h"

/* Times every transform for each --batch spec, on one pinned core, warm.
 * Returns the exit code. */
int bench_metadata(const cli_args *args);

#endif /* BENCH_METADATA_H */
