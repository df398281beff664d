"""The most memory that a pass of softdp takes above its inputs. Each case runs in a new process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

import softdp
from common import fresh
from common.memory import added_peak, peak_bytes
from common.problems import GAMMA, THRESHOLD, anchored

SIZE, QUICK_SIZE = (4, 4096), (1, 2048)
WARM_UP = 64  # steps
SCORES = {
    "fsd": (2, partial(softdp.fsd_score, gamma=GAMMA)),
    "lcs": (1, partial(softdp.lcs_score, threshold=THRESHOLD, gamma=GAMMA)),
    "soft-DTW": (1, anchored),
}


def measure(size: tuple[int, int], threads: int) -> list[dict[str, Any]]:
    """Bytes a cell, with and without gradients. No entries outside Linux."""
    if peak_bytes() is None:
        return []
    B, N = size
    problems = [{"case": c, "B": B, "N": N, "gradients": g} for c in SCORES for g in (True, False)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        peaks = pool.map(lambda p: fresh.call("cpu.memory", "here", {**p, "threads": threads}), problems)
        return [
            {**problem, "bytes_per_cell": peak / (B * N * N)}
            for problem, peak in zip(problems, peaks, strict=True)
        ]


def here(case: str, B: int, N: int, gradients: bool, threads: int) -> int:
    """Bytes by which a pass raises the peak of this process."""
    torch.set_num_threads(threads)
    count, score = SCORES[case]
    # Made in place, so that the peak so far is the size of the inputs.
    inputs = [torch.empty(B, N, N).uniform_(-1, 1).requires_grad_(gradients) for _ in range(count)]
    run(score, [t.detach()[:, :WARM_UP, :WARM_UP].clone().requires_grad_(gradients) for t in inputs])
    return added_peak(lambda: run(score, inputs))


def run(score: Any, inputs: Sequence[torch.Tensor]) -> None:
    value = score(*inputs)
    if value.requires_grad:
        torch.autograd.grad(value, inputs, torch.ones_like(value))
