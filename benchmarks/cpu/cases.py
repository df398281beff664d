"""The cases on the CPU: for each one the implementations that do the same work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pysdtw
from tslearn.metrics import SoftDTWLossPyTorch

import softdp
from common import per_cell
from common.problems import (
    GAMMA,
    THRESHOLD,
    Case,
    Implementation,
    anchored,
    first,
    match_and_gap,
    negative_squared_distances,
    on_costs,
    reference_alignment,
    similarity,
    squares,
)

# FTCL uses FSD at 5 steps and LCS at some tens. A pass of its FSD at 30 steps takes seven seconds.
FSD_LOOP_CELLS, LCS_LOOP_CELLS = 16 * 5 * 5, 16 * 30 * 30
REFERENCE_CELLS = 64 * 128 * 128
SECOND_ORDER_CELLS = 16 * 30 * 30  # of the reference; a pass at 64x64 takes seven seconds


def fsd() -> Case:
    scores = softdp.fsd_score, softdp.reference.fsd_score, per_cell.fsd_score, per_cell.lean_fsd_score
    gamma = (partial(score, gamma=GAMMA) for score in scores)
    return Case("fsd", match_and_gap, plain(*gamma, loop_cells=FSD_LOOP_CELLS))


def lcs(name: str, gamma: float) -> Case:
    options = {"threshold": THRESHOLD, "gamma": gamma}
    scores = softdp.lcs_score, softdp.reference.lcs_score, per_cell.lcs_score, per_cell.lean_lcs_score
    scores = (partial(score, **options) for score in scores)
    return Case(name, similarity, plain(*scores, loop_cells=LCS_LOOP_CELLS))


def plain(
    ours: Callable, reference: Callable, loop: Callable, lean: Callable, loop_cells: int
) -> tuple[Implementation, ...]:
    """The loops and the reference have a slope, because float32 sums lose accuracy with the length."""
    return (
        Implementation("softdp", ours),
        Implementation("reference", reference, slope=3e-5, most_cells=REFERENCE_CELLS),
        Implementation("FTCL's way", loop, slope=3e-5, most_cells=loop_cells),
        Implementation("lean loop", lean, slope=3e-5, most_cells=loop_cells),
    )


def softdp_alone(case: Case) -> Case:
    return replace(case, implementations=case.implementations[:1])


SOFT_DTW = Case(
    "soft-DTW",
    negative_squared_distances,
    (
        Implementation("softdp", anchored),
        # Both recover the weights from differences of sums, which loses accuracy: see the README.
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
)
FROM_COSTS = Case(
    "soft-DTW, from costs",
    negative_squared_distances,
    (Implementation("softdp", partial(softdp.soft_dtw, gamma=GAMMA), costs=True),),
)
# Compared with implementations in plain PyTorch, one case at a time.
LOOPS = (fsd(), lcs("lcs", GAMMA), lcs("lcs, gamma 0", 0.0))
ALIGNMENT = Case(
    "fsd",
    match_and_gap,
    (
        # The derivatives reach some hundreds: they are 1 / gamma times sums over many cells.
        Implementation(
            "softdp",
            squares(partial(softdp.fsd_alignment, gamma=GAMMA)),
            score_tolerance=1e-4,
            slope=2e-4,
        ),
        Implementation(
            "reference",
            squares(reference_alignment),
            score_tolerance=1e-3,
            slope=1e-2,
            most_cells=SECOND_ORDER_CELLS,
        ),
    ),
)
# Measured in the same rounds, so that each case of softdp gets a ratio to the other libraries' soft-DTW.
CASES = (*map(softdp_alone, LOOPS), SOFT_DTW, FROM_COSTS)
