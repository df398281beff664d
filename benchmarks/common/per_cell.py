"""Python loops over pairs and cells, with a few operations on 0-d tensors in each cell.

"FTCL's way" does what FTCL's release does, which keeps the table of a pair in one tensor. For each cell its
FSD makes a new table, which is the old one times a mask plus the new value. Its LCS writes into the table.
The "lean loop" keeps the cells in Python lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fsd_score(match: Tensor, gap: Tensor, *, gamma: float) -> Tensor:
    """FTCL's way. match, gap (B, N, M) -> (B,). The boundary is free, and delete = insert = gap."""

    def pair(match: Tensor, gap: Tensor) -> Tensor:
        N, M = match.shape
        table = match.new_zeros(N + 1, M + 1)
        for i in range(N):
            for j in range(M):
                moves = table[i, j], gap[i, j] + table[i, j + 1], gap[i, j] + table[i + 1, j]
                kept = torch.ones_like(table)
                kept[i + 1, j + 1] = 0
                table = table * kept + (match[i, j] + smooth_max(moves, gamma)) * (1 - kept)
        return table[-1, -1]

    return torch.stack([pair(m, g) for m, g in zip(match, gap, strict=True)])


def lcs_score(similarity: Tensor, *, threshold: float, gamma: float) -> Tensor:
    """FTCL's way. similarity (B, N, M) -> (B,)."""

    def pair(c: Tensor) -> Tensor:
        N, M = c.shape
        table = c.new_zeros(N + 1, M + 1)
        for i in range(N):
            for j in range(M):
                if c[i, j] >= threshold:
                    table[i + 1, j + 1] = table[i, j] + c[i, j]
                else:
                    table[i + 1, j + 1] = smooth_max((table[i, j + 1], table[i + 1, j]), gamma)
        return table[-1, -1]

    return torch.stack([pair(c) for c in similarity])


def lean_fsd_score(match: Tensor, gap: Tensor, *, gamma: float) -> Tensor:
    """The lean loop, with the shapes of fsd_score."""

    def pair(match: Tensor, gap: Tensor) -> Tensor:
        zero = match.new_zeros(())
        N, M = match.shape
        above = [zero] * (M + 1)
        for i in range(N):
            row = [zero]
            for j in range(M):
                moves = above[j], gap[i, j] + above[j + 1], gap[i, j] + row[j]
                row.append(match[i, j] + smooth_max(moves, gamma))
            above = row
        return above[-1]

    return torch.stack([pair(m, g) for m, g in zip(match, gap, strict=True)])


def lean_lcs_score(similarity: Tensor, *, threshold: float, gamma: float) -> Tensor:
    """The lean loop, with the shapes of lcs_score."""

    def pair(c: Tensor) -> Tensor:
        zero = c.new_zeros(())
        N, M = c.shape
        above = [zero] * (M + 1)
        for i in range(N):
            row = [zero]
            for j in range(M):
                hit = c[i, j] >= threshold
                row.append(above[j] + c[i, j] if hit else smooth_max((above[j + 1], row[j]), gamma))
            above = row
        return above[-1]

    return torch.stack([pair(c) for c in similarity])


def smooth_max(moves: Sequence[Tensor], gamma: float) -> Tensor:
    if gamma == 0:
        return max(moves)  # type: ignore[type-var]
    return gamma * torch.logsumexp(torch.stack(list(moves)) / gamma, 0)
