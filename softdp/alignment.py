"""Where two sequences align: the expected alignment, which is differentiable, and the best path."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _checks, _devices, reference
from ._operators import OPERATORS
from ._signatures import LCS_FEATURES, explained

FSD, LCS = OPERATORS["fsd"], OPERATORS["lcs"]

MOVES = ("match", "insert", "delete")


class Path(NamedTuple):
    """The best path of B pairs, as the cells that it takes in order.

    Attributes:
        steps: (B, K, 3) int64, K = max(N + M - 1, 0), which is the most cells that a path can take. Each row
            is one cell: row i, column j, both from 0, and the move into it, an index into softdp.MOVES. Rows
            past the path's length are -1.
        lengths: (B,) int64, the number of cells on each path. It is 0 where a pair has no path, or holds a
            NaN or +inf.
    """

    steps: Tensor
    lengths: Tensor

    def tolist(self) -> list[list[tuple[int, int, str]]]:
        """One list of (i, j, name of the move) for each pair.

        On a GPU this waits until the path is computed.
        """
        pairs = zip(self.steps.tolist(), self.lengths.tolist(), strict=True)
        return [[(i, j, MOVES[move]) for i, j, move in steps[:length]] for steps, length in pairs]


@explained()
def fsd_alignment(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gamma: float = 0.1,
    boundary: str = "free",
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Expected alignment of B pairs under FSD: the probability that a path takes each cell.

    Shapes: match (B, N, M); insert, delete broadcastable to it; lengths (B,); returns (B, N, M).

        E(i,j) = d score / d match(i,j)

    with the score of :func:`softdp.fsd_score`. You can train on a loss of E: it has derivatives by match,
    insert and delete. Third derivatives of the score raise NotImplementedError.

    Args:
        match, insert, delete, gamma, boundary, x_lengths, y_lengths: as in :func:`softdp.fsd_score`.

    Returns:
        E, (B, N, M), in [0, 1], float64 for float64 scores and float32 for all others. It is 1 at (n, m) and,
        anchored, at (1, 1). It is 0 past a pair's lengths and where a pair has no path. It is NaN where a
        pair holds a NaN or +inf. Its derivative is then NaN too, unless E receives the gradient 0.

    Raises:
        ValueError, TypeError: as :func:`softdp.fsd_score`.

    Example:
        >>> import torch, softdp
        >>> match = torch.eye(3)[None].requires_grad_()
        >>> E = softdp.fsd_alignment(match, -1.0, gamma=0.5, boundary="anchored")
        >>> E[0].detach().round(decimals=3)
        tensor([[1.0000, 0.0200, 0.0000],
                [0.0200, 0.9950, 0.0200],
                [0.0000, 0.0200, 1.0000]])
        >>> (1 - E[0].diagonal()).sum().backward()  # pull the alignment to the diagonal
        >>> match.grad.shape
        torch.Size([1, 3, 3])

    Source: Mensch and Blondel, ICML 2018; Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    trained = _checks.TRAINED_FSD_ALIGNMENT
    args = _checks.fsd_arguments(match, insert, delete, gamma, boundary, x_lengths, y_lengths, trained)
    args = args.computed()
    if not _devices.has_kernel(match.device):
        leaf = args.match if args.match.requires_grad else args.match.detach().requires_grad_()
        with torch.enable_grad():
            score = reference.fsd_score(
                leaf, *args[1:3], gamma=gamma, boundary=boundary, x_lengths=x_lengths, y_lengths=y_lengths
            )
        return _alignment_by_autograd(score, leaf, args[:3])
    match, insert, delete, *lengths = _devices.taken(args)
    options = float(gamma), boundary == "anchored", False
    detached = (None if t is None else t.detach() for t in (match, insert, delete))
    score, saved = FSD.forward(*detached, *lengths, *options, True)
    needs = True, False, False
    given = torch.ones_like(score), saved, match, insert, delete
    alignment: Tensor
    alignment, _, _ = FSD.backward(*given, *lengths, *options, *needs)
    return alignment


@explained(features=LCS_FEATURES.replace("lcs_score", "lcs_alignment"))
def lcs_alignment(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Expected alignment of B pairs under LCS: the probability that a path takes each common cell.

    Shapes: similarity (B, N, M); lengths (B,); returns (B, N, M).

        E(i,j) = d score / d c(i,j), 0 where c(i,j) < threshold

    with the score of :func:`softdp.lcs_score`. You can train on a loss of E: it has a derivative by the
    similarity. Third derivatives of the score raise NotImplementedError.

    Args:
        similarity, threshold, gamma, x_lengths, y_lengths: as in :func:`softdp.lcs_score`.

    Returns:
        E, (B, N, M), in [0, 1], float64 for float64 scores and float32 for all others. It is 0 past a pair's
        lengths. It is NaN where a pair holds a NaN or +inf. Its derivative is then NaN too, unless E receives
        the gradient 0.

    Raises:
        ValueError, TypeError: as :func:`softdp.lcs_score`.

    Example:
        >>> import torch, softdp
        >>> c = torch.tensor([[[0.9, 0.1], [0.2, 0.95]]])
        >>> softdp.lcs_alignment(c, threshold=0.8)
        tensor([[[1., 0.],
                 [0., 1.]]])

    Source: Mensch and Blondel, ICML 2018; Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    trained = _checks.TRAINED_LCS_ALIGNMENT
    args = _checks.lcs_arguments(similarity, threshold, gamma, x_lengths, y_lengths, trained).computed()
    if not _devices.has_kernel(similarity.device):
        leaf = args.similarity if args.similarity.requires_grad else args.similarity.detach().requires_grad_()
        with torch.enable_grad():
            score = reference.lcs_score(
                leaf, threshold=threshold, gamma=gamma, x_lengths=x_lengths, y_lengths=y_lengths
            )
        return _alignment_by_autograd(score, leaf, args[:1])
    similarity, *lengths = _devices.taken(args)
    options = float(threshold), float(gamma)
    score, saved = LCS.forward(similarity.detach(), *lengths, *options, True)
    given = torch.ones_like(score), saved, similarity
    alignment: Tensor = LCS.backward(*given, *lengths, *options, False)
    return alignment


def _alignment_by_autograd(score: Tensor, leaf: Tensor, scores: tuple[Tensor | None, ...]) -> Tensor:
    differentiable = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in scores)
    (alignment,) = torch.autograd.grad(score.sum(), leaf, create_graph=differentiable)
    return alignment


# ---- paths ---------------------------------------------------------------------------------------


@explained()
@torch.no_grad()
def fsd_path(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    boundary: str = "free",
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Path:
    """The best path of B pairs under FSD.

    Shapes: match (B, N, M); insert, delete broadcastable to it; lengths (B,); returns steps
    (B, N + M - 1, 3) and lengths (B,).

    It is the path whose match and gap scores add up to fsd_score with gamma = 0. The path is computed on the
    scores' device; the call does not wait for it. Ties are taken in the order match, insert, delete. The
    first cell of a path is the first one that it enters; row and column 0 of the table are not listed.

    Args:
        match, insert, delete, boundary, x_lengths, y_lengths: as in :func:`softdp.fsd_score`.

    Returns:
        A :class:`softdp.Path`.

    Raises:
        ValueError, TypeError: as :func:`softdp.fsd_score`.

    Example:
        >>> import torch, softdp
        >>> match = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])
        >>> softdp.fsd_path(match, -0.5, boundary="anchored").tolist()
        [[(0, 0, 'match'), (1, 1, 'match'), (1, 2, 'delete')]]

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    args = _checks.fsd_arguments(match, insert, delete, 0.0, boundary, x_lengths, y_lengths).computed()
    delete = args.insert if args.delete is None else args.delete
    # Whole tables for each move: a gap that is broadcast or shared would get the sum over its cells and
    # moves.
    tables = [args.match, args.insert.expand_as(args.match), delete.expand_as(args.match)]
    if _devices.has_kernel(match.device):
        _, _, _, *lengths = _devices.taken(args)
        options = 0.0, boundary == "anchored", False
        score, saved = FSD.forward(*tables, *lengths, *options, True)
        needs = True, True, True
        gradients = FSD.backward(torch.ones_like(score), saved, *tables, *lengths, *options, *needs)
    else:
        leaves = [t.detach().requires_grad_() for t in tables]
        with torch.enable_grad():
            score = reference.fsd_score(
                *leaves, gamma=0.0, boundary=boundary, x_lengths=x_lengths, y_lengths=y_lengths
            )
        gradients = torch.autograd.grad(score, leaves, torch.ones_like(score))
    taken, inserts, deletes = (g == 1 for g in gradients)
    return _path(taken, inserts.long() + 2 * deletes.long())


@explained(features=LCS_FEATURES.replace("lcs_score", "lcs_path"))
@torch.no_grad()
def lcs_path(
    similarity: Tensor,
    *,
    threshold: float,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Path:
    """The best path of B pairs under LCS: its match moves are the longest common subsequence itself.

    Shapes: similarity (B, N, M); lengths (B,); returns steps (B, N + M - 1, 3) and lengths (B,).

    The similarities of the match moves add up to lcs_score with gamma = 0. The path is computed on the
    similarity's device; the call does not wait for it. A tie of insert and delete is an insert. The first
    cell of a path is the first one that it enters; row and column 0 of the table are not listed.

    Args:
        similarity, threshold, x_lengths, y_lengths: as in :func:`softdp.lcs_score`.

    Returns:
        A :class:`softdp.Path`.

    Raises:
        ValueError, TypeError: as :func:`softdp.lcs_score`.

    Example:
        >>> import torch, softdp
        >>> c = torch.tensor([[[0.9, 0.1, 0.2], [0.2, 0.3, 0.95]]])
        >>> softdp.lcs_path(c, threshold=0.8).tolist()
        [[(0, 0, 'match'), (0, 1, 'delete'), (1, 2, 'match')]]

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    args = _checks.lcs_arguments(similarity, threshold, 0.0, x_lengths, y_lengths).computed()
    hits = args.similarity >= torch.tensor(threshold, dtype=args.similarity.dtype)
    if _devices.has_kernel(similarity.device):
        scores, *lengths = _devices.taken(args)
        options = float(threshold), 0.0
        score, saved = LCS.forward(scores, *lengths, *options, True)
        visits = LCS.backward(torch.ones_like(score), saved, scores, *lengths, *options, True)
    else:
        visits = reference.lcs_visits(
            args.similarity, threshold=threshold, gamma=0.0, x_lengths=x_lengths, y_lengths=y_lengths
        )
    taken = visits == 1
    # In row 1 a path that does not come from the left comes from row 0.
    from_left = _moved(taken, 2)
    first = torch.arange(taken.shape[1], device=taken.device)[:, None] == 0
    from_above = torch.where(first, ~from_left, _moved(taken, 1))
    return _path(taken, torch.where(hits, 0, torch.where(from_above, 1, 2)))


def _moved(table: Tensor, dim: int) -> Tensor:
    """The table moved by one step along a dimension, with False before it.

    A slice would tie a compiled graph to the sizes.
    """
    before = torch.arange(table.shape[dim], device=table.device) - 1
    moved = table.index_select(dim, before.clamp(min=0))
    return moved & (before >= 0).view([-1 if d == dim else 1 for d in range(3)])


def _path(taken: Tensor, moves: Tensor) -> Path:
    """The cells taken, (B, N, M), in order. A path takes at most one cell of each anti-diagonal i + j."""
    B, N, M = taken.shape
    most = max(N + M - 1, 0)
    i, j = torch.arange(N, device=taken.device)[:, None], torch.arange(M, device=taken.device)
    cells = torch.where(taken, (i * M + j) * 3 + moves + 1, 0).flatten(1)
    line = cells.new_zeros(B, most).scatter_add_(1, (i + j).flatten().expand_as(cells), cells)
    first = (line == 0).long().argsort(dim=1, stable=True)  # the anti-diagonals with a cell, in order
    cell = line.gather(1, first) - 1
    columns = max(M, 1)
    steps = torch.stack([cell // 3 // columns, cell // 3 % columns, cell % 3], dim=2)
    return Path(steps.masked_fill((cell < 0)[..., None], -1), (line > 0).sum(1))
