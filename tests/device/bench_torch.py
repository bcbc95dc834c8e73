#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""flash.cuda beside the attention kernels PyTorch ships, in one process, contenders in turn.

Prints one line per (contender, shape): median time, TFLOP/s or GB/s, share of the roof measured
in the same run. Prefill: calls in one graph, so that no launch gap counts. Random inputs; the L2 is flushed before each cold decode call; every output is
checked against an fp32 reference before it is timed.
  bench_torch.py PLUGIN.so SHIM.so [--json FILE] [--quick] [--only prefill|decode] [--kernel general]
"""
import argparse
import ctypes as C
import json
import math
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

dev = "cuda"
rows = []
stream = None


def timed(fn, n=15, warm=3, flush=None):
    for _ in range(warm):
        fn()
    torch.cuda.synchronize()
    out = []
    for _ in range(n):
        if flush is not None:
            flush.zero_()
        a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        a.record()
        fn()
        b.record()
        torch.cuda.synchronize()
        out.append(a.elapsed_time(b))
    return statistics.median(out)


def graphed(fn, reps=20):
    for _ in range(3):
        fn(False)
    torch.cuda.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g, stream=stream):
        for _ in range(reps):
            fn(True)
    return timed(g.replay, n=10, warm=2) / reps


def emit(kind, who, shape, ms, value, unit, roof, note=""):
    share = value / roof if roof else float("nan")
    rows.append(dict(kind=kind, who=who, shape=shape, ms=ms, value=value, unit=unit, share=share))
    print(f"{kind:8s} {who:14s} {shape:34s} {ms:9.4f} ms {value:8.1f} {unit:7s} {100*share:5.1f} % {note}",
          flush=True)


def roofs():
    n = 1 << 31
    a = torch.empty(n, dtype=torch.uint8, device=dev).random_()
    b = torch.empty_like(a)
    ms = timed(lambda: b.copy_(a), n=7)
    bw = 2 * n / ms / 1e6
    emit("roof", "copy", "2 GiB", ms, bw, "GB/s", bw)
    m = 8192
    x = torch.randn(m, m, device=dev, dtype=torch.bfloat16)
    y = torch.randn_like(x)
    ms = timed(lambda: x @ y, n=7)
    tf = 2 * m**3 / ms / 1e9
    emit("roof", "matmul bf16", "8192^3", ms, tf, "TFLOP/s", tf)
    return bw, tf


class Flash:
    """One layer of flash.cuda over a paged cache."""

    def __init__(self, lib, plugin, kernel, H, K, D, Dv, block, reqs, q, s, causal, kv8=False, window=-1,
                 capture=3):
        self.lib, self.block, self.reqs, self.q, self.s = lib, block, reqs, q, s
        self.tokens, self.cols = reqs * q, (s + block - 1) // block
        self.blocks = reqs * self.cols
        kv_code, kv_bits = (10, 8) if kv8 else (4, 16)
        self.h = lib.shim_open(plugin.encode(), kernel.encode(), H, K, D, Dv, block, 4, kv_code, kv_bits,
                               int(causal), window, C.c_float(1 / math.sqrt(D)), reqs, self.tokens, q, s, capture,
                               C.c_uint64(stream.cuda_stream))
        if not self.h:
            raise RuntimeError(lib.shim_error().decode())
        self.work = torch.empty(lib.shim_workspace_bytes(self.h), dtype=torch.uint8, device=dev)
        self.layer = torch.empty(1 << 16, dtype=torch.uint8, device=dev)
        self.check(lib.shim_bind(self.h, self.work.data_ptr(), self.layer.data_ptr()))
        self.host = torch.arange(0, self.tokens + 1, q, dtype=torch.int32)
        self.qsl = self.host.to(dev)
        self.lens = torch.full((reqs,), s, dtype=torch.int32, device=dev)
        self.table = torch.randperm(self.blocks, device=dev).to(torch.int32).view(reqs, self.cols)
        self.build()

    def check(self, status):
        if status:
            raise RuntimeError(f"status {status}: " + self.lib.shim_error().decode())

    def build(self):
        self.check(self.lib.shim_build(self.h, self.reqs, self.tokens, self.q, self.s, self.host.data_ptr(),
                                       self.qsl.data_ptr(), self.lens.data_ptr(), self.table.data_ptr(),
                                       self.cols, self.blocks))

    def pages(self, x):  # [B, K, S, D] -> [blocks, block, K, D], each page at its place
        B, K, S, D = x.shape
        x = x.transpose(1, 2).reshape(B * self.cols, self.block, K, D)
        out = torch.empty(x.shape, dtype=x.dtype, device=dev)
        out[self.table.view(-1).long()] = x
        return out

    def forward(self, q, k, v, out, capturing=False):
        self.check(self.lib.shim_forward(self.h, self.tokens, self.blocks, q.data_ptr(), k.data_ptr(),
                                         v.data_ptr(), out.data_ptr(), int(capturing)))

    def close(self):
        torch.cuda.synchronize()
        self.lib.shim_close(self.h)


def reference_error(out, q, k, v, causal):
    """out, q: [B, H, Sq, D]; the first and last 128 queries."""
    g, Sq, Sk = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    worst = 0.0
    for first in {0, max(0, Sq - 128)}:
        i = torch.arange(first, min(Sq, first + 128), device=dev)
        kk, vv = (x[:1].float().repeat_interleave(g, 1) for x in (k, v))
        s = (q[:1, :, i].float() @ kk.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if causal:
            s = s.masked_fill(torch.arange(Sk, device=dev)[None] > (i + Sk - Sq)[:, None], float("-inf"))
        ref = s.softmax(-1) @ vv
        worst = max(worst, ((out[:1, :, i].float() - ref).norm() / ref.norm()).item())
    return worst


PEERS = {SDPBackend.CUDNN_ATTENTION: "cuDNN", SDPBackend.FLASH_ATTENTION: "torch FA2"}


def peers(kind, q, k, v, causal, shape, work, unit, roof, flush=None):
    for be, name in PEERS.items():
        def fn(capturing=False):
            with sdpa_kernel(be):
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
        try:
            e = reference_error(fn(), q, k, v, causal)
            ms = timed(fn, flush=flush) if flush is not None else graphed(fn, 5)
            note = f"err {e:.1e}"
            if kind == "decode":
                note += f" graph {graphed(fn)*1e3:.1f} us"
            emit(kind, name, shape, ms, work / ms, unit, roof, note)
        except Exception as ex:
            print(kind, name, shape, "refused:", str(ex).split("\n")[0][:90], flush=True)


def ours(kind, lib, a, kernel, q, k, v, causal, blocks, shape, work, unit, roof, flush=None, kv8=False):
    B, H, Sq, D = q.shape
    K, S, Dv = k.shape[1], k.shape[2], v.shape[3]
    for block in blocks:
        try:
            f = Flash(lib, a.plugin, kernel, H, K, D, Dv, block, B, Sq, S, causal, kv8)
            qq = q.transpose(1, 2).reshape(B * Sq, H, D).contiguous()
            kp, vp = f.pages(k), f.pages(v)
            if kv8:
                kp, vp = kp.to(torch.float8_e4m3fn), vp.to(torch.float8_e4m3fn)
            out = torch.full((B * Sq, H, Dv), float("nan"), device=dev, dtype=torch.bfloat16)
            torch.cuda.synchronize()
            f.forward(qq, kp, vp, out)
            k2, v2 = (k.to(torch.float8_e4m3fn).to(k.dtype), v.to(torch.float8_e4m3fn).to(v.dtype)) if kv8 else (k, v)
            e = reference_error(out.view(B, Sq, H, Dv).transpose(1, 2), q, k2, v2, causal)
            run = lambda c=False: f.forward(qq, kp, vp, out, c)
            ms = timed(run, flush=flush) if flush is not None else graphed(run, 5)
            note = f"err {e:.1e}"
            if kind == "decode":
                note += f" graph {graphed(run)*1e3:.1f} us"
                note += f" build {timed(f.build)*1e3:.1f} us"
            emit(kind, f"{kernel} p{block}", shape, ms, work / ms, unit, roof, note)
            f.close()
        except Exception as ex:
            print(kind, kernel, block, shape, "failed:", str(ex).split("\n")[0][:120], flush=True)


def prefill(lib, a, tf):
    cases = [(1, 64, 8, s, 128, 128, c) for s in (2048, 4096, 8192, 16384) for c in (True, False)]
    cases += [(1, 32, 32, 8192, 64, 64, True), (1, 16, 16, 8192, 256, 256, True), (1, 128, 128, 4096, 192, 128, True)]
    if a.quick:
        cases = [(1, 64, 8, 8192, 128, 128, True), (1, 64, 8, 8192, 128, 128, False), (1, 32, 32, 8192, 64, 64, True)]
    for B, H, K, S, D, Dv, causal in cases:
        q, k = (torch.randn(B, h, S, D, device=dev, dtype=torch.bfloat16) for h in (H, K))
        v = torch.randn(B, K, S, Dv, device=dev, dtype=torch.bfloat16)
        work = 2.0 * B * H * S * S * (D + Dv) * (0.5 if causal else 1.0) / 1e9
        shape = f"B{B} {H}/{K} {S} d{D}/{Dv} {'causal' if causal else 'full'}"
        args = (shape, work, "TFLOP/s", tf)
        peers("prefill", q, k, v, causal, *args)
        for kernel in a.kernels:
            ours("prefill", lib, a, kernel, q, k, v, causal, a.blocks, *args)


def decode(lib, a, bw):
    flush = torch.empty(256 << 20, dtype=torch.uint8, device=dev)
    for B, H, K, S, D in [(1, 32, 8, 1024, 128), (1, 32, 8, 32768, 128), (32, 32, 8, 4096, 128), (64, 64, 8, 8192, 128)]:
        q = torch.randn(B, H, 1, D, device=dev, dtype=torch.bfloat16)
        k = torch.randn(B, K, S, D, device=dev, dtype=torch.bfloat16)
        v = torch.randn_like(k)
        work = (2 * B * K * S * D * 2 + 2 * q.numel() * 2) / 1e6
        args = (f"B{B} {H}/{K} {S} d{D} cold", work, "GB/s", bw)
        peers("decode", q, k, v, False, *args, flush=flush)
        ours("decode", lib, a, "auto", q, k, v, True, a.blocks, *args, flush=flush)
        work = (2 * B * K * S * D + 2 * q.numel() * 2) / 1e6
        args = (f"B{B} {H}/{K} {S} d{D} e4m3 cold", work, "GB/s", bw)
        ours("decode", lib, a, "auto", q, k, v, True, [16], *args, flush=flush, kv8=True)


def open_shim(path):
    lib = C.CDLL(path)
    lib.shim_open.restype = C.c_void_p
    lib.shim_workspace_bytes.restype = C.c_uint64
    lib.shim_error.restype = C.c_char_p
    lib.shim_workspace_bytes.argtypes = lib.shim_close.argtypes = [C.c_void_p]
    lib.shim_bind.argtypes = [C.c_void_p] * 3
    lib.shim_build.argtypes = [C.c_void_p] + [C.c_int] * 4 + [C.c_void_p] * 4 + [C.c_int] * 2
    lib.shim_forward.argtypes = [C.c_void_p] + [C.c_int] * 2 + [C.c_void_p] * 4 + [C.c_int]
    return lib


def main():
    global stream
    ap = argparse.ArgumentParser()
    ap.add_argument("plugin")
    ap.add_argument("shim")
    ap.add_argument("--json")
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--only", default="prefill,decode")
    ap.add_argument("--kernels", default="auto")
    ap.add_argument("--blocks", default="16,128")
    a = ap.parse_args()
    a.kernels, a.blocks = a.kernels.split(","), [int(b) for b in a.blocks.split(",")]
    lib = open_shim(a.shim)
    torch.manual_seed(0)
    stream = torch.cuda.Stream()
    print("torch", torch.__version__, "cuDNN", torch.backends.cudnn.version(), torch.cuda.get_device_name())
    with torch.cuda.stream(stream):
        bw, tf = roofs()
        if "prefill" in a.only:
            prefill(lib, a, tf)
        if "decode" in a.only:
            decode(lib, a, bw)
    if a.json:
        json.dump(rows, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    sys.exit(main())
