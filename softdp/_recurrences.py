"""The recurrences, one row each. A row holds all that differs between the operators of two recurrences.

csrc/ops/library.cpp has three schemas for each row. All of them follow one pattern:

    NAME_forward(*scores, x_lengths, y_lengths, *options, save) -> (score, saved)
    NAME_backward(grad_score, saved, *scores, x_lengths, y_lengths, *options, *needs)
        -> the gradient by each score
    NAME_double_backward(*directions, grad_score, *scores, x_lengths, y_lengths, *options, *needs)
        -> (tangent, the derivative by each score)

The first score is a whole table (B, N, M). The other scores are gaps, which broadcast to it; a gap may be
None. There is a direction for each result of NAME_backward. `needs` is a bool for each score: whether its
result is needed. A result that is not needed is an empty tensor. A recurrence with one score has no `needs`
in NAME_backward, since its only result is always needed. It takes `visits` instead, if the row says so.

_fake.py, _autograd.py and _vmap.py make from a row what torch.compile, autograd and vmap ask for. A new
recurrence therefore takes three schemas and a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

# The numbers of the option "boundary": boundary_of() of csrc/problem.h.
BOUNDARIES = ("free", "anchored", "subsequence", "overlap", "global", "local")


def has_open_ends(boundary: int) -> bool:
    """Whether a path may end in several cells."""
    return BOUNDARIES[boundary] in ("subsequence", "overlap", "local")


def ends(boundary: int, rows: int, columns: int) -> int:
    """How many weights of such cells are saved of a pair: ends_of() of csrc/problem.h."""
    word = BOUNDARIES[boundary]
    return (word in ("subsequence", "overlap")) * columns + (word in ("overlap", "local")) * rows


def _is_local(boundary: int | None) -> bool:
    return boundary is not None and BOUNDARIES[boundary] == "local"


# A GPU sweeps pairs of at most this many steps forward and backward in one launch, unless gamma is 0 or the
# scores are float64: Regime of csrc/cuda/wavefront.h.
TINY = 32


def holds_all(rows: int, columns: int, bandwidth: int) -> int:
    """1 where all cells of every pair are inside, else 0: bandwidth_option() of csrc/ops/tensors.h.

    By arithmetic, since an if would tie a compiled graph to one of both.
    """
    if bandwidth < 0:
        return 1
    beyond: int = torch.sym_max(0, torch.sym_min(1, bandwidth + 2 - torch.sym_max(rows, columns)))
    return beyond


def saved_cells(rows: int, columns: int, bandwidth: int) -> int:
    """Of how many cells of a pair the CUDA operators save numbers: saved_cells() of csrc/corridor.h."""
    every = holds_all(rows, columns, bandwidth)
    within = torch.sym_max(1, torch.sym_min(bandwidth, torch.sym_max(rows, columns)))
    enough = torch.sym_min(rows * (columns + 3), rows * (2 * within + 10) + 5 * columns)
    cells: int = every * (rows * columns) + (1 - every) * ((enough + 3) // 4 * 4)
    return cells


class Recurrence(NamedTuple):
    """A row.

    Attributes:
        name: the operators are NAME_forward, NAME_backward and NAME_double_backward.
        scores: the score tensors, in the schemas' order.
        options: the numbers and bools after the lengths, in the schemas' order. One is "gamma"; "boundary" is
            a place in BOUNDARIES. "bandwidth" is -1 if there is none.
        planes: how many numbers a cell the CUDA operators save, if it has one state. Its arguments: whether
            insert and delete are one gap, the scores' dtype, gamma, whether pairs of any size save weights, N
            and M. Regime::planes of csrc/cuda/wavefront.h says the same.
        reference: which functions have the derivatives that the operators lack, of the same arguments.
        alignment: how the alignment follows from those functions.
        visits: whether the backward operator takes `visits`. With it the result is the visits of the cells,
            which have no derivative.
        row_states: how many states of a cell the next row reads.
        weights_of_states: how many numbers a cell the CUDA operators save, if it has several states: of the
            boundary "local", and of others. numbers_of() of csrc/several_states.h says the same.
    """

    name: str
    scores: tuple[str, ...]
    options: tuple[str, ...]
    planes: Callable[[bool, torch.dtype, float, bool, int, int], int]
    reference: str
    alignment: str
    visits: bool = False
    row_states: int = 1
    weights_of_states: tuple[int, int] = (4, 0)

    def has_several_states(self, boundary: int | None) -> bool:
        """Whether a cell has several states. The CPU operators then save states, not weights."""
        return self.row_states > 1 or _is_local(boundary)

    def numbers(
        self,
        shared_gap: bool,
        dtype: torch.dtype,
        gamma: float,
        boundary: int | None,
        rows: int,
        columns: int,
        bandwidth: int,
    ) -> int:
        """How many numbers a pair the CUDA operators save, of the results' dtype: Regime::saved_bytes()."""
        cells = saved_cells(rows, columns, bandwidth)
        if not self.has_several_states(boundary):
            always = boundary is not None and has_open_ends(boundary)
            every = holds_all(rows, columns, bandwidth)
            whole, cut = (
                self.planes(shared_gap, dtype, gamma, weights, rows, columns) for weights in (always, True)
            )
            return (every * whole + (1 - every) * cut) * cells
        if not gamma > 0:  # 4 bytes a cell
            return (cells + 1) // 2 if dtype == torch.float64 else cells
        local, other = self.weights_of_states
        return (local if _is_local(boundary) else other) * cells

    @property
    def operators(self) -> tuple[str, str, str]:
        """The names of the forward, the backward and the double backward operator."""
        return f"{self.name}_forward", f"{self.name}_backward", f"{self.name}_double_backward"

    @property
    def one_score(self) -> bool:
        """Whether the backward operator has a single result."""
        return len(self.scores) == 1


def _weights(
    shared_gap: bool, dtype: torch.dtype, gamma: float, always: bool, rows: int, columns: int
) -> int:
    return 2 if dtype == torch.float64 else 1


def _planes_with_gaps(
    shared_gap: bool, dtype: torch.dtype, gamma: float, always: bool, rows: int, columns: int
) -> int:
    weights = _weights(shared_gap, dtype, gamma, always, rows, columns)
    if dtype == torch.float64 or not gamma > 0 or always:
        return weights
    gradients = 2 if shared_gap else 3
    # One of both, by arithmetic: an if, or sym_ite in PyTorch 2.15, would tie a compiled graph to one.
    large: int = torch.sym_min(1, torch.sym_max(rows, columns) // (TINY + 1))
    return large * weights + (1 - large) * gradients


def _planes_without_gaps(
    shared_gap: bool, dtype: torch.dtype, gamma: float, always: bool, rows: int, columns: int
) -> int:
    return 1


FSD = Recurrence(
    name="fsd",
    scores=("match", "insert", "delete"),
    options=("gamma", "boundary", "bandwidth", "costs"),
    planes=_planes_with_gaps,
    reference="softdp.reference.fsd_score and softdp.reference.soft_dtw",
    alignment="fsd_alignment is the gradient of softdp.reference.fsd_score by match, by torch.func.grad or "
    "torch.autograd.grad(..., create_graph=True)",
)
LCS = Recurrence(
    name="lcs",
    scores=("similarity",),
    options=("threshold", "gamma", "bandwidth"),
    planes=_planes_without_gaps,
    reference="softdp.reference.lcs_score",
    alignment="lcs_alignment is its gradient, by torch.func.grad or "
    "torch.autograd.grad(..., create_graph=True)",
    visits=True,
)
NEEDLEMAN_WUNSCH = Recurrence(
    name="needleman_wunsch",
    scores=("match", "insert", "delete"),
    options=("gamma", "boundary", "bandwidth"),
    planes=_weights,
    reference="softdp.reference.needleman_wunsch and softdp.reference.smith_waterman",
    alignment="the alignment is their gradient by match, by torch.func.grad or "
    "torch.autograd.grad(..., create_graph=True)",
)
AFFINE = Recurrence(
    name="affine",
    scores=("match", "insert", "delete", "open"),
    options=("gamma", "boundary", "bandwidth"),
    planes=_weights,
    reference="softdp.reference.needleman_wunsch and softdp.reference.smith_waterman",
    alignment="the alignment is their gradient by match, by torch.func.grad or "
    "torch.autograd.grad(..., create_graph=True)",
    row_states=4,
    weights_of_states=(8, 6),
)
RECURRENCES = (FSD, LCS, NEEDLEMAN_WUNSCH, AFFINE)
