/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/sha256.h"

#include "unit.h"

static const char *
digest(const char *text, size_t length)
{
    static char hex[ATTN_SHA256_TEXT];
    ck_assert_int_eq(
        attn_sha256_hex(&(attn_bytes){.memory = text, .size = length}, hex), 0);
    return hex;
}

/* The examples of FIPS 180-4's companion, and sizes round each block end. */
START_TEST(known_digests)
{
    ck_assert_str_eq(
        digest("", 0),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ck_assert_str_eq(
        digest("abc", 3),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_str_eq(
        digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    ck_assert_str_eq(
        digest(million, 1000000),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    ck_assert_str_eq(
        digest(million, 64),
        "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    ck_assert_str_eq(
        digest(million, 55),
        "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    ck_assert_str_eq(
        digest(million, 4096),
        "c93eee2d0db02f10acc7460d9576e122dcf8cd53c4bf8dfcae1b3e74ebcfff5a");
    free(million);
}
END_TEST

START_TEST(unreadable)
{
    char hex[ATTN_SHA256_TEXT];
    ck_assert_int_eq(attn_sha256_hex(&(attn_bytes){.fd = -1, .size = 10}, hex),
                     -1);
}
END_TEST

UNIT_MAIN("sha256", 10, known_digests, unreadable)
