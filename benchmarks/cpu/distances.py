"""softdp.squared_euclidean beside torch.cdist: the times of the same rounds, and the memory that each takes.

    python benchmarks/cpu/distances.py

It prints two tables, in about three minutes. The first has the time of squared_euclidean divided by that of
cdist, for the forward pass without gradients, and for forward and backward together: the median of the rounds
and its quartiles. Below 1, squared_euclidean takes less time. The second table has the megabytes by which one
call raises the peak of a new process. The call of cdist is torch.cdist(x, y). It returns distances; to square
them would take one more pass over the result.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import softdp
from common import fresh
from common.arguments import explained
from common.memory import added_peak
from common.timing import Times, quartiles
from cpu.timing import Effort, interleaved

FEATURES = 1, 2, 8, 12, 16, 64, 256
SIZES = (64, 256), (1, 2048)
LARGE = (1, 10000, 64)
CALLS = {"torch.cdist": torch.cdist, "squared_euclidean": softdp.squared_euclidean}
EFFORT = Effort(sample=0.02, budget=0.35, fewest_rounds=5)


def main() -> None:
    explained(__doc__).parse_args()
    print(f"{torch.__version__}, {softdp.build_info()['cpu_selected']}, {os.cpu_count()} CPUs, float32")
    print(f"\n{'threads':>7} {'B x N':>8} {'D':>4}   {'forward':^20}   {'forward and backward':^20}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for B, N in SIZES:
            for D in FEATURES:
                cells = (ratio(B, N, D, gradients) for gradients in (False, True))
                print(f"{threads:>7} {f'{B}x{N}':>8} {D:>4}   {'   '.join(cells)}", flush=True)
    print(f"\n{'B x N':>8} {'D':>4}   MB above the inputs: result, then torch.cdist, squared_euclidean")
    for B, N, D in ((64, 256, 64), LARGE):
        for gradients in (False, True):
            took = [megabytes(name, B, N, D, gradients) for name in CALLS]
            what = "forward and backward" if gradients else "forward"
            print(
                f"{f'{B}x{N}':>8} {D:>4}   {B * N * N * 4 / 1e6:5.0f} {took[0]:6.0f} {took[1]:6.0f}   {what}"
            )


def ratio(B: int, N: int, D: int, gradients: bool) -> str:
    runs = [partial(sample, call, *problem(B, N, D, gradients)) for call in CALLS.values()]
    _, rounds = interleaved(runs, EFFORT)
    found = quartiles([ours[-1] / theirs[-1] for theirs, ours in rounds])
    return f"{found['median']:6.2f} ({found['q1']:.2f}-{found['q3']:.2f})".ljust(20)


def sample(call: Callable[..., Tensor], leaves: list[Tensor], upstream: Tensor, passes: int) -> Times:
    """Mean seconds of a pass."""
    began = perf_counter()
    for _ in range(passes):
        run(call, leaves, upstream)
    seconds = (perf_counter() - began) / passes
    return seconds, 0.0, seconds


def run(call: Callable[..., Tensor], leaves: list[Tensor], upstream: Tensor) -> None:
    value = call(*leaves)
    if value.requires_grad:
        torch.autograd.grad(value, leaves, upstream)


def problem(B: int, N: int, D: int, gradients: bool) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(B, N, D, generator=generator).requires_grad_(gradients) for _ in range(2)]
    return leaves, torch.rand(B, N, N, generator=generator) if gradients else torch.empty(0)


def megabytes(name: str, B: int, N: int, D: int, gradients: bool) -> float:
    arguments = {"name": name, "B": B, "N": N, "D": D, "gradients": gradients}
    return fresh.call("cpu.distances", "here", arguments) / 1e6


def here(name: str, B: int, N: int, D: int, gradients: bool) -> int:
    """Bytes by which a call raises the peak of this process."""
    run(CALLS[name], *problem(B, 32, D, gradients))
    inputs = problem(B, N, D, gradients)
    return added_peak(lambda: run(CALLS[name], *inputs))


if __name__ == "__main__":
    main()
