"""The problems that the benchmarks set, on any device: inputs, and what it takes to solve them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import softdp

GAMMA = 0.1
THRESHOLD = 0.8
SCORE_TOLERANCE = 1e-5  # relative
TINY = 32  # steps, up to which a warp of a GPU does a pair, and launches cost more than bytes
LONG = 1024  # steps, past which a float32 gradient may be off by 1e-3


@dataclass(frozen=True)
class Implementation:
    """score maps a case's inputs to (B,). It may be off by score_tolerance, relative, gradients by
    1e-4 + slope * N.

    Where costs is true it takes costs, the inputs with their signs turned, and returns a cost; where mean
    is true it returns the batch's mean.
    """

    name: str
    score: Callable[..., Tensor]
    costs: bool = False
    mean: bool = False
    score_tolerance: float = SCORE_TOLERANCE
    slope: float = 0.0
    most_cells: int | None = None  # larger sizes would take minutes
    most_steps: int | None = None  # longer ones too

    def refusal(self, B: int, N: int) -> str | None:
        """Why this size is not for it, if so."""
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
    """inputs(B, N, generator) are float32 tensors on the generator's device, the first (B, N, N). The first
    implementation is softdp."""

    name: str
    inputs: Callable[[int, int, torch.Generator], tuple[Tensor, ...]]
    implementations: tuple[Implementation, ...]


def match_and_gap(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Uniform in [-1, 1], as cosines are."""
    match, gap = uniform(2, B, N, N, generator=generator)
    return match, gap


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device) * 2 - 1


def similarity(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Uniform in [-1, 1] in steps of 1/256: sums are exact, and gamma = 0 breaks ties alike in any
    precision. Every pair has a common step, so that every score has a gradient."""
    c = torch.randint(-256, 257, (B, N, N), generator=generator, device=generator.device) / 256
    c[:, 0, 0] = 1
    return (c,)


def negative_squared_distances(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Of Gaussian features, 8 a step."""
    options = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    x, y = torch.randn(2, B, N, 8, **options)
    return (-torch.cdist(x, y).square().float(),)


def anchored(match: Tensor) -> Tensor:
    return softdp.fsd_score(match, 0.0, gamma=GAMMA, boundary="anchored")


def on_costs(module: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """A soft-DTW module whose dist_func returns its first argument: the costs take the features' place."""
    return lambda cost: module(cost, cost)


def first(x: Tensor, y: Tensor) -> Tensor:
    return x


def bytes_per_cell(inputs: Sequence[Tensor]) -> dict[str, float]:
    """The fewest bytes that a pass can move: inputs read in the forward pass and again in the backward
    pass, and a gradient written for each. Scores are nothing."""
    B, N, M = inputs[0].shape
    read = sum(t.numel() * t.element_size() for t in inputs) / (B * N * M)
    return {"forward": read, "backward": 2 * read, "both": 3 * read}


def leaves_of(inputs: Sequence[Tensor], costs: bool) -> list[Tensor]:
    return [(-t if costs else t.clone()).requires_grad_() for t in inputs]


def value_and_gradients(
    implementation: Implementation, inputs: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor]]:
    """A cost is a score with its sign turned, of inputs likewise, so that the gradients are the same."""
    leaves = leaves_of(inputs, implementation.costs)
    value = implementation.score(*leaves)
    gradients = torch.autograd.grad(value, leaves, implementation.upstream(value, len(inputs[0])))
    return -value.detach() if implementation.costs else value.detach(), gradients


def squares(alignment: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The simplest loss on an alignment. Its forward pass is the alignment, its backward pass the Hessian's
    products, the second order."""
    return lambda *scores: alignment(*scores).square().sum((1, 2))


def reference_alignment(match: Tensor, gap: Tensor) -> Tensor:
    score = softdp.reference.fsd_score(match, gap, gamma=GAMMA)
    return torch.autograd.grad(score.sum(), match, create_graph=True)[0]
