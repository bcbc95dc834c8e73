#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed batches of flash.cuda over pages of 16 in random order, beside its own speed on contiguous
caches (one page a request, in order): what PyTorch's SDPA does not take has no other measure.

A line names a mixed batch and the batches it is measured against, BATCH=BATCH+BATCH...: the right
side's requests are uniform, and together have as many tokens and visible pairs as the left side's.
  bench_mixed.py SHIM.so PLUGIN.so [LINE]...     BATCH: [n]q<tokens>[s<keys>]_..., k for 1024
Each side's calls lie in graphs that are replayed in turn; the median of seven rounds counts. The
graphs of a right side with several batches are timed one by one and added up. Every output is
checked against an fp32 reference.
"""
import math
import os
import re
import statistics
import sys

import torch

import bench_torch as bench
from bench_turns import graph, once

HEADS, KV_HEADS, DIM = 64, 8, 128
REPS = 5  # calls in a graph
LINES = [
    "q6k_q4k_3q2k=4q4k",
    "q3k_q2k_3q1k=4q2k",
    "4q512s4k_4q512s12k=8q512s8k",
    "16q1s2k_16q1s14k=32q1s8k",
    "32q1s4k_2q4k=32q1s4k+2q4k",
    "64q1s2k_q1k_q512s8k=64q1s2k+q1k+q512s8k",
]


def number(text):
    return int(text[:-1]) * 1024 if text.endswith("k") else int(text)


def requests(batch):
    """[(tokens, keys)] of a batch spec."""
    out = []
    for part in batch.split("_"):
        n, q, s = re.fullmatch(r"(\d*)q(\d+k?)(?:s(\d+k?))?", part).groups()
        out += int(n or 1) * [(number(q), number(s or q))]
    return out


def pairs(reqs):
    return sum(q * s - q * (q - 1) // 2 for q, s in reqs)


class Step(bench.Flash):
    """One step of requests of any lengths; block 0: a page a request, pages in order."""

    def __init__(self, lib, plugin, reqs, block):
        self.lib, self.reqs_list = lib, reqs
        self.reqs, self.tokens = len(reqs), sum(q for q, _ in reqs)
        self.q, self.s = max(q for q, _ in reqs), max(s for _, s in reqs)
        self.block = block or (self.s + 127) // 128 * 128
        self.h = lib.shim_open(os.path.abspath(plugin).encode(), b"auto", HEADS, KV_HEADS, DIM, DIM,
                               self.block, 4, 4, 16, 1, -1, bench.C.c_float(1 / math.sqrt(DIM)), self.reqs,
                               self.tokens, self.q, self.s, 3, bench.C.c_uint64(bench.stream.cuda_stream))
        if not self.h:
            raise RuntimeError(lib.shim_error().decode())
        self.work = torch.empty(lib.shim_workspace_bytes(self.h), dtype=torch.uint8, device="cuda")
        self.layer = torch.empty(1 << 16, dtype=torch.uint8, device="cuda")
        self.check(lib.shim_bind(self.h, self.work.data_ptr(), self.layer.data_ptr()))
        self.fill_metadata(block)
        self.build()
        self.fill_tensors()
        self.run(False)
        self.error = max(self.error_of(r) for r in range(self.reqs))

    def fill_metadata(self, block):
        counts = [(s + self.block - 1) // self.block for _, s in self.reqs_list]
        self.cols, self.blocks = max(counts), sum(counts)
        order = torch.randperm(self.blocks) if block else torch.arange(self.blocks)
        table = torch.zeros(self.reqs, self.cols, dtype=torch.int32)
        for r, n in enumerate(counts):
            table[r, :n] = order[sum(counts[:r]):][:n]
        starts = [sum(q for q, _ in self.reqs_list[:r]) for r in range(self.reqs + 1)]
        self.host = torch.tensor(starts, dtype=torch.int32)
        self.qsl, self.table = self.host.cuda(), table.cuda()
        self.lens = torch.tensor([s for _, s in self.reqs_list], dtype=torch.int32, device="cuda")

    def fill_tensors(self):
        size = (self.blocks, self.block, KV_HEADS, DIM)
        self.queries = torch.randn(self.tokens, HEADS, DIM, device="cuda", dtype=torch.bfloat16)
        self.keys, self.values = (torch.randn(size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        self.out = torch.full_like(self.queries, float("nan"))

    def run(self, capturing):
        self.forward(self.queries, self.keys, self.values, self.out, capturing)

    def error_of(self, r):
        q, s = self.reqs_list[r]
        rows = slice(int(self.host[r]), int(self.host[r]) + q)
        pages = self.table[r, : (s + self.block - 1) // self.block].long()
        k, v = (x[pages].reshape(1, -1, KV_HEADS, DIM)[:, :s].transpose(1, 2) for x in (self.keys, self.values))
        out, queries = (x[rows].unsqueeze(0).transpose(1, 2) for x in (self.out, self.queries))
        return bench.reference_error(out, queries, k, v, True)


def line(lib, plugin, spec):
    left, right = spec.split("=")
    mixed = requests(left)
    parts = [requests(p) for p in right.split("+")]
    ours = (sum(q for q, _ in mixed), pairs(mixed))
    theirs = (sum(q for p in parts for q, _ in p), sum(pairs(p) for p in parts))
    if ours != theirs:
        raise SystemExit(f"{spec}: {ours} tokens and pairs, {theirs} on the right")
    steps = [Step(lib, plugin, mixed, 16), Step(lib, plugin, mixed, 0)]
    steps += [Step(lib, plugin, p, 0) for p in parts]
    graphs = [graph(s.run, REPS) for s in steps]
    times = [[] for _ in steps]
    for i in range(8):  # the first round warms up
        for t, g in zip(times, graphs):
            ms = once(g) / REPS
            if i:
                t.append(ms)
    paged, whole, *rest = map(statistics.median, times)
    rate = 4.0 * HEADS * DIM * ours[1] / 1e9
    note = "".join(f" ERROR {s.error:.1e}" for s in steps if not s.error < 4e-3)
    print(f"{spec:44s} paged {1e3*paged:8.1f} us {rate/paged:5.0f} TFLOP/s  contiguous {1e3*whole:8.1f} us  "
          f"uniform contiguous {1e3*sum(rest):8.1f} us {rate/sum(rest):5.0f} TFLOP/s  "
          f"share {100*sum(rest)/paged:5.1f} %{note}", flush=True)
    for s in steps:
        s.close()


def main():
    lib = bench.open_shim(sys.argv[1])
    torch.manual_seed(0)
    bench.stream = torch.cuda.Stream()
    with torch.cuda.stream(bench.stream):
        for spec in sys.argv[3:] or LINES:
            line(lib, sys.argv[2], spec)


if __name__ == "__main__":
    sys.exit(main())
