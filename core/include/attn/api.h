/* SPDX-License-Identifier: Apache-2.0 */
#define ATTN_API __attribute__((visibility("default")))
