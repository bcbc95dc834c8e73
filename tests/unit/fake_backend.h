/* SPDX-License-Identifier: Apache-2.0 */
/* fake_backend.h - a registry of two made-up backends, for session tests.
 *
 * fake.a and fake.b offer flash layers, or those of fake.family, which forward
 * and update_cache then leave alone. forward writes into every element of
 * out: 1000 * (1 for fake.a, 2 for fake.b) + 10 * the request's seq_len + its
 * new token's number; update_cache writes a token's k into the cache at its
 * slot. A test program that compiles fake_backend.c has these in place of
 * the loader's registry. */
#ifndef ATTN_TESTS_FAKE_BACKEND_H
#define ATTN_TESTS_FAKE_BACKEND_H

#include <attn/session.h>

typedef struct fake_state {
    uint32_t builds, forwards, updates; /* of both */
    uint32_t reqs_of[2], tokens_of[2];  /* of the last build, a and b */
    uint32_t first_start_of[2];         /* query_start_loc[0] it saw */
    attn_status build_status;           /* what build answers */
    const char *build_message;          /* NULL: leaves err alone */
    int on_device;                      /* 1: they run on a made-up device */
    int two_devices;                    /* 1: fake.a on two, no fake.b */
    int apart;                          /* 1: only fake.b runs on it */
    attn_device last_device;            /* of the last alloc */
    uint64_t live_device_bytes, copies;
    const void *last_source; /* of the last copy */
    const char *family;      /* NULL: flash; before fake_registry */
    /* Sees what build is given, `which` 0 for fake.a; may be NULL. */
    void (*look)(int which, const attn_batch *batch, const attn_kv_group *kv);
} fake_state;

extern fake_state fake;

/* The registry handle to give to attn_session_create; ini is parsed as its
 * configuration. */
attn_registry *fake_registry(const char *ini);
void fake_registry_free(void);

#endif /* ATTN_TESTS_FAKE_BACKEND_H */
