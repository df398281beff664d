"""Needleman-Wunsch: the smoothed score of a global alignment."""

from __future__ import annotations

from torch import Tensor

from . import _checks, _devices, reference
from ._operators import OPERATORS
from ._recurrences import BOUNDARIES
from ._signatures import explained
from .functional import needs_gradient

NEEDLEMAN_WUNSCH = OPERATORS["needleman_wunsch"]


@explained()
def needleman_wunsch(
    match: Tensor,
    gap: Tensor | float,
    *,
    gamma: float = 0.1,
    boundary: str = "global",
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Smoothed Needleman-Wunsch score of B pairs: global alignment by match moves and gaps.

    Shapes: match (B, N, M); gap a number, (B,), or broadcastable to match; lengths (B,); returns (B,).

        F(i,j) = smooth_max(F(i-1,j-1) + match(i,j), F(i-1,j) + gap(i,j), F(i,j-1) + gap(i,j))
        F(i,0) = F(i-1,0) + gap(i,1),   F(0,j) = F(0,j-1) + gap(1,j),   score = F(n,m)

    Unlike in FSD the match score is added on match moves only, and gaps at both ends count by default. The
    gap is added: a gap that costs is negative. The gradient by match is the probability that two steps are
    matched. The gradient by gap is the expected number of gaps. It takes the memory of
    :func:`softdp.fsd_score`.

    Args:
        match: score of matching x's step i with y's step j. -inf forbids the match, not the gaps.
        gap: score of a step of x or of y without a partner: a number, one per pair, (B,), or a tensor of two
            or three dimensions that broadcasts to match, such as (B, N, 1) for one per step of x. -inf
            forbids the gap.
        gamma: smoothing, >= 0, by default 0.1. 0 gives Needleman-Wunsch itself. If several alignments are
            best, the gradient is that of one of them.
        boundary: which gaps at the ends cost nothing.
            "global", the default: none.
            "subsequence": those before and after x, so that all of x is aligned with any part of y.
            F(0,j) = 0, F(i,0) = -inf for i >= 1, and the score is the smooth maximum of F(n,j) over j. A gap
            of x cannot stand before y's first step.
            "overlap": all of them. F(0,j) = F(i,0) = 0, and the score is the smooth maximum of F over the
            last row and the last column, so that an alignment takes at least one cell.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or match's device; None means N
            and M. Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The scores, (B,), float64 for float64 inputs and float32 for all others. A pair that holds a NaN or
        +inf has the score NaN and the gradient NaN. A pair whose score receives the gradient 0 gets the
        gradient 0, whatever it holds. A pair whose one sequence is empty scores the sum of the other's gaps,
        or -inf if gap has a number for each step of the empty sequence: those lie past the lengths. With the
        other boundaries it scores 0, or -inf if only y is empty and the boundary is "subsequence".

    Raises:
        ValueError: shapes, devices, lengths, gap, gamma or boundary that do not fit.
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
    args = _checks.needleman_wunsch_arguments(match, gap, gamma, boundary, x_lengths, y_lengths)
    if not _devices.has_kernel(match.device):
        return reference.needleman_wunsch(
            match, gap, gamma=gamma, boundary=boundary, x_lengths=x_lengths, y_lengths=y_lengths
        )
    args = _devices.taken(args)
    save = needs_gradient(args.match, args.insert)
    score, _ = NEEDLEMAN_WUNSCH.forward(*args, float(gamma), BOUNDARIES.index(boundary), save)
    return score
