"""The time of a cell of one pair, from a length that fits the first cache to the longest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

import softdp
from common.memory import available_bytes
from common.problems import GAMMA, SCORE_TOLERANCE, DisagreementError, Implementation
from common.timing import Times, spread
from cpu.threads import set_threads
from cpu.timing import Effort, agree, interleaved, sample

LENGTHS = 256, 512, 1024, 2048, 4096, 8192, 16384
QUICK_LENGTHS = LENGTHS[:3]
CHECKED = 4096  # steps; beyond, float64 gradients would take more memory than the measurement
BYTES_A_CELL = 32  # of inputs, gradients and saved weights, or of the inputs in both precisions
FSD = Implementation("softdp", partial(softdp.fsd_score, gamma=GAMMA), slope=1e-7)


def measure(N: int, threads: Sequence[int], effort: Effort) -> list[dict[str, Any]]:
    """fsd with delete = insert. Returns an entry for each number of threads."""
    available = available_bytes()
    if available is not None and BYTES_A_CELL * N * N > available:
        reason = f"would take {BYTES_A_CELL * N * N / 1e9:.0f} GB"
        return [{"N": N, "threads": count, "not_run": reason} for count in threads]
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.empty(1, N, N).uniform_(-1, 1, generator=generator) for _ in range(2)]
    deviations = agree("fsd", [FSD], leaves)[0] if N <= CHECKED else agree_in_score(leaves)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    found = []
    for count in threads:
        set_threads(count)
        runs = partial(sample, FSD.score, leaves, torch.ones(1)), partial(fresh_matrix, N)
        _, times = interleaved(runs, effort)
        cells, floats = ([[1e9 * t / (N * N) for t in of_round[k]] for of_round in times] for k in range(2))
        entry = {"N": N, "threads": count, "rounds": len(times), "ns_per_cell": spread(cells)}
        found.append(entry | {"ns_per_fresh_float": spread(floats)["both"], **deviations})
    return found


def fresh_matrix(N: int, passes: int) -> Times:
    """Mean seconds to make and fill a new matrix. Above some megabytes the system maps each page anew."""
    began = perf_counter()
    for _ in range(passes):
        torch.empty(1, N, N).zero_()
    seconds = (perf_counter() - began) / passes
    return seconds, 0.0, seconds


def agree_in_score(inputs: Sequence[Tensor]) -> dict[str, float]:
    """The deviation of the score from float64. DisagreementError above the tolerance."""
    score = FSD.score(*inputs).item()
    expected = FSD.score(*(t.double() for t in inputs)).item()
    off = abs(score - expected) / max(abs(expected), 1)
    if not off <= SCORE_TOLERANCE:
        raise DisagreementError(f"fsd 1x{inputs[0].shape[1]}: softdp's score is off by {off:.1e} in float32")
    return {"score_off": off}
