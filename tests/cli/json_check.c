/* SPDX-License-Identifier: Apache-2.0 */
/* json_check COMMAND [PATH...] < output of attnctl COMMAND --json: valid, one
 * object, schema 1, its command, an array of rows; each PATH ("a.b", of row
 * 0, or "/a" of the whole) is there. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int
fail(const char *what, const char *detail)
{
    fprintf(stderr, "json_check: %s: %s\n", what, detail);
    return 1;
}

static json_t *
at(json_t *root, const char *path)
{
    char part[64];
    json_t *v =
        *path == '/' ? root : json_array_get(json_object_get(root, "rows"), 0);
    path += *path == '/';
    while (v && *path) {
        const size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        v = json_object_get(v, part);
        path += n + (path[n] == '.');
    }
    return v;
}

int
main(int argc, char **argv)
{
    json_error_t err;
    json_t *root = json_loadf(stdin, JSON_REJECT_DUPLICATES, &err);
    int rc = 0;
    if (argc < 2 || !root)
        return fail("not one JSON value", root ? "usage" : err.text);
    const char *command = json_string_value(json_object_get(root, "command"));
    json_t *rows = json_object_get(root, "rows");
    if (json_integer_value(json_object_get(root, "schema")) != 1)
        rc = fail("schema", "is not 1");
    else if (!command || strcmp(command, argv[1]))
        rc = fail("command", command ? command : "absent");
    else if (!json_is_array(rows))
        rc = fail("rows", "is no array");
    for (int i = 2; i < argc && !rc; i++)
        if (!at(root, argv[i]))
            rc = fail("absent", argv[i]);
    json_decref(root);
    return rc;
}
