"""The recurrences in plain PyTorch: the readable specification, with derivatives of every order, backward and
forward (torch.func.jvp, hessian), on any device.

Shapes: B pairs; x has n <= N steps, y has m <= M steps; i = 1..n, j = 1..m.

    FSD   S(i,j) = match(i,j) + smooth_max(S(i-1,j-1), insert(i,j) + S(i-1,j), delete(i,j) + S(i,j-1))
    LCS   R(i,j) = R(i-1,j-1) + c(i,j)                  if c(i,j) >= threshold
                   smooth_max(R(i-1,j), R(i,j-1))       otherwise
    NW    F(i,j) = smooth_max(F(i-1,j-1) + match(i,j), F(i-1,j) + gap, F(i,j-1) + gap)

soft-DTW is FSD of negated costs without gaps. _reference_alignments.py has Needleman-Wunsch, Smith-Waterman
and their affine gaps.

A pair that holds a NaN or +inf scores NaN, and its derivatives are NaN. But if its score receives the
gradient 0, it gets the gradient 0.

The tables are filled one anti-diagonal at a time: _diagonals.py says how, and what diag, up and left are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import _checks, _values
from ._diagonals import filled, has_unknown, inside, joined, lengths_of, rest, skew, smooth_max
from ._reference_alignments import needleman_wunsch, smith_waterman
from ._signatures import LCS_FEATURES, SOFT_DTW_FEATURES, explained
from ._unknown import nan_where

__all__ = ["fsd_score", "lcs_score", "needleman_wunsch", "smith_waterman", "smooth_max", "soft_dtw"]


@explained()
def fsd_score(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gamma: float = 0.1,
    boundary: str = "free",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Fine-grained sequence distance of B pairs in plain PyTorch; see :func:`softdp.fsd_score`.

    Shapes: match (B, N, M); insert, delete broadcastable to it; lengths (B,); returns (B,).

    Args, Returns and Raises are those of :func:`softdp.fsd_score`. Every operation is PyTorch's own:
    derivatives of any order exist, backward and forward. It is slow: autograd records N + M steps.

    Example:
        >>> import torch, softdp
        >>> softdp.reference.fsd_score(torch.ones(1, 2, 2), 0.0, gamma=0.0)
        tensor([3.])

    Source: Gao, Chen, Xu, FTCL, CVPR 2022; Mensch and Blondel, ICML 2018.
    """
    args = _checks.fsd_arguments(match, insert, delete, gamma, boundary, x_lengths, y_lengths)
    return checked_fsd_score(args, gamma, boundary, _values.bandwidth_number(bandwidth, boundary))


def checked_fsd_score(
    args: _checks.FsdArguments, gamma: float, boundary: str, bandwidth: int = -1, costs: bool = False
) -> Tensor:
    """fsd_score of arguments that were checked. costs: the smooth minimum of costs."""
    args = args.computed()
    if costs:
        delete = None if args.delete is None else -args.delete
        args = args._replace(match=-args.match, insert=-args.insert, delete=delete)
        return 0 - checked_fsd_score(args, gamma, boundary, bandwidth)  # of no cells 0, not -0
    match = args.match
    insert = args.insert.expand(match.shape)
    delete = insert if args.delete is None else args.delete.expand(match.shape)
    B, N, M = match.shape
    n, m, unfit = lengths_of(args.x_lengths, args.y_lengths, match)
    within = inside(n, m, N, M, bandwidth)
    match, insert, delete = (t.masked_fill(~within, 0) for t in (match, insert, delete))
    unknown = has_unknown(match) | has_unknown(insert) | has_unknown(delete)
    clean = [t.masked_fill(unknown[:, None, None], 0) for t in (match, insert, delete)]
    skewed_match, skewed_insert, skewed_delete = (skew(t) for t in clean)

    def boundary_value(i: int, j: int) -> float:
        return rest(boundary, i, j)

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        moves = [diag, skewed_insert[d] + up, skewed_delete[d] + left]
        if boundary == "local":
            moves.append(torch.zeros_like(up))  # a path starts
        return skewed_match[d] + smooth_max(torch.stack(moves), gamma)

    table = filled(match, boundary_value, cells, None if bandwidth < 0 else within)
    score = joined(table, n, m, boundary, gamma)
    return nan_where(score, unknown, (match, insert, delete)).masked_fill(unfit, float("nan"))


@explained(features=LCS_FEATURES)
def lcs_score(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Smoothed length of the longest common subsequence in plain PyTorch; see :func:`softdp.lcs_score`.

    Shapes: similarity (B, N, M); lengths (B,); returns (B,).

    Args, Returns and Raises are those of :func:`softdp.lcs_score`. Every operation is PyTorch's own:
    derivatives of any order exist, backward and forward. It is slow: autograd records N + M steps.

    Example:
        >>> import torch, softdp
        >>> softdp.reference.lcs_score(torch.eye(3)[None], threshold=0.5, gamma=0.0)
        tensor([3.])

    Source: Gao, Chen, Xu, FTCL, CVPR 2022; Mensch and Blondel, ICML 2018.
    """
    args = _checks.lcs_arguments(similarity, threshold, gamma, x_lengths, y_lengths).computed()
    width = _values.bandwidth_number(bandwidth)
    return _lcs_score(args, threshold, gamma, width, torch.zeros_like(args.similarity))


@explained(features=SOFT_DTW_FEATURES)
def soft_dtw(
    cost: Tensor,
    *,
    gamma: float = 1.0,
    boundary: str = "anchored",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Soft-DTW of B pairs in plain PyTorch; see :func:`softdp.soft_dtw`.

    Shapes: cost (B, N, M); lengths (B,); returns (B,).

    Args, Returns and Raises are those of :func:`softdp.soft_dtw`. Every operation is PyTorch's own:
    derivatives of any order exist, backward and forward. It is slow: autograd records N + M steps.

    Example:
        >>> import torch, softdp
        >>> cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        >>> softdp.reference.soft_dtw(cost, gamma=0.5)
        tensor([-0.1198])
        >>> torch.func.hessian(lambda c: softdp.reference.soft_dtw(c, gamma=0.5).sum())(cost).shape
        torch.Size([1, 2, 2, 1, 2, 2])

    Source: Cuturi and Blondel, Soft-DTW: a Differentiable Loss Function for Time-Series, ICML 2017.
    """
    args = _checks.cost_arguments(cost, gamma, boundary, x_lengths, y_lengths)
    return checked_fsd_score(args, gamma, boundary, _values.bandwidth_number(bandwidth), costs=True)


def lcs_visits(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """How probable it is that a path of LCS takes each cell, common or not: d score / d R(i,j)."""
    args = _checks.lcs_arguments(similarity, threshold, gamma, x_lengths, y_lengths).computed()
    added = torch.zeros_like(args.similarity, requires_grad=True)
    with torch.enable_grad():
        detached, width = (
            args._replace(similarity=args.similarity.detach()),
            _values.bandwidth_number(bandwidth),
        )
        score = _lcs_score(detached, threshold, gamma, width, added)
    return torch.autograd.grad(score, added, torch.ones_like(score))[0]


def _lcs_score(
    args: _checks.LcsArguments, threshold: float, gamma: float, bandwidth: int, added: Tensor
) -> Tensor:
    """`added` comes on top of every R(i,j)."""
    similarity = args.similarity
    B, N, M = similarity.shape
    n, m, unfit = lengths_of(args.x_lengths, args.y_lengths, similarity)
    within = inside(n, m, N, M, bandwidth)
    similarity = similarity.masked_fill(~within, 0)
    unknown = has_unknown(similarity)
    skewed = skew(similarity.masked_fill(unknown[:, None, None], 0))
    skewed_added = skew(added)

    def boundary_value(i: int, j: int) -> float:
        return 0.0

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        plateau = smooth_max(torch.stack([up, left]), gamma)
        return torch.where(skewed[d] >= threshold, diag + skewed[d], plateau) + skewed_added[d]

    table = filled(similarity, boundary_value, cells, None if bandwidth < 0 else within)
    score = joined(table, n, m, "free", gamma)
    return nan_where(score, unknown, (similarity,)).masked_fill(unfit, float("nan"))
