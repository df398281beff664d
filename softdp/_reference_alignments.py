"""Needleman-Wunsch and Smith-Waterman in plain PyTorch, with linear and with affine gaps.

    F(i,j) = smooth_max(F(i-1,j-1) + match(i,j), F(i-1,j) + insert(i,j), F(i,j-1) + delete(i,j))

Smith-Waterman has match(i,j) as one more argument. Affine gaps: M ends with a match, X with a step of x
without a partner, Y with one of y, and F is any of them.

    M(i,j) = match(i,j) + F(i-1,j-1)                  Smith-Waterman: match(i,j) + smooth_max(F(i-1,j-1), 0)
    X(i,j) = smooth_max(M(i-1,j) + open(i,j), X(i-1,j) + insert(i,j), Y(i-1,j) + open(i,j))
    Y(i,j) = smooth_max(M(i,j-1) + open(i,j), X(i,j-1) + open(i,j), Y(i,j-1) + delete(i,j))
    F(i,j) = smooth_max(M(i,j), X(i,j), Y(i,j))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from . import _checks, _values
from ._diagonals import NEG_INF, filled, has_unknown, inside, joined, lengths_of, rest, skew, smooth_max
from ._signatures import explained
from ._unknown import nan_where


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
    """Smoothed Needleman-Wunsch score of B pairs in plain PyTorch; see :func:`softdp.needleman_wunsch`.

    Shapes: match (B, N, M); gap and gap_open a number, (B,), or broadcastable to match; lengths (B,);
    returns (B,).

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
    args = _checks.needleman_wunsch_arguments(match, gap, gap_open, gamma, boundary, x_lengths, y_lengths)
    return checked_alignment_score(args, gamma, boundary, _values.bandwidth_number(bandwidth))


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
    """Smoothed Smith-Waterman score of B pairs in plain PyTorch; see :func:`softdp.smith_waterman`.

    Shapes: match (B, N, M); insert, delete broadcastable to it; gap_open a number, (B,), or broadcastable to
    match; lengths (B,); returns (B,).

    Args, Returns and Raises are those of :func:`softdp.smith_waterman`. Every operation is PyTorch's own:
    derivatives of any order exist, backward and forward. It is slow: autograd records N + M steps.

    Example:
        >>> import torch, softdp
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("TTGACAT", "CCGACGG"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> softdp.reference.smith_waterman(match, -1.0, gamma=0.0)
        tensor([3.])

    Source: Smith and Waterman, Journal of Molecular Biology, 1981; affine gaps: Gotoh, same journal, 1982;
    smoothed as in Mensch and Blondel, ICML 2018.
    """
    args = _checks.smith_waterman_arguments(match, insert, delete, gap_open, gamma, x_lengths, y_lengths)
    return checked_alignment_score(args, gamma, "local")


def checked_alignment_score(
    args: _checks.AlignmentArguments, gamma: float, boundary: str, bandwidth: int = -1
) -> Tensor:
    """The score of arguments that were checked. boundary: one of needleman_wunsch, or "local"."""
    match, insert, delete, gap_open, x_lengths, y_lengths = args.computed()
    B, N, M = match.shape
    n, m, unfit = lengths_of(x_lengths, y_lengths, match)
    within = inside(n, m, N, M, bandwidth)
    match = match.masked_fill(~within, 0)
    is_global, is_affine = boundary == "global", gap_open is not None
    given = [t.expand(B, -1, -1) for t in (insert, delete, gap_open) if t is not None]
    gaps, no_gap = [], torch.zeros_like(unfit)
    for k, gap in enumerate(given):
        by_row, by_column = gap.shape[1] != 1, gap.shape[2] != 1
        # A pair without a step reads no gap, one without cells those that are one number for all steps. The
        # first of its steps opens the gap, if that has a score of its own.
        steps = 1 if is_affine and k < len(given) - 1 else 0
        one = ((n + m > steps) & is_global).to(n.dtype)
        rows, columns = n if by_row else torch.maximum(n, one), m if by_column else torch.maximum(m, one)
        gap = gap.masked_fill(~inside(rows, columns, *gap.shape[1:]), 0)
        gaps.append(gap.masked_fill(~within, 0) if by_row and by_column else gap)
        # What a pair without cells skips has a gap only if it is the same for all steps of the empty one.
        no_gap = no_gap | ((((n == 0) & (m > 0) & by_row) | ((m == 0) & (n > 0) & by_column)) & is_global)
    unknown = torch.stack([has_unknown(t) for t in (match, *gaps)]).any(0)
    clean = [t.masked_fill(unknown[:, None, None], 0) for t in gaps]
    tables = [skew(t.expand(match.shape)) for t in (match.masked_fill(unknown[:, None, None], 0), *clean)]
    skewed_match, skewed_insert, skewed_delete = tables[0], tables[1], tables[1 if delete is None else 2]
    sums = _boundary_sums(clean[0], clean[-1] if is_affine else None, N, M) if is_global else None
    value = _boundary(boundary, sums, match.new_zeros((B, 1)))
    paths = None if bandwidth < 0 else within
    if is_affine:
        cells = _affine_cells(skewed_match, skewed_insert, skewed_delete, tables[-1], boundary, gamma)
        table = smooth_max(filled(match, lambda i, j: torch.stack(value(i, j)[1:]), cells, paths), gamma)
    else:
        cells = _linear_cells(skewed_match, skewed_insert, skewed_delete, boundary, gamma)
        table = filled(match, lambda i, j: value(i, j)[0], cells, paths)
    score = joined(table, n, m, boundary, gamma)
    score = nan_where(score.masked_fill(no_gap, NEG_INF), unknown, (match, *gaps))
    return score.masked_fill(unfit, float("nan"))


Cells: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def _linear_cells(match: Tensor, insert: Tensor, delete: Tensor, boundary: str, gamma: float) -> Cells:
    """What makes the state F of a diagonal, (B, N), of skewed tables."""

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        moves = [diag + match[d], up + insert[d], left + delete[d]]
        if boundary == "local":
            moves.append(match[d])  # an alignment starts
        return smooth_max(torch.stack(moves), gamma)

    return cells


def _affine_cells(
    match: Tensor, insert: Tensor, delete: Tensor, gap_open: Tensor, boundary: str, gamma: float
) -> Cells:
    """What makes the states M, X and Y of a diagonal, (3, B, N), of skewed tables."""

    def cells(d: int, diag: Tensor, up: Tensor, left: Tensor) -> Tensor:
        before = smooth_max(diag, gamma)
        if boundary == "local":
            before = smooth_max(torch.stack([before, torch.zeros_like(before)]), gamma)
        of_x = torch.stack([up[0] + gap_open[d], up[1] + insert[d], up[2] + gap_open[d]])
        of_y = torch.stack([left[0] + gap_open[d], left[1] + gap_open[d], left[2] + delete[d]])
        return torch.stack([match[d] + before, smooth_max(of_x, gamma), smooth_max(of_y, gamma)])

    return cells


def _boundary(
    boundary: str, sums: tuple[Tensor, Tensor] | None, zero: Tensor
) -> Callable[[int, int], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """What F, M, X and Y are on the boundary, (B, 1) each. sums: of gaps along x and along y."""
    dead = zero + NEG_INF

    def value(i: int, j: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if sums is None or i == j == 0:
            start = zero if sums is not None else zero + rest(boundary, i, j)
            return start, start, dead, dead
        along_x, along_y = sums
        if i > 0:
            return along_x[:, i - 1 : i], dead, along_x[:, i - 1 : i], dead
        one = along_y[:, j - 1 : j] if j <= along_y.shape[1] else zero  # past the table
        return one, dead, dead, one

    return value


def _boundary_sums(gap: Tensor, gap_open: Tensor | None, N: int, M: int) -> tuple[Tensor, Tensor]:
    """The sums of the boundary's gaps, (B, N) along x and (B, M) along y."""
    along_x, along_y = _steps(gap, N), _steps(gap.transpose(1, 2), M)
    if gap_open is not None:
        opened_x, opened_y = _steps(gap_open, N), _steps(gap_open.transpose(1, 2), M)
        along_x = torch.cat([opened_x[:, :1], along_x[:, 1:]], 1)
        along_y = torch.cat([opened_y[:, :1], along_y[:, 1:]], 1)
    return along_x.cumsum(1), along_y.cumsum(1)


def _steps(gap: Tensor, steps: int) -> Tensor:
    """The first column of gaps, (B, 1 or steps, 1 or more) -> (B, steps)."""
    if gap.shape[2] == 0:
        return gap.new_full((gap.shape[0], steps), NEG_INF)
    return gap[:, :, 0].expand(-1, steps)
