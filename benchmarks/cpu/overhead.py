"""The time of a call on a problem as small as FTCL's, beside a custom operator that does nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

import softdp
from common.problems import GAMMA, Implementation, match_and_gap
from common.timing import quartiles, spread
from cpu.timing import Effort, agree, interleaved, sample

B, N, D = 16, 5, 64


@torch.library.custom_op("softdp_benchmarks::nothing", mutates_args=())
def nothing(scores: Tensor) -> Tensor:
    return scores.clone()


@nothing.register_autograd
def _(ctx: Any, gradient: Tensor) -> Tensor:
    return gradient


def measure(effort: Effort) -> list[dict[str, Any]]:
    """softdp's loss and score, in the same rounds as the operator that does nothing."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, B, N, D, generator=generator)
    target = torch.arange(B) % 2
    loss = Implementation("softdp.fsd_loss", partial(softdp.fsd_loss, target=target, gamma=GAMMA))
    score = Implementation("softdp.fsd_score", partial(softdp.fsd_score, gamma=GAMMA))
    problems = (loss, (x, y)), (score, match_and_gap(B, N, generator))
    for implementation, inputs in problems:
        agree(implementation.name, [implementation], inputs)
    empty = Implementation("an operator that does nothing", nothing)
    runs = []
    for implementation, inputs in (*problems, (empty, (torch.zeros(B),))):
        leaves = [t.clone().requires_grad_() for t in inputs]
        upstream = torch.ones_like(implementation.score(*leaves))
        runs.append(partial(sample, implementation.score, leaves, upstream))
    _, times = interleaved(runs, effort)
    return [
        {
            "implementation": implementation.name,
            "rounds": len(times),
            "seconds": spread([of_round[k] for of_round in times]),
            "of_nothing": quartiles([of_round[k][-1] / of_round[-1][-1] for of_round in times]),
        }
        for k, implementation in enumerate((loss, score, empty))
    ]
