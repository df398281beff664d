"""Agreement first, then times: forward and backward of the same passes, implementations interleaved."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch
from problems import Case, Implementation, bytes_per_cell, leaves_of, value_and_gradients
from torch import Tensor

Times = tuple[float, float, float]  # of the phases
PHASES = "forward", "backward", "both"
SLOW = 0.5  # seconds a pass, from which one trial must do
COPIED = 2**28  # bytes, several times any CPU's caches


class DisagreementError(Exception):
    """An implementation's score or gradient is not softdp's in float64."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds a sample, seconds of samples an implementation and size, rounds whatever
    the seconds."""

    sample: float = 0.02
    budget: float = 1.5
    fewest_rounds: int = 3
    most_rounds: int = 51


QUICK = Effort(sample=0.005, budget=0.2, most_rounds=15)


def measure(cases: Sequence[Case], B: int, N: int, effort: Effort) -> list[dict[str, Any]]:
    """One entry per case and implementation that runs at this size, all in the same rounds: speeds,
    deviations, and how many times as fast each case of softdp is in the same round."""
    subjects, runs, agreements = [], [], []
    for case in cases:
        inputs = case.inputs(B, N, torch.Generator().manual_seed(0))
        running = [i for i in case.implementations if not i.refusal(B, N)]
        subjects += [(case, i, bytes_per_cell(inputs)) for i in running]
        agreements += agree(case.name, running, inputs)
        # Leaves of their own: tslearn's forward counts as an in-place change of its input.
        runs += [partial(sample, i.score, leaves_of(inputs, i.costs), torch.ones(B)) for i in running]
    repeats, times = interleaved(runs, effort)
    ours = {case.name: k for k, (case, i, _) in enumerate(subjects) if i.name == "softdp"}
    return [
        {
            "case": case.name,
            "B": B,
            "N": N,
            "implementation": implementation.name,
            "rounds": len(times),
            "passes_per_sample": repeats[k],
            "bytes_per_cell": moved,
            "mcells_per_s": spread([[B * N * N / 1e6 / t for t in of_round[k]] for of_round in times]),
            "softdp_is_faster_by": {
                name: spread([ratios(of_round[k], of_round[own]) for of_round in times])
                for name, own in ours.items()
                if implementation.name != "softdp"
            },
            **agreements[k],
        }
        for k, (case, implementation, moved) in enumerate(subjects)
    ]


def agree(name: str, running: Sequence[Implementation], inputs: Sequence[Tensor]) -> list[dict[str, float]]:
    """Largest deviations from softdp in float64; DisagreementError past the tolerances. Also the warm-up."""
    expected, expected_gradients = value_and_gradients(running[0], [t.double() for t in inputs])
    B, N, _ = inputs[0].shape
    found = []
    for implementation in running:
        score, gradients = value_and_gradients(implementation, inputs)
        off = ((score - expected).abs() / expected.abs().clamp(min=1)).max().item()
        pairs = zip(gradients, expected_gradients, strict=True)
        gradient_off = max((a - b).abs().max().item() for a, b in pairs)
        most, tolerance = implementation.score_tolerance, implementation.gradient_tolerance(N)
        if not (off <= most and gradient_off <= tolerance):  # a NaN is past any tolerance
            raise DisagreementError(
                f"{name} {B}x{N}: {implementation.name} is not softdp in float64: "
                f"score off by {off:.1e} (at most {most:.1e}), "
                f"gradient by {gradient_off:.1e} (at most {tolerance:.1e})"
            )
        found.append(
            {"score_off": off, "gradient_off": gradient_off, "gradient_tolerance": round(tolerance, 6)}
        )
    return found


def interleaved(
    runs: Sequence[Callable[[int], Times]], effort: Effort
) -> tuple[Sequence[int], list[list[Times]]]:
    """The passes a sample of each run, and the times of a pass of each run in each round."""
    repeats, seconds = zip(*(calibrate(run, effort) for run in runs), strict=True)
    rounds = int(effort.budget * len(runs) / sum(seconds))
    rounds = min(max(rounds, effort.fewest_rounds), effort.most_rounds)
    return repeats, [[run(k) for run, k in zip(runs, repeats, strict=True)] for _ in range(rounds)]


def calibrate(run: Callable[[int], Times], effort: Effort) -> tuple[int, float]:
    """Passes a sample, and seconds a sample. The first pass after other work is a slow one, many times
    slower where a pass is short, so that it alone tells nothing."""
    seconds = run(1)[-1]
    if seconds < SLOW:
        seconds = min(seconds, run(1)[-1])
    passes = 1
    while seconds < effort.sample and (seconds * passes < effort.sample or passes < 8):
        passes *= 4
        seconds = run(passes)[-1]
    passes = math.ceil(effort.sample / seconds)
    return passes, passes * seconds


def sample(score: Callable[..., Tensor], leaves: Sequence[Tensor], upstream: Tensor, passes: int) -> Times:
    """Mean seconds a pass takes: forward, backward, both. Every pass makes a graph of its own."""
    forward = backward = 0.0
    gc.disable()
    for _ in range(passes):
        began = perf_counter()
        value = score(*leaves)
        middle = perf_counter()
        gradients = torch.autograd.grad(value, leaves, upstream)
        ended = perf_counter()
        forward += middle - began
        backward += ended - middle
        del value, gradients  # here, so that the next forward is not charged with it
    gc.enable()
    return forward / passes, backward / passes, (forward + backward) / passes


def copy_bandwidth(effort: Effort) -> list[dict[str, Any]]:
    """Bytes read and written a second by a copy of a tensor too large for the caches."""
    source = torch.rand(COPIED // 4)
    target = source.clone()
    rates = []
    for _ in range(effort.most_rounds):
        began = perf_counter()
        target.copy_(source)
        rates.append(2 * COPIED / (perf_counter() - began))
    return [{"bytes_per_s": quartiles(rates)}]


def ratios(slower: Times, faster: Times) -> list[float]:
    return [a / b for a, b in zip(slower, faster, strict=True)]


def spread(rounds: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """Quartiles over the rounds, for each phase."""
    return {p: quartiles(values) for p, values in zip(PHASES, zip(*rounds, strict=True), strict=True)}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return {"median": middle, "q1": low, "q3": high}
