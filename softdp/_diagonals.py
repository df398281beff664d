"""Tables filled one anti-diagonal i + j = d at a time, for softdp.reference.

A step is a handful of tensor operations for all pairs and all rows. A diagonal is kept as a vector over the
rows i = 0..N. Of the cells (i, j) of a diagonal, a step is given the states

    up    (i-1, j)    the previous diagonal, one row up
    left  (i, j-1)    the previous diagonal, the same row
    diag  (i-1, j-1)  the diagonal before, one row up

With several states a cell, all of these have them in front: (states, B, rows).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NEG_INF = float("-inf")


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


def rest(boundary: str, i: int, j: int) -> float:
    """S(i, j) on a boundary without gaps."""
    reached = {"anchored": i == 0 and j == 0, "subsequence": i == 0, "local": False}.get(boundary, True)
    return 0.0 if reached else NEG_INF


def filled(
    scores: Tensor,
    boundary_value: Callable[[int, int], Tensor | float],
    cells: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    within: Tensor | None = None,
) -> Tensor:
    """Fill the tables of scores (B, N, M) diagonal by diagonal: (..., B, N + M + 1, N + 1), by d and i.

    within: the cells that a path may take, (B, N, M); None: all.
    """
    B, N, M = scores.shape
    skewed_within = None if within is None else skew(within, False)

    def edge(i: int, j: int) -> Tensor:
        value = boundary_value(i, j)
        return value if isinstance(value, Tensor) else scores.new_full((B, 1), value)

    start = edge(0, 0)
    dead = scores.new_full((*start.shape[:-1], N), NEG_INF)
    table = [torch.cat([start, dead], -1)]  # d = 0: only the row i = 0 is on the table
    for d in range(1, N + M + 1):
        top = edge(0, d)
        if d == 1:
            rows = dead
        else:
            rows = cells(d, table[d - 2][..., :-1], table[d - 1][..., :-1], table[d - 1][..., 1:])
        if skewed_within is not None:
            rows = rows.masked_fill(~skewed_within[d], NEG_INF)
        if d <= N:  # the cell (d, 0) is the boundary column
            rows = torch.cat([rows[..., : d - 1], edge(d, 0), rows[..., d:]], -1)
        table.append(torch.cat([top, rows], -1))
    return torch.stack(table, -2)


def joined(table: Tensor, n: Tensor, m: Tensor, boundary: str, gamma: float) -> Tensor:
    """The states at the ends of every pair, joined to its score: (B, N + M + 1, N + 1) -> (B,)."""
    B, diagonals, rows = table.shape
    N, M = rows - 1, diagonals - rows
    pairs = torch.arange(B, device=table.device)
    score = table[pairs, n + m, n]
    if boundary in ("subsequence", "overlap", "local") and N > 0 and M > 0:
        j = torch.arange(1, M + 1, device=table.device)[:, None]
        i = torch.arange(1, N + 1, device=table.device)[:, None]
        if boundary == "local":  # all cells, row by row: (N M, B)
            i, j = i.repeat_interleave(M, 0), j.repeat(N, 1)
            ends = table[pairs, i + j, i].masked_fill((i > n) | (j > m), NEG_INF)
        else:
            ends = table[pairs, n + j.minimum(m), n].masked_fill(j > m, NEG_INF)  # the last row, (M, B)
        if boundary == "overlap":
            column = table[pairs, m + i.minimum(n), i.minimum(n)]
            ends = torch.cat([ends, column.masked_fill(i >= n, NEG_INF)])
        score = torch.where((n > 0) & (m > 0), smooth_max(ends, gamma), score)
    return score.masked_fill(score == NEG_INF, NEG_INF)  # no path: no gradient


def skew(table: Tensor, beside: float = NEG_INF) -> Tensor:
    """(B, N, M) -> (N + M + 1, B, N): entry [d, b, i - 1] is cell (i, d - i); `beside` is off the table."""
    B, N, M = table.shape
    i = torch.arange(1, N + 1, device=table.device)
    j = torch.arange(N + M + 1, device=table.device)[:, None] - i
    on_table = (j >= 1) & (j <= M)
    if M == 0:
        return table.new_full((N + M + 1, B, N), beside)
    picked = table[:, i - 1, (j - 1).clamp(0, M - 1)]
    return picked.masked_fill(~on_table, beside).transpose(0, 1)


def lengths_of(
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


def inside(n: Tensor, m: Tensor, N: int, M: int, bandwidth: int = -1) -> Tensor:
    """Which cells count: those within the lengths and the bandwidth, (B, N, M)."""
    i, j = torch.arange(N, device=n.device)[:, None], torch.arange(M, device=m.device)
    down, right = n[:, None, None] - 1, m[:, None, None] - 1  # of the last cell
    within = (i <= down) & (j <= right)
    if bandwidth < 0:
        return within
    longer, shorter = torch.maximum(down, right), torch.minimum(down, right).clamp(min=0)
    half_slope = (longer + 2 * shorter - 1) // (2 * shorter).clamp(min=1)  # rounded up
    most = longer.clamp(max=bandwidth)
    most = torch.where(longer > shorter, torch.maximum(most, half_slope), most)
    return within & ((shorter == 0) | ((i * right - j * down).abs() <= most * shorter))


def has_unknown(table: Tensor) -> Tensor:
    """Pairs that hold a NaN or +inf: (B, N, M) -> (B,)."""
    return ~(table < float("inf")).all(2).all(1)
