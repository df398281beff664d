"""Measures the numbers in docs/limits.md that no test asserts, on this CPU, in about a minute.

python benchmarks/cpu/limits.py

Times are CPU seconds of one thread. Other programs disturb them less than seconds of the clock.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import softdp
from common import fresh
from common.arguments import explained
from common.memory import added_peak

B, N, D = 2, 2048, 64  # the sizes at which memory is measured
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft_dtw(squared_euclidean(x, y))": lambda x, y: softdp.soft_dtw(softdp.squared_euclidean(x, y)),
    "soft_dtw_divergence(x, y)": softdp.soft_dtw_divergence,
    "fsd_loss(x, y, target)": lambda x, y: softdp.fsd_loss(x, y, torch.tensor([0, 1])),
    "lcs_loss(x, y, target)": lambda x, y: softdp.lcs_loss(x, y, torch.tensor([0, 1])),
}


def reference(cost: Tensor, gamma: float) -> Tensor:
    return -softdp.reference.fsd_score(-cost, 0.0, gamma=gamma, boundary="anchored")


def loss_memory(loss: str) -> int:
    """Bytes by which forward and backward raise the peak of this process."""
    torch.set_num_threads(1)

    def run(steps: int) -> None:
        x, y = (torch.randn(B, steps, D, requires_grad=True) for _ in range(2))
        LOSSES[loss](x, y).sum().backward()

    run(32)
    return added_peak(lambda: run(N))


def path_memory() -> int:
    torch.set_num_threads(1)
    softdp.fsd_path(torch.rand(1, 32, 32), -0.5)
    match = torch.rand(B, N, N)
    return added_peak(lambda: softdp.fsd_path(match, -0.5))


def passes(score: Callable[..., Tensor], cost: Tensor, gamma: float) -> Callable[[], object]:
    leaf = cost.clone().requires_grad_()
    return lambda: torch.autograd.grad(score(leaf, gamma=gamma).sum(), leaf)


def ratio(a: Callable[[], object], b: Callable[[], object], rounds: int = 7) -> float:
    """The time of a divided by that of b: the median over rounds."""

    def seconds(call: Callable[[], object]) -> float:
        start = process_time()
        call()
        return process_time() - start

    a(), b()
    return statistics.median(seconds(a) / seconds(b) for _ in range(rounds))


def main() -> None:
    explained(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"softdp {softdp.__version__}, {softdp.build_info()['cpu_selected']}, torch {torch.__version__}")
    speed()
    ranges()
    precision()
    for loss in LOSSES:
        per_cell = fresh.call("cpu.limits", "loss_memory", {"loss": loss}) / (B * N * N)
        print(f"{loss}, {B} pairs of {N} steps, {D} features: {per_cell:.1f} bytes a cell")
    taken = fresh.call("cpu.limits", "path_memory", {}) / (N * N)
    print(f"fsd_path: {taken:.1f} bytes for a cell of the thread's pair")


def speed() -> None:
    cost = torch.rand(64, 256, 256)
    usual = passes(softdp.soft_dtw, cost, 0.1)
    for scale in (2e4, 1e6):
        large = passes(softdp.soft_dtw, cost * scale, 0.1)
        what = f"costs to {10 * scale:.0e} gamma beside costs to 10 gamma"
        print(f"float32, {what}: {ratio(large, usual):.1f} times the time")
    i = torch.arange(1000)
    outside = (i[:, None] - i).abs() > 50
    wide = torch.rand(4, 1000, 1000)
    band = passes(softdp.soft_dtw, wide.masked_fill(outside, math.inf), 0.1)
    full = passes(softdp.soft_dtw, wide, 0.1)
    print(f"a band of a tenth of 1000 steps beside the full matrix: {ratio(band, full):.1f} times the time")
    narrow = passes(partial(softdp.soft_dtw, bandwidth=50), wide, 0.1)
    print(f"the same by bandwidth=50: the full matrix takes {ratio(full, narrow):.1f} times its time")
    small = torch.rand(64, 64, 64)
    slow = ratio(passes(reference, small, 0.1), passes(softdp.soft_dtw, small, 0.1))
    print(f"the reference beside the CPU kernels, 64 pairs of 64 steps: {slow:.0f} times the time")


def ranges() -> None:
    """Where a score leaves the range of its dtype."""
    for dtype in (torch.float32, torch.float64):
        for sign, name in ((1, "NaN"), (-1, "-inf")):
            found = [e / 10 for e in range(60, 300) if not one_cell(sign * 10 ** (e / 10), dtype).isfinite()]
            where = f"{name} from {sign * 10 ** found[0]:.1e} gamma on" if found else f"never {name}"
            print(f"{dtype}, a score of one cell, to {sign * 10**29.9:.0e} gamma: {where}")
    print(f"float32, gamma 0, a score of 1e-40 counts as {one_cell(1e-40, torch.float32, gamma=0.0).item()}")


def precision() -> None:
    print(f"float32, 1000 steps, gamma 4, a score near 0: off by {near_0():.0e} gamma")
    for features in (1, 64, 512):
        off = distances_off(features)
        print(f"squared_euclidean, {features} features, float32: off by {off:.0e} of the distance")
    print(f"soft_dtw_divergence of nearly equal sequences: off by {divergences_off():.0e} gamma * (N + M)")


def one_cell(score: float, dtype: torch.dtype, gamma: float = 1.0) -> Tensor:
    return softdp.fsd_score(torch.full((1, 1, 1), score, dtype=dtype), 0.0, gamma=gamma, boundary="anchored")


def distances_off(features: int) -> float:
    """The largest relative error of float32, near the origin and far from it."""
    worst = 0.0
    for origin in (0.0, 1e2, 1e4, 1e6):
        x, y = (torch.randn(2, 60, features) + origin for _ in range(2))
        exact = (x.double()[:, :, None] - y.double()[:, None]).square().sum(3)
        off = (softdp.squared_euclidean(x, y) - exact).abs() / exact
        worst = max(worst, off[exact > 0].max().item())
    return worst


def divergences_off() -> float:
    """The largest error of float32, in gamma * (N + M)."""
    worst = 0.0
    for steps in (2, 16, 64, 256, 1024):
        for features in (1, 64):
            for gamma in (0.1, 1.0, 10.0):
                x = torch.randn(3, steps, features).cumsum(1) / 2 + 100
                for apart in (1e-5, 1e-3):
                    y = x + apart * torch.randn_like(x)
                    exact = softdp.soft_dtw_divergence(x.double(), y.double(), gamma=gamma)
                    off = (softdp.soft_dtw_divergence(x, y, gamma=gamma) - exact).abs().max().item()
                    worst = max(worst, off / (gamma * 2 * steps))
    return worst


def near_0(gamma: float = 4.0) -> float:
    """The error of float32, in gammas, where match scores and the logarithm of the number of paths cancel."""
    match = torch.randn(4, 1000, 1000)
    for _ in range(20):
        score = softdp.fsd_score(match.double(), 0.0, gamma=gamma, boundary="anchored")
        match -= (score / 1500).float()[:, None, None]  # a path has about 1500 cells
    exact = softdp.fsd_score(match.double(), 0.0, gamma=gamma, boundary="anchored")
    found = softdp.fsd_score(match, 0.0, gamma=gamma, boundary="anchored")
    return ((found - exact).abs().max() / gamma).item()


if __name__ == "__main__":
    main()
