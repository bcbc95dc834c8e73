/* SPDX-License-Identifier: Apache-2.0 */
/* attn/api.h - marks what the libraries export. */
#ifndef ATTN_API
#define ATTN_API __attribute__((visibility("default")))
#endif
