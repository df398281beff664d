"""Needleman-Wunsch: the smoothed score of a global alignment, on FSD's sweeps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _checks
from ._signatures import explained
from .functional import checked_fsd_score


@explained()
def needleman_wunsch(
    match: Tensor,
    gap: Tensor | float,
    *,
    gamma: float = 0.1,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Smoothed Needleman-Wunsch score of B pairs: global alignment by match moves and gaps.

    Shapes: match (B, N, M); gap a number, (B,) or (B, 1, 1); lengths (B,); returns (B,).

        F(i,j) = smooth_max(F(i-1,j-1) + match(i,j), F(i-1,j) + gap, F(i,j-1) + gap)
        F(0,j) = j * gap,   F(i,0) = i * gap,   score = F(n,m)

    Unlike in FSD the match score is added on match moves only, and gaps at both ends count. The gap is added:
    a gap that costs is negative. The gradient by match is the probability that two steps are matched. The
    gradient by gap is the expected number of gaps.

    It takes two more matrices of match's size and a mask. Very low match scores are raised to a bound; this
    changes the result by less than rounding.

    Args:
        match: score of matching x's step i with y's step j. -inf forbids the match, not the gaps.
        gap: score of a step of x or of y without a partner: a number, or one per pair, (B,) or (B, 1, 1).
            -inf forbids gaps. If a pair also has a match score of -inf, its score is NaN.
        gamma: smoothing, >= 0, by default 0.1. 0 gives Needleman-Wunsch itself. If several alignments are
            best, the gradient is that of one of them.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or match's device; None means N
            and M. Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The scores, (B,), float64 for float64 inputs and float32 for all others. A pair that holds a NaN or
        +inf has the score NaN and the gradient NaN. A pair whose score receives the gradient 0 gets the
        gradient 0, also if it holds a NaN or +inf. A pair with one empty sequence scores the length of the
        other times gap.

    Raises:
        ValueError: shapes, devices, lengths, gap or gamma that do not fit.
        TypeError: scores that are not floating point, mixed dtypes, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("GCATGCG", "GATTACA"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> softdp.needleman_wunsch(match, -1.0, gamma=0.0)
        tensor([0.])
        >>> softdp.needleman_wunsch(match, -1.0, gamma=1.0)
        tensor([3.4192])

    Source: Needleman and Wunsch, Journal of Molecular Biology, 1970; smoothed as in Mensch and Blondel, ICML
    2018.
    """
    args = _checks.needleman_wunsch_arguments(match, gap, gamma, x_lengths, y_lengths)
    match, gap = args.match, args.insert
    # This is FSD, anchored. The scores get one row and one column of zeros before them, since the boundary is
    # made of gaps. FSD adds the match score on every move, so that insert and delete are the gap minus it. A
    # match score below `lowest` is raised to it, so that the gaps through a cell of -inf stay open. Such a
    # match weighs less than eps^2 of two gaps, which is less than rounding. At gamma 0 `lowest` is 2 * gap:
    # two gaps are as good there, so that the maximum stays the same.
    lowest = 2 * gap + 2 * gamma * math.log(torch.finfo(match.dtype).eps)
    padded = torch.nn.functional.pad(torch.where(match < lowest, lowest, match), (1, 0, 1, 0))
    lengths = _one_more(x_lengths), _one_more(y_lengths)
    return checked_fsd_score(_checks.FsdArguments(padded, gap - padded, None, *lengths), gamma, "anchored")


def _one_more(lengths: Tensor | None) -> Tensor | None:
    """Lengths plus 1. A length below 0 stays: on a GPU it was not checked, and must not become 0."""
    return None if lengths is None else torch.where(lengths < 0, lengths, lengths + 1)
