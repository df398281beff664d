"""The problems that the benchmarks solve on any device: their inputs, and how exact a solution must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import softdp

GAMMA = 0.1
THRESHOLD = 0.8
SCORE_TOLERANCE = 1e-5  # relative
TINY = (
    32  # steps; up to here one warp of a GPU computes a pair, and a launch costs more than the memory traffic
)
LONG = 1024  # steps; beyond, a float32 gradient may be off by 1e-3


class DisagreementError(Exception):
    """The score or a gradient of an implementation differs from softdp's in float64."""


@dataclass(frozen=True)
class Implementation:
    """score maps a case's inputs to (B,).

    The score may be off by score_tolerance, relative, and a gradient by 1e-4 + slope * N.
    With costs=True it takes costs, which are the negated inputs, and returns a cost.
    With mean=True it returns the mean of the batch.
    """

    name: str
    score: Callable[..., Tensor]
    costs: bool = False
    mean: bool = False
    score_tolerance: float = SCORE_TOLERANCE
    slope: float = 0.0
    most_cells: int | None = None  # larger sizes would take minutes
    most_steps: int | None = None  # longer pairs would too

    def refusal(self, B: int, N: int) -> str | None:
        """Why this size is left out; None where it is run."""
        if self.most_cells is not None and B * N * N > self.most_cells:
            return f"would take too long: over {self.most_cells} cells"
        if self.most_steps is not None and N > self.most_steps:
            return f"would take too long: over {self.most_steps} steps"
        return None

    def gradient_tolerance(self, N: int) -> float:
        return 1e-4 + self.slope * N

    def upstream(self, value: Tensor, B: int) -> Tensor:
        """The gradient of the sum of all B scores with respect to value."""
        return torch.full_like(value, B if self.mean else 1)


@dataclass(frozen=True)
class Case:
    """inputs(B, N, generator) returns float32 tensors on the generator's device; the first is (B, N, N).

    The first implementation is softdp.
    """

    name: str
    inputs: Callable[[int, int, torch.Generator], tuple[Tensor, ...]]
    implementations: tuple[Implementation, ...]


# ---- inputs --------------------------------------------------------------------------------------


def match_and_gap(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Uniform in [-1, 1], the range of cosines."""
    match, gap = uniform(2, B, N, N, generator=generator)
    return match, gap


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device) * 2 - 1


def similarity(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Multiples of 1/256 in [-1, 1].

    Their sums are exact, so gamma = 0 breaks ties in the same way in any precision. The cell (1,1) of every
    pair matches, so every score has a gradient.
    """
    c = torch.randint(-256, 257, (B, N, N), generator=generator, device=generator.device) / 256
    c[:, 0, 0] = 1
    return (c,)


def negative_squared_distances(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Distances of Gaussian features, 8 a step."""
    options = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    x, y = torch.randn(2, B, N, 8, **options)
    return (-torch.cdist(x, y).square().float(),)


# ---- scores --------------------------------------------------------------------------------------


def anchored(match: Tensor) -> Tensor:
    """Soft-DTW of the costs -match, with its sign changed."""
    return softdp.fsd_score(match, 0.0, gamma=GAMMA, boundary="anchored")


def on_costs(module: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """Passes costs to a soft-DTW module that takes features. Its dist_func must be `first`."""
    return lambda cost: module(cost, cost)


def first(x: Tensor, y: Tensor) -> Tensor:
    return x


def squares(alignment: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The sum of the squares of an alignment.

    Its forward pass computes the alignment. Its backward pass computes products with the Hessian of the
    score.
    """
    return lambda *scores: alignment(*scores).square().sum((1, 2))


def reference_alignment(match: Tensor, gap: Tensor) -> Tensor:
    score = softdp.reference.fsd_score(match, gap, gamma=GAMMA)
    return torch.autograd.grad(score.sum(), match, create_graph=True)[0]


# ---- agreement -----------------------------------------------------------------------------------


def leaves_of(inputs: Sequence[Tensor], costs: bool) -> list[Tensor]:
    return [(-t if costs else t.clone()).requires_grad_() for t in inputs]


def value_and_gradients(
    implementation: Implementation, inputs: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor]]:
    """The score and its gradients by the inputs.

    A cost is a negated score of negated inputs, so its gradients are those of the score.
    """
    leaves = leaves_of(inputs, implementation.costs)
    value = implementation.score(*leaves)
    gradients = torch.autograd.grad(value, leaves, implementation.upstream(value, len(inputs[0])))
    return -value.detach() if implementation.costs else value.detach(), gradients


def check_deviations(
    what: str, score_off: float, most_score_off: float, gradient_off: float, most_gradient_off: float
) -> None:
    """DisagreementError where a deviation is above its tolerance, or NaN."""
    if not (score_off <= most_score_off and gradient_off <= most_gradient_off):
        raise DisagreementError(
            f"{what}: score off by {score_off:.1e} (at most {most_score_off:.1e}), "
            f"gradient by {gradient_off:.1e} (at most {most_gradient_off:.1e})"
        )
