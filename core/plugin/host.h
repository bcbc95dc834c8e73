/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/host.h - what the host gives one plugin. */
#ifndef ATTN_PLUGIN_HOST_H
#define ATTN_PLUGIN_HOST_H

#include <attn/executor.h>
#include <attn/plugin.h>

/* [any] In a page of its own that is read-only: a plugin that scribbles on it
 * faults. label: stands before each log line, cut at 63 bytes. executor:
 * borrowed; NULL: loops run on the calling thread. */
attn_status attn_host_create(const char *label, const attn_executor *executor,
                             const attn_host **host, attn_error *err);
void attn_host_destroy(const attn_host *host);

#endif /* ATTN_PLUGIN_HOST_H */
