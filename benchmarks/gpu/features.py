"""Times whole calls on a GPU, features in and gradients out, beside the same losses through tables.

python benchmarks/gpu/features.py --out benchmarks/results/gpu-features.json

The two ways take turns. Each time is that between two CUDA events around some calls. It prints the median
over rounds, and the most memory that one pass takes above features and gradients. --device cpu runs the
script without a GPU; its numbers then have no meaning.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from tqdm import tqdm

from common.arguments import explained, positive, problem_size, sizes_help
from common.files import save
from common.losses import Loss, by_tables, losses
from common.machine import describe_gpu
from common.tables import Entry

SIZES = (16, 30), (64, 64), (64, 256), (264, 512), (8, 1024), (1, 4096), (1, 16384)
FEATURES = 8, 64, 256, 1024
LOSSES = losses(gamma=0.1, reduction="sum")
TABLE_BYTES = 40  # a cell: the most that tables take


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
    """The peak of a pass above features and gradients; None on a CPU."""
    if not x.is_cuda:
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(loss, x, y)
    return (torch.cuda.max_memory_allocated() - before - 4 * (x.numel() + y.numel())) / 1e6


def measure(name: str, B: int, N: int, D: int, args: argparse.Namespace) -> Entry:
    torch.manual_seed(0)
    x, y = (torch.randn(B, N, D, device=args.device, requires_grad=True) for _ in range(2))
    entry = {"loss": name, "B": B, "N": N, "D": D}
    ways = {"softdp": LOSSES[name]}
    if B * N * N * TABLE_BYTES <= args.most_bytes:
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
    parser = explained(__doc__)
    option = parser.add_argument
    option("--device", type=torch.device, default="cuda")
    option("--losses", nargs="+", choices=LOSSES, default=["soft_dtw_loss", "fsd_loss", "lcs_loss"])
    option("--sizes", type=problem_size, nargs="+", metavar="BxN", default=SIZES, help=sizes_help(SIZES))
    option("--features", type=positive, nargs="+", default=FEATURES)
    option("--rounds", type=positive, default=5)
    option("--most-bytes", type=float, default=5e10, help="of tables; larger ones are not made")
    option("--out", type=Path, help="a JSON file for the results")
    args = parser.parse_args()
    entries = []
    for name, (B, N), D in tqdm([(n, s, D) for n in args.losses for s in args.sizes for D in args.features]):
        entries.append(measure(name, B, N, D, args))
        tqdm.write(json.dumps(entries[-1]))
        if args.out:
            save(args.out, {"machine": describe_gpu(args.device), "entries": entries})


if __name__ == "__main__":
    main()
