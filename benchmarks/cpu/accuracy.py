"""Errors of float32 scores and alignments against softdp in float64, at 1024 steps and more."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

import softdp
from common.problems import GAMMA, LONG, Case, Implementation, match_and_gap, value_and_gradients
from cpu.cases import CASES, SOFT_DTW

PAIRS = 4
SHOWN = "fsd", "lcs", "soft-DTW"
# Every path starts at (1,1), so the derivative by that cell, which is the mass of all paths, is 1.
FSD_ANCHORED = partial(softdp.fsd_score, gamma=GAMMA, boundary="anchored")
ANCHORED = (
    Case("fsd, anchored", match_and_gap, (Implementation("softdp", FSD_ANCHORED),)),
    SOFT_DTW,
)


def measure(quick: bool) -> list[dict[str, Any]]:
    lengths = (LONG,) if quick else (LONG, 4 * LONG)
    errors = [entry for case in CASES if case.name in SHOWN for entry in against_float64(case, LONG)]
    return errors + [first_cell(case, N) for case in ANCHORED for N in lengths]


def against_float64(case: Case, N: int) -> list[dict[str, Any]]:
    """The largest relative error of a score, and the largest error of a derivative by the first input."""
    inputs = case.inputs(PAIRS, N, torch.Generator().manual_seed(0))
    expected, expected_gradients = value_and_gradients(case.implementations[0], [t.double() for t in inputs])
    found = []
    for implementation in case.implementations:
        score, gradients = value_and_gradients(implementation, inputs)
        found.append(
            {
                "case": case.name,
                "B": PAIRS,
                "N": N,
                "implementation": implementation.name,
                "score_off": ((score - expected) / expected).abs().max().item(),
                "match_off": (gradients[0] - expected_gradients[0]).abs().max().item(),
            }
        )
    return found


def first_cell(case: Case, N: int) -> dict[str, Any]:
    """The error of the mass at (1,1), which is 1."""
    inputs = case.inputs(1, N, torch.Generator().manual_seed(0))
    _, gradients = value_and_gradients(case.implementations[0], inputs)
    off = abs(gradients[0][0, 0, 0].item() - 1)
    return {"case": case.name, "B": 1, "N": N, "implementation": "softdp", "mass_off": off}
