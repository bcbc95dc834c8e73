/* SPDX-License-Identifier: Apache-2.0 */
/* attn/attn.h - the host API of libattn, whole.
 *
 * For engine authors: load a configuration (config.h), open the registry
 * (registry.h), describe a layer (select.h), and run it (session.h) on
 * batches (batch.h). doc/engine.md walks through it.
 *
 * GROWTH. What begins with struct_size grows at its end, as in plugin.h, and an
 * application that was built with fewer fields, or with more, is served: it
 * sets struct_size to sizeof. A transform's result is as large as its input
 * says that it is. What is called frozen never grows. */
#ifndef ATTN_ATTN_H
#define ATTN_ATTN_H

#include <attn/base.h>
#include <attn/batch.h>
#include <attn/call.h>
#include <attn/config.h>
#include <attn/executor.h>
#include <attn/merge.h>
#include <attn/plan.h>
#include <attn/plugin.h>
#include <attn/recurrent.h>
#include <attn/registry.h>
#include <attn/select.h>
#include <attn/session.h>
#include <attn/spec_decode.h>
#include <attn/transform.h>
#include <attn/upload.h>

#endif /* ATTN_ATTN_H */
