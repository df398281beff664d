"""The cases on a GPU: for each one its implementations, and the fewest bytes that it can move."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import softdp
from common import per_cell
from common.problems import (
    GAMMA,
    THRESHOLD,
    Case,
    Implementation,
    anchored,
    match_and_gap,
    negative_squared_distances,
    reference_alignment,
    similarity,
    squares,
    uniform,
)
from gpu.peers import Missing, peers

GAP = -0.5
FTCL_CELLS = 16 * 5 * 5
REFERENCE_CELLS, REFERENCE_STEPS = 512 * 64 * 64, 128
ALIGNMENT_CELLS = 264 * 512 * 512
# Bytes a cell, forward and backward. Forward: reads the scores, writes and reads the weights, writes the
# alignment. Backward: reads the scores and writes the weights again; reads weights and a direction and writes
# the weights' tangents; reads both and writes two products.
ALIGNMENT_BYTES = 8 + 8 + 8 + 4, 8 + 8 + 8 + 4 + 8 + 16 + 8


@dataclass(frozen=True)
class GpuCase(Case):
    """Has `matrices` dense inputs and as many gradients.

    The weights that the forward pass saves take `saved` bytes a cell. `moved` gives the bytes of both passes
    where they do not follow from these.
    """

    matrices: int = 1
    saved: int = 8
    moved: tuple[int, int] | None = None
    missing: tuple[Missing, ...] = ()

    def bytes_per_cell(self, itemsize: int) -> dict[str, int]:
        """The fewest bytes that the operator can move, without broadcast gaps, scores and lengths."""
        if self.moved:
            forward, backward = self.moved
            return {"forward": forward, "backward": backward, "both": forward + backward}
        one_way = self.matrices * itemsize + self.saved
        return {"forward": one_way, "backward": one_way, "both": 2 * one_way}


def match_and_two_gaps(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    match, insert, delete = uniform(3, B, N, N, generator=generator)
    return match, insert, delete


def match_row_and_column(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """An insert score for each step of x, (B, N, 1), and a delete score for each of y, (B, 1, N)."""
    sizes = (B, N, N), (B, N, 1), (B, 1, N)
    return tuple(uniform(*size, generator=generator) for size in sizes)


def match_alone(B: int, N: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    return (uniform(B, N, N, generator=generator),)


def with_number(score: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda match: score(match, GAP, gamma=GAMMA)


def plain(
    ours: Callable[..., Tensor], reference: Callable[..., Tensor], loop: Callable[..., Tensor] | None = None
) -> tuple[Implementation, ...]:
    """The reference and the loop have a slope, because float32 sums lose accuracy with the length."""
    found = [
        Implementation("softdp", ours),
        Implementation(
            "reference", reference, slope=3e-5, most_cells=REFERENCE_CELLS, most_steps=REFERENCE_STEPS
        ),
    ]
    if loop:
        found.append(Implementation("FTCL's way", loop, slope=3e-5, most_cells=FTCL_CELLS))
    return tuple(found)


# The derivatives reach some hundreds: they are 1 / gamma times sums over many cells.
ALIGNMENT = (
    Implementation(
        "softdp",
        squares(partial(softdp.fsd_alignment, gamma=GAMMA)),
        slope=2e-5,
        most_cells=ALIGNMENT_CELLS,
    ),
    Implementation(
        "reference",
        squares(reference_alignment),
        score_tolerance=1e-3,
        slope=1e-2,
        most_cells=16 * 30 * 30,
    ),
)


def cases(device: torch.device, without: Collection[str] = ()) -> tuple[GpuCase, ...]:
    fsd = [partial(library.fsd_score, gamma=GAMMA) for library in (softdp, softdp.reference, per_cell)]
    options = {"threshold": THRESHOLD, "gamma": GAMMA}
    lcs = [partial(library.lcs_score, **options) for library in (softdp, softdp.reference, per_cell)]
    number = [with_number(library.fsd_score) for library in (softdp, softdp.reference)]
    found = peers(device, without)
    soft_dtw = (
        *plain(anchored, partial(softdp.reference.fsd_score, insert=0.0, gamma=GAMMA, boundary="anchored")),
        *(peer for peer in found if isinstance(peer, Implementation)),
    )
    missing = tuple(peer for peer in found if isinstance(peer, Missing))
    return (
        GpuCase("fsd", match_and_gap, plain(*fsd), matrices=2),
        GpuCase("fsd, two gaps", match_and_two_gaps, plain(*fsd[:2]), matrices=3),
        GpuCase("fsd, row and column gaps", match_row_and_column, plain(*fsd[:2])),
        GpuCase("fsd, gap a number", match_alone, plain(*number)),
        GpuCase("lcs", similarity, plain(*lcs), saved=4),
        GpuCase("soft-DTW", negative_squared_distances, soft_dtw, missing=missing),
        GpuCase("fsd, squares of the alignment", match_and_gap, ALIGNMENT, moved=ALIGNMENT_BYTES),
    )
