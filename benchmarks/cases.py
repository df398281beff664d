"""What is measured on the CPU: each case, and the implementations that do the same work on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import per_cell
import pysdtw
from problems import (
    GAMMA,
    THRESHOLD,
    Case,
    Implementation,
    anchored,
    first,
    match_and_gap,
    negative_squared_distances,
    on_costs,
    similarity,
)
from torch import Tensor
from tslearn.metrics import SoftDTWLossPyTorch

import softdp


def from_costs(cost: Tensor) -> Tensor:
    return -anchored(-cost)


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
