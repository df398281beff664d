"""The recurrences in plain PyTorch: the readable specification, with derivatives of every order, backward and
forward (torch.func.jvp, hessian), on any device.

Shapes: B pairs; x has n <= N steps, y has m <= M steps; i = 1..n, j = 1..m.

    FSD   S(i,j) = match(i,j) + smooth_max(S(i-1,j-1), insert(i,j) + S(i-1,j), delete(i,j) + S(i,j-1))
    LCS   R(i,j) = R(i-1,j-1) + c(i,j)                  if c(i,j) >= threshold
                   smooth_max(R(i-1,j), R(i,j-1))       otherwise
    NW    F(i,j) = smooth_max(F(i-1,j-1) + match(i,j), F(i-1,j) + gap, F(i,j-1) + gap)

soft-DTW is FSD of negated costs without gaps.

A pair that holds a NaN or +inf scores NaN, and its derivatives are NaN. But if its score receives the
gradient 0, it gets the gradient 0.

The tables are filled one anti-diagonal i + j = d at a time, so that a step is a handful of tensor
operations for all pairs and all rows. A diagonal is kept as a vector over the rows i = 0..N:

    up    S(i-1, j)    the previous diagonal, one row up
    left  S(i, j-1)    the previous diagonal, the same row
    diag  S(i-1, j-1)  the diagonal before, one row up
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import _checks
from ._signatures import LCS_FEATURES, SOFT_DTW_FEATURES, explained
from ._unknown import nan_where

__all__ = ["fsd_score", "lcs_score", "needleman_wunsch", "smooth_max", "soft_dtw"]

NEG_INF = float("-inf")


@explained()
def fsd_score(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gamma: float = 0.1,
    boundary: str = "free",
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
    return checked_fsd_score(args, gamma, boundary)


def checked_fsd_score(args: _checks.FsdArguments, gamma: float, boundary: str, costs: bool = False) -> Tensor:
    """fsd_score of arguments that were checked. costs: the smooth minimum of costs."""
    args = args.computed()
    if costs:
        delete = None if args.delete is None else -args.delete
        args = args._replace(match=-args.match, insert=-args.insert, delete=delete)
        return 0 - checked_fsd_score(args, gamma, boundary)  # of no cells 0, not -0
    match = args.match
    insert = args.insert.expand(match.shape)
    delete = insert if args.delete is None else args.delete.expand(match.shape)
    B, N, M = match.shape
    n, m, unfit = _lengths(args.x_lengths, args.y_lengths, match)
    inside = _inside(n, m, N, M)
    match, insert, delete = (t.masked_fill(~inside, 0) for t in (match, insert, delete))
    unknown = _has_unknown(match) | _has_unknown(insert) | _has_unknown(delete)
    clean = [t.masked_fill(unknown[:, None, None], 0) for t in (match, insert, delete)]
    skewed_match, skewed_insert, skewed_delete = (_skew(t) for t in clean)

    def boundary_value(i: int, j: int) -> float:
        return _rest(boundary, i, j)

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        moves = torch.stack([diag, skewed_insert[d] + up, skewed_delete[d] + left])
        return skewed_match[d] + smooth_max(moves, gamma)

    score = _sweep(match, n, m, boundary_value, cells, boundary, gamma)
    return nan_where(score, unknown, (match, insert, delete)).masked_fill(unfit, float("nan"))


@explained(features=LCS_FEATURES)
def lcs_score(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
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
    return _lcs_score(args, threshold, gamma, torch.zeros_like(args.similarity))


@explained(features=SOFT_DTW_FEATURES)
def soft_dtw(
    cost: Tensor,
    *,
    gamma: float = 1.0,
    boundary: str = "anchored",
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
    return checked_fsd_score(args, gamma, boundary, costs=True)


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
    """Smoothed Needleman-Wunsch score of B pairs in plain PyTorch; see :func:`softdp.needleman_wunsch`.

    Shapes: match (B, N, M); gap a number, (B,), or broadcastable to match; lengths (B,); returns (B,).

    Args, Returns and Raises are those of :func:`softdp.needleman_wunsch`. Every operation is PyTorch's own:
    derivatives of any order exist, backward and forward. It is slow: autograd records N + M steps.

    Example:
        >>> import torch, softdp
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("GCATGCG", "GATTACA"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> softdp.reference.needleman_wunsch(match, -1.0, gamma=0.0)
        tensor([0.])

    Source: Needleman and Wunsch, Journal of Molecular Biology, 1970; smoothed as in Mensch and Blondel, ICML
    2018.
    """
    args = _checks.needleman_wunsch_arguments(match, gap, gamma, boundary, x_lengths, y_lengths).computed()
    match = args.match
    B, N, M = match.shape
    n, m, unfit = _lengths(args.x_lengths, args.y_lengths, match)
    is_global = boundary == "global"
    match = match.masked_fill(~_inside(n, m, N, M), 0)
    gap = args.insert.expand(B, -1, -1)
    by_row, by_column = gap.shape[1] != 1, gap.shape[2] != 1
    # A pair without a step reads no gap, one without cells those that are one number for all steps.
    one = ((n + m > 0) & is_global).to(n.dtype)
    rows, columns = (n if by_row else torch.maximum(n, one)), (m if by_column else torch.maximum(m, one))
    gap = gap.masked_fill(~_inside(rows, columns, *gap.shape[1:]), 0)
    unknown = _has_unknown(match) | _has_unknown(gap)
    skewed_match, clean_gap = (
        _skew(match.masked_fill(unknown[:, None, None], 0)),
        gap.masked_fill(unknown[:, None, None], 0),
    )
    skewed_gap = _skew(clean_gap.expand(match.shape))
    along_x, along_y = _sums(clean_gap, N), _sums(clean_gap.transpose(1, 2), M)

    def boundary_value(i: int, j: int) -> Tensor | float:
        if not is_global:
            return _rest(boundary, i, j)
        if i > 0:
            return along_x[:, i - 1 : i]
        return along_y[:, j - 1 : j] if 0 < j <= M else 0.0

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        moves = torch.stack([diag + skewed_match[d], up + skewed_gap[d], left + skewed_gap[d]])
        return smooth_max(moves, gamma)

    score = _sweep(match, n, m, boundary_value, cells, boundary, gamma)
    # What a pair without cells skips has a gap only if that gap is the same for all steps of the empty one.
    no_gap = (((n == 0) & (m > 0) & by_row) | ((m == 0) & (n > 0) & by_column)) & is_global
    score = nan_where(score.masked_fill(no_gap, NEG_INF), unknown, (match, gap))
    return score.masked_fill(unfit, float("nan"))


def _sums(gap: Tensor, steps: int) -> Tensor:
    """The boundary's sums of the first column of gaps, (B, 1 or steps, 1 or more) -> (B, steps)."""
    if gap.shape[2] == 0:
        return gap.new_full((gap.shape[0], steps), NEG_INF)
    return gap[:, :, 0].expand(-1, steps).cumsum(1)


def lcs_visits(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """How probable it is that a path of LCS takes each cell, common or not: d score / d R(i,j)."""
    args = _checks.lcs_arguments(similarity, threshold, gamma, x_lengths, y_lengths).computed()
    added = torch.zeros_like(args.similarity, requires_grad=True)
    with torch.enable_grad():
        score = _lcs_score(args._replace(similarity=args.similarity.detach()), threshold, gamma, added)
    return torch.autograd.grad(score, added, torch.ones_like(score))[0]


def _lcs_score(args: _checks.LcsArguments, threshold: float, gamma: float, added: Tensor) -> Tensor:
    """`added` comes on top of every R(i,j)."""
    similarity = args.similarity
    B, N, M = similarity.shape
    n, m, unfit = _lengths(args.x_lengths, args.y_lengths, similarity)
    similarity = similarity.masked_fill(~_inside(n, m, N, M), 0)
    unknown = _has_unknown(similarity)
    skewed = _skew(similarity.masked_fill(unknown[:, None, None], 0))
    skewed_added = _skew(added)

    def boundary_value(i: int, j: int) -> float:
        return 0.0

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        plateau = smooth_max(torch.stack([up, left]), gamma)
        return torch.where(skewed[d] >= threshold, diag + skewed[d], plateau) + skewed_added[d]

    score = _sweep(similarity, n, m, boundary_value, cells, "free", gamma)
    return nan_where(score, unknown, (similarity,)).masked_fill(unfit, float("nan"))


def smooth_max(moves: Tensor, gamma: float) -> Tensor:
    """gamma * logsumexp(moves / gamma) over the first dimension, (K, ...) -> (...).

    gamma = 0 is the maximum, with the gradient 1 at the first largest move and 0 at the others. Where every
    move is -inf, the value is -inf and the gradient 0.
    """
    if gamma == 0:
        first = moves.argmax(0, keepdim=True)
        return moves.gather(0, first).squeeze(0)
    dead = (moves == NEG_INF).all(0)
    value = gamma * torch.logsumexp(moves.masked_fill(dead, 0) / gamma, 0)
    return value.masked_fill(dead, NEG_INF)


def _rest(boundary: str, i: int, j: int) -> float:
    """S(i, j) on a boundary without gaps."""
    reached = {"anchored": i == 0 and j == 0, "subsequence": i == 0}.get(boundary, True)
    return 0.0 if reached else NEG_INF


def _sweep(
    scores: Tensor,
    n: Tensor,
    m: Tensor,
    boundary_value: Callable[[int, int], Tensor | float],
    cells: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    boundary: str,
    gamma: float,
) -> Tensor:
    """Fill the tables diagonal by diagonal and join S at the ends of every pair: scores (B, N, M) -> (B,)."""
    B, N, M = scores.shape

    def edge(i: int, j: int) -> Tensor:
        value = boundary_value(i, j)
        return value if isinstance(value, Tensor) else scores.new_full((B, 1), value)

    start = edge(0, 0)
    dead = scores.new_full((B, N), NEG_INF)
    table = [torch.cat([start, dead], 1)]  # d = 0: only the row i = 0 is on the table
    for d in range(1, N + M + 1):
        top = edge(0, d)
        if d == 1:
            rows = dead
        else:
            rows = cells(d, table[d - 2][:, :-1], table[d - 1][:, :-1], table[d - 1][:, 1:])
        if d <= N:  # the cell (d, 0) is the boundary column
            rows = torch.cat([rows[:, : d - 1], edge(d, 0), rows[:, d:]], 1)
        table.append(torch.cat([top, rows], 1))
    stacked = torch.stack(table, 1)  # (B, N + M + 1, N + 1)
    pairs = torch.arange(B, device=scores.device)
    score = stacked[pairs, n + m, n]
    if boundary in ("subsequence", "overlap") and N > 0 and M > 0:
        j = torch.arange(1, M + 1, device=scores.device)[:, None]
        ends = stacked[pairs, n + j.minimum(m), n].masked_fill(j > m, NEG_INF)  # the last row, (M, B)
        if boundary == "overlap":
            i = torch.arange(1, N + 1, device=scores.device)[:, None]
            column = stacked[pairs, m + i.minimum(n), i.minimum(n)]
            ends = torch.cat([ends, column.masked_fill(i >= n, NEG_INF)])
        score = torch.where((n > 0) & (m > 0), smooth_max(ends, gamma), score)
    return score.masked_fill(score == NEG_INF, NEG_INF)  # no path: no gradient


def _skew(table: Tensor) -> Tensor:
    """(B, N, M) -> (N + M + 1, B, N): entry [d, b, i - 1] is cell (i, d - i), -inf off the table."""
    B, N, M = table.shape
    i = torch.arange(1, N + 1, device=table.device)
    j = torch.arange(N + M + 1, device=table.device)[:, None] - i
    on_table = (j >= 1) & (j <= M)
    if M == 0:
        return table.new_full((N + M + 1, B, N), NEG_INF)
    picked = table[:, i - 1, (j - 1).clamp(0, M - 1)]
    return picked.masked_fill(~on_table, NEG_INF).transpose(0, 1)


def _lengths(
    x_lengths: Tensor | None, y_lengths: Tensor | None, scores: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """n and m of every pair, (B,) each, and which pairs' do not fit.

    Lengths on a GPU are not looked at before they are used: a pair whose lengths are out of range is
    treated as empty, so that nothing is read out of bounds, and scores NaN with gradient 0.
    """
    B, *padded = scores.shape
    given = [
        scores.new_full((B,), full, dtype=torch.int64)
        if lengths is None
        else lengths.to(device=scores.device, dtype=torch.int64)
        for lengths, full in zip((x_lengths, y_lengths), padded, strict=True)
    ]
    fit = [(lengths >= 0) & (lengths <= full) for lengths, full in zip(given, padded, strict=True)]
    unfit = ~(fit[0] & fit[1])
    n, m = (lengths.masked_fill(unfit, 0) for lengths in given)
    return n, m, unfit


def _inside(n: Tensor, m: Tensor, N: int, M: int) -> Tensor:
    rows = torch.arange(N, device=n.device) < n[:, None]
    columns = torch.arange(M, device=m.device) < m[:, None]
    return rows[:, :, None] & columns[:, None, :]


def _has_unknown(table: Tensor) -> Tensor:
    """Pairs that hold a NaN or +inf: (B, N, M) -> (B,)."""
    return ~(table < float("inf")).all(2).all(1)
