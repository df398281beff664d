"""Needleman-Wunsch and Smith-Waterman: the smoothed scores of global and of local alignments."""

from __future__ import annotations

from torch import Tensor

from . import _checks, _devices, _reference_alignments, _values
from ._operators import OPERATORS
from ._recurrences import BOUNDARIES
from ._signatures import explained
from .functional import needs_gradient

NEEDLEMAN_WUNSCH, AFFINE = OPERATORS["needleman_wunsch"], OPERATORS["affine"]


@explained()
def needleman_wunsch(
    match: Tensor,
    gap: Tensor | float,
    *,
    gap_open: Tensor | float | None = None,
    gamma: float = 0.1,
    boundary: str = "global",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Smoothed Needleman-Wunsch score of B pairs: global alignment by match moves and gaps.

    Shapes: match (B, N, M); gap and gap_open a number, (B,), or broadcastable to match; lengths (B,);
    returns (B,).

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
        gap_open: score of the first step of a gap, whose further steps score gap: affine gaps, usually with
            gap_open below gap. None: every step scores gap. Its shapes are those of gap. It is read at the
            cell of the gap's first step. A gap of x beside a gap of y opens anew.
        gamma: smoothing, >= 0, by default 0.1. 0 gives Needleman-Wunsch itself. If several alignments are
            best, the gradient is that of one of them.
        boundary: which gaps at the ends cost nothing.
            "global", the default: none.
            "subsequence": those before and after x, so that all of x is aligned with any part of y.
            F(0,j) = 0, F(i,0) = -inf for i >= 1, and the score is the smooth maximum of F(n,j) over j. A gap
            of x cannot stand before y's first step.
            "overlap": all of them. F(0,j) = F(i,0) = 0, and the score is the smooth maximum of F over the
            last row and the last column, so that an alignment takes at least one cell.
        bandwidth: w >= 0: only cells within w steps of the line from (1,1) to (n,m) count, in steps of the
            longer sequence. Others are not read and get the gradient 0. None, the default: all cells count.
            docs/semantics.md says which cells those are where n and m differ.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or match's device; None means N
            and M. Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The scores, (B,), float64 for float64 inputs and float32 for all others. A pair that holds a NaN or
        +inf has the score NaN and the gradient NaN. A pair whose score receives the gradient 0 gets the
        gradient 0, whatever it holds. A pair whose one sequence is empty scores the sum of the other's gaps,
        or -inf if gap or gap_open has a number for each step of the empty sequence: those lie past the
        lengths. With the
        other boundaries it scores 0, or -inf if only y is empty and the boundary is "subsequence".

    Raises:
        ValueError: shapes, devices, lengths, gap, gap_open, gamma, boundary or bandwidth that do not fit.
        TypeError: scores that are not floating point, mixed dtypes, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("GCATGCG", "GATTACA"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> softdp.needleman_wunsch(match, -1.0, gamma=0.0)
        tensor([0.])
        >>> softdp.needleman_wunsch(match, -1.0, gamma=1.0)
        tensor([3.4192])
        >>> softdp.needleman_wunsch(match, -0.5, gap_open=-2.0, gamma=0.0)
        tensor([-1.])

    Source: Needleman and Wunsch, Journal of Molecular Biology, 1970; affine gaps: Gotoh, same journal, 1982;
    smoothed as in Mensch and Blondel, ICML 2018.
    """
    args = _checks.needleman_wunsch_arguments(match, gap, gap_open, gamma, boundary, x_lengths, y_lengths)
    return _score(args, gamma, boundary, _values.bandwidth_number(bandwidth))


@explained()
def smith_waterman(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gap_open: Tensor | float | None = None,
    gamma: float = 0.1,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Smoothed Smith-Waterman score of B pairs: local alignment, of the best parts of x and y.

    Shapes: match (B, N, M); insert, delete, gap_open a number, (B,), or broadcastable to match;
    lengths (B,); returns (B,).

        F(i,j) = smooth_max(F(i-1,j-1) + match(i,j), F(i-1,j) + insert(i,j), F(i,j-1) + delete(i,j),
                            match(i,j))
        score  = smooth_max of F(i,j) over all cells;   F(0,j) = F(i,0) = -inf

    An alignment starts with a match, so that each is counted once. Match scores must be negative on average:
    otherwise the best part is the whole. The gradient by match is the probability that two steps are matched.
    For the gradients it keeps 1 byte a cell on the CPU, 4 with gap_open. On a GPU it keeps 16 bytes a cell,
    32 with gap_open, in float64 twice as many, and 4 where gamma is 0.

    Args:
        match: score of matching x's step i with y's step j. -inf forbids the match, not the gaps.
        insert: score of a step of x without a partner: a number, one per pair, (B,), or a tensor of two or
            three dimensions that broadcasts to match. A gap that costs is negative. -inf forbids the gap.
        delete: the same of a step of y; None means delete = insert. A number must be given by name.
        gap_open: score of the first step of a gap, whose further steps score insert or delete: affine gaps,
            usually with gap_open below them, and of their shapes. It is read at the cell of the gap's first
            step. None: every step scores insert or delete.
        gamma: smoothing, >= 0, by default 0.1. 0 gives Smith-Waterman itself, of alignments with at least one
            match. If several alignments are best, the gradient is that of one of them.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or match's device; None means N
            and M. Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The scores, (B,), float64 for float64 inputs and float32 for all others. A pair without an alignment
        has the score -inf and the gradient 0, also an empty pair. A pair that holds a NaN or +inf has the
        score NaN and the gradient NaN. A pair whose score receives the gradient 0 gets the gradient 0,
        whatever it holds.

    Raises:
        ValueError: shapes, devices, lengths, gaps or gamma that do not fit.
        TypeError: scores that are not floating point, mixed dtypes, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("TTGACAT", "CCGACGG"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> softdp.smith_waterman(match, -1.0, gamma=0.0)  # GAC beside GAC
        tensor([3.])
        >>> softdp.smith_waterman(match, -0.5, gap_open=-2.0, gamma=0.5)
        tensor([3.3332])

    Source: Smith and Waterman, Journal of Molecular Biology, 1981; affine gaps: Gotoh, same journal, 1982;
    smoothed as in Mensch and Blondel, ICML 2018.
    """
    args = _checks.smith_waterman_arguments(match, insert, delete, gap_open, gamma, x_lengths, y_lengths)
    return _score(args, gamma, "local")


def _score(args: _checks.AlignmentArguments, gamma: float, boundary: str, bandwidth: int = -1) -> Tensor:
    """The score of checked arguments. boundary: one of needleman_wunsch, or "local"."""
    if not _devices.has_kernel(args.match.device):
        return _reference_alignments.checked_alignment_score(args, gamma, boundary, bandwidth)
    match, insert, delete, opened, *lengths = _devices.taken(args)
    options = float(gamma), BOUNDARIES.index(boundary), bandwidth
    save = needs_gradient(match, insert, delete, opened)
    if opened is None:
        score, _ = NEEDLEMAN_WUNSCH.forward(match, insert, delete, *lengths, *options, save)
    else:
        score, _ = AFFINE.forward(match, insert, delete, opened, *lengths, *options, save)
    return score
