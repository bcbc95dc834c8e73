# SPDX-License-Identifier: Apache-2.0
"""The loops of a gfx942 kernel that multiply, out of its disassembly: what their
ordinary way through holds, and what llvm-mca makes of it.

The ordinary way is the path from a loop's head to itself that has the
exponentials of a tile, 16-byte loads and LDS writes, most matrix instructions,
and of these the shortest: no mask, no rescaling, no 8-bit cache."""
import collections
import re
import subprocess

SLOT = 4  # clocks of the unit that llvm-mca counts in: one pass of a wave
# Instructions that take four slots; llvm-mca's model gives them one.
QUARTER = re.compile(r"v_(exp|log|rcp)_f32|v_mul_(lo|hi)_u32|v_mad_u64_u32")
LINE = re.compile(r"\t(\S.*?)\s*// ([0-9A-F]+): [^<]*(?:<[^>]*?(\+0x[0-9a-f]+)?>)?$")

Op = collections.namedtuple("Op", "at text name target")


def listing(text):
    """{symbol: [Op]}; target: address that a branch goes to."""
    found, current, start = {}, None, 0
    for line in text.splitlines():
        head = re.match(r"([0-9a-f]+) <(\S+)>:", line)
        if head:
            start = int(head.group(1), 16)
            current = found.setdefault(head.group(2), [])
            continue
        m = LINE.match(line)
        if m and current is not None:
            name = m.group(1).split()[0]
            target = None
            if name.startswith(("s_cbranch", "s_branch")):
                target = start + int(m.group(3) or "0", 16)
            current.append(Op(int(m.group(2), 16), m.group(1), name, target))
    return found


def mfma(ops):
    return sum(op.name.startswith("v_mfma") for op in ops)


def extents(ops):
    """(first, last) index of each innermost loop that multiplies."""
    index = {op.at: i for i, op in enumerate(ops)}
    ends = {}
    for i, op in enumerate(ops):
        if op.target is not None and op.target <= op.at:
            ends[index[op.target]] = i
    busy = [(a, b) for a, b in ends.items() if mfma(ops[a:b + 1])]
    return sorted(x for x in busy if not any(
        y != x and x[0] <= y[0] and y[1] <= x[1] for y in busy))


def blocks(ops):
    """{start: (ops, [start of successor])} of one loop; None: its head again."""
    starts = {ops[0].at}
    for op, after in zip(ops, ops[1:] + [None]):
        if op.target is not None:
            starts.add(op.target)
            if after:
                starts.add(after.at)
    inside = {op.at for op in ops}
    graph, start = {}, None
    for op in ops:
        if op.at in starts:
            if start is not None and not graph[start][1] \
                    and graph[start][0][-1].name not in ("s_branch",):
                graph[start][1].append(op.at)
            start = op.at
            graph[start] = ([], [])
        body, to = graph[start]
        body.append(op)
        if op.target is not None:
            if op.name != "s_branch" and op.at != ops[-1].at:
                to.append(ops[ops.index(op) + 1].at)
            if op.target in inside:
                to.append(op.target)
    return graph


def order(graph, head):
    """Topological, without the edges that go back."""
    done, out = set(), []
    stack = [(head, iter(graph[head][1]))]
    done.add(head)
    while stack:
        node, rest = stack[-1]
        for to in rest:
            if to not in done:
                done.add(to)
                stack.append((to, iter(graph[to][1])))
                break
        else:
            out.append(node)
            stack.pop()
    return out[::-1]


def count(ops, *names):
    return sum(op.name.startswith(names) for op in ops)


def worth(ops):
    return mfma(ops), count(ops, "s_barrier"), -len(ops)


def needs(ops, had, exponentials):
    """What a way has of what it must have, `had` and these included."""
    has = (count(ops, "v_exp"), count(ops, "global_load_dwordx4"),
           count(ops, "ds_write_b64"), count(ops, "ds_write_b128"))
    return tuple(min(x + y, most)
                 for x, y, most in zip(has, had, (exponentials, 1, 1, 1)))


def ordinary(ops, exponentials):
    """The ops of the ordinary way through one loop."""
    graph, head = blocks(ops), ops[0].at
    place = {n: i for i, n in enumerate(order(graph, head))}
    first = head, needs(graph[head][0], (0, 0, 0, 0), exponentials)
    best = {first: (worth(graph[head][0]), None)}
    ends = []
    for node in place:
        for key in [k for k in best if k[0] == node]:
            value = best[key][0]
            for to in graph[node][1]:
                if to == head:
                    ends.append((key[1], value, key))
                elif place[to] > place[node]:
                    body = graph[to][0]
                    new = to, needs(body, key[1], exponentials)
                    more = tuple(x + y for x, y in zip(value, worth(body)))
                    if new not in best or best[new][0] < more:
                        best[new] = (more, key)
    way, key = [], max(ends)[2]
    while key:
        way[:0] = graph[key[0]][0]
        key = best[key][1]
    return way


def phases(way):
    """The way cut at its barriers, its two ends joined."""
    cut = [[]]
    for op in way:
        if op.name == "s_barrier":
            cut.append([])
        else:
            cut[-1].append(op)
    if len(cut) > 1:
        cut[0] = cut.pop() + cut[0]
    return cut


def clocks(ops, mca):
    """What llvm-mca says of a phase that runs once, and what it leaves out."""
    text = "\n".join("s_nop 0" if op.target is not None else op.text
                     for op in ops)
    said = subprocess.run(
        [mca, "-mtriple=amdgcn-amd-amdhsa", "-mcpu=gfx942", "-iterations=1",
         "-instruction-info=0", "-resource-pressure=0"], input=text + "\n",
        check=True, capture_output=True, text=True).stdout
    slots = int(re.search(r"Total Cycles:\s+(\d+)", said).group(1))
    return SLOT * (slots + 3 * sum(bool(QUARTER.match(op.name)) for op in ops))


def describe(ops, kernel, mca):
    """[{mfma, instructions, matrix, other}] of the loops that multiply; matrix
    and other in clocks, of the phase with most products and of the rest."""
    found = []
    for first, last in extents(ops):
        way = ordinary(ops[first:last + 1], kernel["exponentials_per_tile"])
        loop = {"mfma": mfma(way), "instructions": len(way)}
        if mca:
            parts = sorted(phases(way), key=mfma)
            loop["matrix"] = clocks(parts[-1], mca)
            loop["other"] = sum(clocks(p, mca) for p in parts[:-1])
        found.append(loop)
    return found
