#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prefill of builds of flash.cuda and of cuDNN, in turn: each contender's calls lie in a graph, the
graphs are replayed round by round, the median of seven rounds counts. So a card that warms up slows
all of them alike, and variants of a kernel can be told apart.

Prints one line a shape: TFLOP/s of each, with the error where it is not below 4e-3. A contender may
have an e4m3 cache (cuDNN keeps its bf16), or only the general kernel.
  bench_turns.py SHIM.so SHAPES PLUGIN.so[:BLOCK[:e4m3][:general]]...
                 SHAPE: heads/kv_heads/length/d/dv/c or f
"""
import os
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import bench_torch as bench


def graph(fn, reps):
    for _ in range(2):
        fn(False)
    torch.cuda.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g, stream=bench.stream):
        for _ in range(reps):
            fn(True)
    return g


def once(g):
    a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    a.record()
    g.replay()
    b.record()
    torch.cuda.synchronize()
    return a.elapsed_time(b)


class Ours:
    """One build on one shape: its caches, its output and the error of it."""

    def __init__(self, lib, plugin, q, k, v, causal):
        path, *words = plugin.split(":")
        block = next((int(w) for w in words if w.isdigit()), 128)
        kernel = "general" if "general" in words else "auto"
        kv8 = "e4m3" in words
        H, S, D = q.shape[1:]
        K, Dv = k.shape[1], v.shape[3]
        self.flash = bench.Flash(lib, os.path.abspath(path), kernel, H, K, D, Dv, block, 1, S, S, causal, kv8)
        self.q = q.transpose(1, 2).reshape(S, H, D).contiguous()
        self.k, self.v = self.flash.pages(k), self.flash.pages(v)
        if kv8:
            e4m3 = torch.float8_e4m3fn
            self.k, self.v, k, v = self.k.to(e4m3), self.v.to(e4m3), k.to(e4m3).to(k.dtype), v.to(e4m3).to(v.dtype)
        self.out = torch.full((S, H, Dv), float("nan"), device="cuda", dtype=q.dtype)
        torch.cuda.synchronize()
        self.run(False)
        self.error = bench.reference_error(self.out.view(1, S, H, Dv).transpose(1, 2), q, k, v, causal)

    def run(self, capturing):
        self.flash.forward(self.q, self.k, self.v, self.out, capturing)


def shape(lib, spec, plugins):
    *sizes, mask = spec.split("/")
    H, K, S, D, Dv = map(int, sizes)
    causal = mask == "c"
    q, k = (torch.randn(1, h, S, D, device="cuda", dtype=torch.bfloat16) for h in (H, K))
    v = torch.randn(1, K, S, Dv, device="cuda", dtype=torch.bfloat16)
    work = 2.0 * H * S * S * (D + Dv) * (0.5 if causal else 1.0) / 1e9
    reps = max(1, min(5, int(5000 / work)))

    def cudnn(_):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=H != K)

    ours = {p: Ours(lib, p, q, k, v, causal) for p in plugins}
    graphs = {"cuDNN": graph(cudnn, reps)} | {p: graph(o.run, reps) for p, o in ours.items()}
    times = {n: [] for n in graphs}
    for i in range(8):  # the first round warms up
        for n, g in graphs.items():
            ms = once(g) / reps
            if i:
                times[n].append(ms)
    line = f"{spec:24s}"
    for n in graphs:
        bad = n in ours and not ours[n].error < 4e-3
        line += f" {os.path.basename(n)} {work / statistics.median(times[n]):.0f}"
        line += f" (error {ours[n].error:.1e})" if bad else ""
    print(line, flush=True)
    for o in ours.values():
        o.flash.close()


def main():
    lib = bench.open_shim(sys.argv[1])
    torch.manual_seed(0)
    bench.stream = torch.cuda.Stream()
    with torch.cuda.stream(bench.stream):
        for spec in sys.argv[2].split(","):
            shape(lib, spec, sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
