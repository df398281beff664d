"""Checks that implementations agree, then times them in turns, forward and backward of the same passes."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from common.problems import Case, Implementation, check_deviations, leaves_of, value_and_gradients
from common.timing import SLOW, Times, quartiles, ratios, spread

COPIED = 2**28  # bytes, several times the size of any CPU's caches


@dataclass(frozen=True)
class Effort:
    """How long to measure. `sample` is the seconds of a sample, `budget` the seconds of all samples of an
    implementation and size. The number of rounds stays within its two bounds."""

    sample: float = 0.02
    budget: float = 1.5
    fewest_rounds: int = 3
    most_rounds: int = 51


QUICK = Effort(sample=0.005, budget=0.2, most_rounds=15)


def measure(cases: Sequence[Case], B: int, N: int, effort: Effort) -> list[dict[str, Any]]:
    """An entry for each case and implementation that runs at this size, all in the same rounds.

    It holds speeds, deviations, and how many times as fast each case of softdp is in the same round.
    """
    subjects, runs, agreements = [], [], []
    for case in cases:
        inputs = case.inputs(B, N, torch.Generator().manual_seed(0))
        running = [i for i in case.implementations if not i.refusal(B, N)]
        subjects += [(case, i, bytes_per_cell(inputs)) for i in running]
        agreements += agree(case.name, running, inputs)
        # Each has its own leaves, because tslearn's forward pass counts as an in-place change of its input.
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


def bytes_per_cell(inputs: Sequence[Tensor]) -> dict[str, float]:
    """The fewest bytes that a pass can move.

    The forward pass reads the inputs. The backward pass reads them again and writes a gradient for each. The
    scores are too few to count.
    """
    B, N, M = inputs[0].shape
    read = sum(t.numel() * t.element_size() for t in inputs) / (B * N * M)
    return {"forward": read, "backward": 2 * read, "both": 3 * read}


def agree(name: str, running: Sequence[Implementation], inputs: Sequence[Tensor]) -> list[dict[str, float]]:
    """Largest deviations from softdp in float64. DisagreementError above the tolerances. Also the warm-up."""
    expected, expected_gradients = value_and_gradients(running[0], [t.double() for t in inputs])
    B, N, _ = inputs[0].shape
    found = []
    for implementation in running:
        score, gradients = value_and_gradients(implementation, inputs)
        off = ((score - expected).abs() / expected.abs().clamp(min=1)).max().item()
        pairs = zip(gradients, expected_gradients, strict=True)
        gradient_off = max((a - b).abs().max().item() for a, b in pairs)
        most, tolerance = implementation.score_tolerance, implementation.gradient_tolerance(N)
        what = f"{name} {B}x{N}: {implementation.name} is not softdp in float64"
        check_deviations(what, off, most, gradient_off, tolerance)
        found.append(
            {"score_off": off, "gradient_off": gradient_off, "gradient_tolerance": round(tolerance, 6)}
        )
    return found


def interleaved(
    runs: Sequence[Callable[[int], Times]], effort: Effort
) -> tuple[Sequence[int], list[list[Times]]]:
    """For each run the passes of a sample; for each round and run the times of a pass."""
    repeats, seconds = zip(*(calibrate(run, effort) for run in runs), strict=True)
    rounds = int(effort.budget * len(runs) / sum(seconds))
    rounds = min(max(rounds, effort.fewest_rounds), effort.most_rounds)
    return repeats, [[run(k) for run, k in zip(runs, repeats, strict=True)] for _ in range(rounds)]


def calibrate(run: Callable[[int], Times], effort: Effort) -> tuple[int, float]:
    """Passes and seconds of a sample.

    The first pass after other work is slow, many times slower where passes are short. It is not counted.
    """
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
    """Mean seconds of a pass: forward, backward, both. Every pass records its own graph."""
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
        del value, gradients  # here, so that the time of freeing them is not part of the next forward
    gc.enable()
    return forward / passes, backward / passes, (forward + backward) / passes


def copy_bandwidth(effort: Effort) -> list[dict[str, Any]]:
    """Bytes a second, read and written, of a copy of a tensor that is too large for the caches."""
    source = torch.rand(COPIED // 4)
    target = source.clone()
    rates = []
    for _ in range(effort.most_rounds):
        began = perf_counter()
        target.copy_(source)
        rates.append(2 * COPIED / (perf_counter() - began))
    return [{"bytes_per_s": quartiles(rates)}]
