"""What is measured: the inputs of each case, and the implementations that do the same work on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import per_cell
import pysdtw
import torch
from torch import Tensor
from tslearn.metrics import SoftDTWLossPyTorch

import softdp

GAMMA = 0.1
THRESHOLD = 0.8


@dataclass(frozen=True)
class Implementation:
    """score maps a case's inputs to (B,). Gradients may be off by 1e-4 + slope * N.

    Where costs is true it takes costs, the inputs with their signs turned, and returns a cost.
    """

    name: str
    score: Callable[..., Tensor]
    costs: bool = False
    slope: float = 0.0
    most_cells: int | None = None  # larger sizes would take minutes

    def runs(self, cells: int) -> bool:
        return self.most_cells is None or cells <= self.most_cells

    def gradient_tolerance(self, N: int) -> float:
        return 1e-4 + self.slope * N


@dataclass(frozen=True)
class Case:
    """inputs(B, N, generator) are float32 tensors (B, N, N). The first implementation is softdp."""

    name: str
    inputs: Callable[[int, int, torch.Generator], tuple[Tensor, ...]]
    implementations: tuple[Implementation, ...]


def match_and_gap(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Uniform in [-1, 1], as cosines are."""
    match, gap = torch.rand(2, B, N, N, generator=generator) * 2 - 1
    return match, gap


def similarity(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Uniform in [-1, 1] in steps of 1/256: sums are exact, and gamma = 0 breaks ties alike in any
    precision. Every pair has a common step, so that every score has a gradient."""
    c = torch.randint(-256, 257, (B, N, N), generator=generator) / 256
    c[:, 0, 0] = 1
    return (c,)


def negative_squared_distances(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Of Gaussian features, 8 a step."""
    x, y = torch.randn(2, B, N, 8, generator=generator, dtype=torch.float64)
    return (-torch.cdist(x, y).square().float(),)


def anchored(match: Tensor) -> Tensor:
    return softdp.fsd_score(match, 0.0, gamma=GAMMA, boundary="anchored")


def from_costs(cost: Tensor) -> Tensor:
    return -anchored(-cost)


def on_costs(module: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """A soft-DTW module whose dist_func returns its first argument: the costs take the features' place."""
    return lambda cost: module(cost, cost)


def first(x: Tensor, y: Tensor) -> Tensor:
    return x


def lcs(name: str, gamma: float) -> Case:
    options = {"threshold": THRESHOLD, "gamma": gamma}
    scores = softdp.lcs_score, softdp.reference.lcs_score, per_cell.lcs_score, per_cell.lean_lcs_score
    return Case(name, similarity, plain(*(partial(score, **options) for score in scores)))


def plain(ours: Callable, reference: Callable, loop: Callable, lean: Callable) -> tuple[Implementation, ...]:
    """float32 sums in plain PyTorch lose accuracy with the length."""
    return (
        Implementation("softdp", ours),
        Implementation("reference", reference, slope=3e-5, most_cells=64 * 128 * 128),
        Implementation("FTCL's way", loop, slope=3e-5, most_cells=16 * 30 * 30),
        Implementation("lean loop", lean, slope=3e-5, most_cells=16 * 30 * 30),
    )


FSD = softdp.fsd_score, softdp.reference.fsd_score, per_cell.fsd_score, per_cell.lean_fsd_score
CASES = (
    Case("fsd", match_and_gap, plain(*(partial(score, gamma=GAMMA) for score in FSD))),
    lcs("lcs", GAMMA),
    lcs("lcs, gamma 0", 0.0),
    Case(
        "soft-DTW",
        negative_squared_distances,
        (
            Implementation("softdp", anchored),
            Implementation("softdp, from costs", from_costs, costs=True),
            # Both recover the weights from differences of sums: see the README.
            Implementation(
                "pysdtw",
                on_costs(pysdtw.SoftDTW(GAMMA, dist_func=first, use_cuda=False)),
                costs=True,
                slope=2e-5,
            ),
            Implementation(
                "tslearn", on_costs(SoftDTWLossPyTorch(GAMMA, dist_func=first)), costs=True, slope=3e-4
            ),
        ),
    ),
)
