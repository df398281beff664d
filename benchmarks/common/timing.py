"""The times of a pass, and what is kept of many of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles

Times = tuple[float, float, float]  # of the phases, in seconds
PHASES = "forward", "backward", "both"
SLOW = 0.5  # seconds a pass; a pass that takes longer is run once where others are repeated


def ratios(slower: Times, faster: Times) -> list[float]:
    return [a / b for a, b in zip(slower, faster, strict=True)]


def spread(rounds: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """Quartiles over the rounds, for each phase."""
    return {p: quartiles(values) for p, values in zip(PHASES, zip(*rounds, strict=True), strict=True)}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return {"median": middle, "q1": low, "q3": high}
