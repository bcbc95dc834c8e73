#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes attn/abi_layout.h, or with --check says whether it is true.

usage: gen-layout.py [--check | --break] CC INCLUDE_DIR

The structs come from the headers that plugin.h includes, in their order;
offsets and sizes from a program that CC compiles. A line of the old file
that is no longer true is an error (--break: write it anyway, for a new ABI),
and a struct that grew keeps its first size."""
import os
import re
import subprocess
import sys
import tempfile

# Begin with struct_size and yet never change.
FROZEN = {"attn_error", "attn_ext", "attn_head", "attn_layer"}
GROWING_HEADS = ("uint32_t struct_size", "attn_head head", "attn_ext head",
                 "attn_layer head")
HEADERS = ["types.h", "metadata.h", "layer.h", "op.h", "device.h", "plugin.h"]

HEAD = """\
/* SPDX-License-Identifier: 0BSD */
/* attn/abi_layout.h - the layout of ABI %s, field by field.
 *
 * Written by build-aux/gen-layout.py at a release; afterwards
 * lines are only added. Compiled as C and C++ by the tests. */
#ifndef ATTN_ABI_LAYOUT_H
#define ATTN_ABI_LAYOUT_H

#include <attn/plugin.h>

#ifdef __cplusplus
#define ATTN_LAYOUT_(c) static_assert(c, #c)
#else
#define ATTN_LAYOUT_(c) _Static_assert(c, #c)
#endif
#define ATTN_AT(t, f, o) ATTN_LAYOUT_(offsetof(t, f) == (o))
/* One that grows at its end, and the constant a reader compares with. */
#define ATTN_SIZE(t, first, n) ATTN_LAYOUT_(sizeof(t) >= (n) && first == (n))
#define ATTN_FROZEN(t, n) ATTN_LAYOUT_(sizeof(t) == (n))
"""
TAIL = "\n#endif /* ATTN_ABI_LAYOUT_H */\n"


def declarators(member):
    """Names declared by one member: `double lo, hi` or `void (*free)(...)`."""
    pointer = re.match(r"[^()]*\(\s*\*\s*(\w+)\s*\)", member)
    if pointer:
        return [pointer.group(1)]
    return [re.search(r"(\w+)\s*(\[[^\]]*\])*\s*$", part).group(1)
            for part in member.split(",")]


def first_size(name, text):
    """The constant that holds the size a growing struct began with."""
    stem = name.upper() + "_SIZE_"
    found = re.search(r"#define (%s\d+_\d+) " % stem, text)
    if not found:
        sys.exit(f"plugin.h has no {stem}MAJOR_MINOR")
    return found.group(1)


def structs(include):
    with open(os.path.join(include, "attn", "plugin.h")) as f:
        sizes = f.read()
    for header in HEADERS:
        with open(os.path.join(include, "attn", header)) as f:
            text = f.read()
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        text = re.sub(r"^#(?:\\\n|[^\n])*$", "", text, flags=re.M)
        for name, body in re.findall(r"struct (\w+) \{([^{}]*)\}", text):
            members = [m.strip() for m in body.split(";") if m.strip()]
            grows = (members[0].startswith(GROWING_HEADS)
                     and name not in FROZEN)
            yield (name, [d for m in members for d in declarators(m)],
                   first_size(name, sizes) if grows else "")


def measure(cc, include, found):
    lines = ["#include <attn/plugin.h>", "#include <stdio.h>",
             "int main(void) {",
             'printf("abi %d.%d\\n", ATTN_ABI_MAJOR, ATTN_ABI_MINOR);']
    for name, fields, first in found:
        lines.append(f'printf("size {name} %zu {first}\\n", sizeof({name}));')
        lines += [f'printf("at {name} {f} %zu\\n", offsetof({name}, {f}));'
                  for f in fields]
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as tmp:
        source, program = os.path.join(tmp, "l.c"), os.path.join(tmp, "l")
        with open(source, "w") as f:
            f.write("\n".join(lines))
        subprocess.run([*cc.split(), "-I", include, source, "-o", program],
                       check=True)
        return subprocess.run([program], check=True, capture_output=True,
                              text=True).stdout.splitlines()


def render(measured, old):
    sizes = {m[0]: int(m[1])
             for m in re.findall(r"ATTN_SIZE\((\w+), \w+, (\d+)\)", old)}
    out = ""
    for line in measured:
        kind, *rest = line.split()
        if kind == "abi":
            out += HEAD % rest[0]
        elif kind == "size":
            name, size, *first = rest
            if first:
                size = min(int(size), sizes.get(name, int(size)))
                out += f"\nATTN_SIZE({name}, {first[0]}, {size});\n"
            else:
                out += f"\nATTN_FROZEN({name}, {size});\n"
        else:
            out += f"ATTN_AT({rest[0]}, {rest[1]}, {rest[2]});\n"
    return out + TAIL


def main(args):
    mode = args.pop(0) if args and args[0].startswith("--") else ""
    if len(args) != 2 or mode not in ("", "--check", "--break"):
        sys.exit(__doc__)
    path = os.path.join(args[1], "attn", "abi_layout.h")
    old = ""
    if os.path.exists(path):
        with open(path) as f:
            old = f.read()
    found = list(structs(args[1]))
    base = "" if mode == "--break" else old
    new = render(measure(args[0], args[1], found), base)
    lines = set(new.splitlines())
    lost = [line for line in base.splitlines()
            if line.startswith(("ATTN_AT", "ATTN_SIZE", "ATTN_FROZEN")) and line not in lines]
    for line in lost:
        print(f"abi_layout.h: no longer true: {line}", file=sys.stderr)
    if lost:
        sys.exit(1)
    if mode == "--check":
        if new != old:
            sys.exit("abi_layout.h lacks lines: run build-aux/gen-layout.py")
    elif new != old:
        with open(path, "w") as f:
            f.write(new)


main(sys.argv[1:])
