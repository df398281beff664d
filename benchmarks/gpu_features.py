"""Whole calls on a GPU: features in, the loss and the gradients out, beside the same through tables.

python benchmarks/gpu_features.py --out benchmarks/results/gpu-features.json

Each way is timed between two events around some calls, in turn with the other, and the median over rounds is
printed; memory is the most that one pass takes above features and gradients. Without a GPU, --device cpu runs
the script, whose numbers then mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from torch import Tensor
from tqdm import tqdm

import softdp
from softdp import _fused

SIZES = "16x30", "64x64", "64x256", "264x512", "8x1024", "1x4096", "1x16384"
Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "soft_dtw_loss": lambda x, y: softdp.soft_dtw_loss(x, y, gamma=0.1, reduction="sum"),
    "fsd_loss": lambda x, y: softdp.fsd_loss(x, y, torch.arange(len(x), device=x.device) % 2),
    "lcs_loss": lambda x, y: softdp.lcs_loss(x, y, torch.arange(len(x), device=x.device) % 2, threshold=0.2),
}


def by_tables(loss: Loss) -> Loss:
    """The loss as it is where the operator for features does not serve."""

    def call(x: Tensor, y: Tensor) -> Tensor:
        before, _fused.serves = _fused.serves, lambda x: False
        try:
            return loss(x, y)
        finally:
            _fused.serves = before

    return call


def step(loss: Loss, x: Tensor, y: Tensor) -> None:
    torch.autograd.grad(loss(x, y), (x, y))


def milliseconds(loss: Loss, x: Tensor, y: Tensor, calls: int) -> float:
    if x.is_cuda:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
    start = time.perf_counter()
    for _ in range(calls):
        step(loss, x, y)
    if not x.is_cuda:
        return (time.perf_counter() - start) / calls * 1e3
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


def megabytes(loss: Loss, x: Tensor, y: Tensor) -> float | None:
    if not x.is_cuda:
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(loss, x, y)
    return (torch.cuda.max_memory_allocated() - before - 4 * (x.numel() + y.numel())) / 1e6


def measure(name: str, B: int, N: int, D: int, args: argparse.Namespace) -> dict:
    torch.manual_seed(0)
    x, y = (torch.randn(B, N, D, device=args.device, requires_grad=True) for _ in range(2))
    entry = {"loss": name, "B": B, "N": N, "D": D}
    ways = {"softdp": LOSSES[name]}
    if B * N * N * 40 <= args.most_bytes:  # what tables take at most
        ways["tables"] = by_tables(LOSSES[name])
    for loss in ways.values():
        step(loss, x, y)
    calls = max(1, min(100, int(50 / milliseconds(ways["softdp"], x, y, 3))))
    rounds = [[milliseconds(loss, x, y, calls) for loss in ways.values()] for _ in range(args.rounds)]
    entry["ms"] = statistics.median(times[0] for times in rounds)
    entry["MB"] = megabytes(ways["softdp"], x, y)
    if "tables" in ways:
        entry["tables / softdp"] = statistics.median(times[1] / times[0] for times in rounds)
        entry["MB, tables"] = megabytes(ways["tables"], x, y)
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=[*LOSSES])
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="pairs x steps, such as 64x256")
    parser.add_argument("--features", type=int, nargs="+", default=[8, 64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most-bytes", type=float, default=5e10, help="of tables; larger ones are not made")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    args = parser.parse_args()
    entries = []
    sizes = [tuple(map(int, size.split("x"))) for size in args.sizes]
    for name, (B, N), D in tqdm([(n, s, D) for n in args.losses for s in sizes for D in args.features]):
        entries.append(measure(name, B, N, D, args))
        tqdm.write(json.dumps(entries[-1]))
        if args.out:
            args.out.write_text(json.dumps({"machine": describe(), "entries": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
