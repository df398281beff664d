"""The best path of pairs: which cells it takes, by which moves. All scores share one implementation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _checks, _devices, _values, _vmap
from ._dtypes import computed
from ._operators import OPERATORS
from ._recurrences import BOUNDARIES, RECURRENCES, Recurrence
from ._signatures import LCS_FEATURES, SOFT_DTW_FEATURES, explained

MOVES = ("match", "insert", "delete")
ROWS = {row.name: row for row in RECURRENCES}


class Path(NamedTuple):
    """The best path of B pairs, as the cells that it takes in order.

    Attributes:
        steps: (B, K, 3) int64. Each row is one cell: row i, column j, both from 0, and the move into it, an
            index into softdp.MOVES. K = max(N + M - 1, 0), which is the most cells that a path can take; of
            global Needleman-Wunsch K = N + M. Rows past the path's length are -1.
        lengths: (B,) int64, the number of cells on each path. It is 0 where a pair has no path, or holds a
            NaN or +inf (costs: NaN or -inf).
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
@torch.no_grad()
def fsd_path(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    boundary: str = "free",
    bandwidth: int | None = None,
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
        match, insert, delete, boundary, bandwidth, x_lengths, y_lengths: as in :func:`softdp.fsd_score`.

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
    args = _checks.fsd_arguments(match, insert, delete, 0.0, boundary, x_lengths, y_lengths)
    return _best(ROWS["fsd"], args, boundary, bandwidth)


@explained(features=LCS_FEATURES.replace("lcs_score", "lcs_path"))
@torch.no_grad()
def lcs_path(
    similarity: Tensor,
    *,
    threshold: float,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Path:
    """The best path of B pairs under LCS: its match moves are the longest common subsequence itself.

    Shapes: similarity (B, N, M); lengths (B,); returns steps (B, N + M - 1, 3) and lengths (B,).

    The similarities of the match moves add up to lcs_score with gamma = 0. The path is computed on the
    similarity's device; the call does not wait for it. A tie of insert and delete is an insert. The first
    cell of a path is the first one that it enters; row and column 0 of the table are not listed.

    Args:
        similarity, threshold, bandwidth, x_lengths, y_lengths: as in :func:`softdp.lcs_score`.

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
    args = _checks.lcs_arguments(similarity, threshold, 0.0, x_lengths, y_lengths)
    scores = _checks.FsdArguments(args.similarity, args.similarity, None, *args[1:])
    return _best(ROWS["lcs"], scores, "free", bandwidth, threshold)


@explained(features=SOFT_DTW_FEATURES.replace("soft_dtw(", "soft_dtw_path("))
@torch.no_grad()
def soft_dtw_path(
    cost: Tensor,
    *,
    boundary: str = "anchored",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Path:
    """The path of B pairs whose costs add up to DTW, that is to soft_dtw with gamma = 0.

    Shapes: cost (B, N, M); lengths (B,); returns steps (B, N + M - 1, 3) and lengths (B,).

    The path is computed on the cost's device; the call does not wait for it. Ties are taken in the order
    match, insert, delete: (i-1,j-1), (i-1,j), (i,j-1).

    Args:
        cost, boundary, bandwidth, x_lengths, y_lengths: as in :func:`softdp.soft_dtw`.

    Returns:
        A :class:`softdp.Path`.

    Raises:
        ValueError, TypeError: as :func:`softdp.soft_dtw`.

    Example:
        >>> import torch, softdp
        >>> query, recording = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 1.0, 1.0, 3.0])
        >>> cost = (query[:, None] - recording).square()[None]
        >>> softdp.soft_dtw_path(cost, boundary="subsequence").tolist()
        [[(0, 2, 'match'), (1, 3, 'match')]]

    Source: Sakoe and Chiba, IEEE Transactions on Acoustics, Speech, and Signal Processing, 1978.
    """
    args = _checks.cost_arguments(cost, 0.0, boundary, x_lengths, y_lengths)
    return _best(ROWS["fsd"], args, boundary, bandwidth, costs=True)


@explained()
@torch.no_grad()
def needleman_wunsch_path(
    match: Tensor,
    gap: Tensor | float,
    *,
    gap_open: Tensor | float | None = None,
    boundary: str = "global",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Path:
    """The best alignment of B pairs under Needleman-Wunsch.

    Shapes: match (B, N, M); gap and gap_open a number, (B,), or broadcastable to match; lengths (B,);
    returns steps (B, N + M, 3), or (B, N + M - 1, 3) unless the boundary is "global", and lengths (B,).

    Its match and gap scores add up to needleman_wunsch with gamma = 0. A match at (i, j) pairs step i of x
    with step j of y. An insert at (i, j) leaves step i of x alone, after step j of y; before the first step
    of y, j is -1. A delete at (i, j) leaves step j of y alone, likewise. Gaps at the ends that cost nothing
    are not listed. Ties are taken in the order match, insert, delete. The path is computed on the scores'
    device; the call does not wait for it.

    Args:
        match, gap, gap_open, boundary, bandwidth, x_lengths, y_lengths: as in
            :func:`softdp.needleman_wunsch`.

    Returns:
        A :class:`softdp.Path`.

    Raises:
        ValueError, TypeError: as :func:`softdp.needleman_wunsch`.

    Example:
        >>> import torch, softdp
        >>> match = torch.tensor([[[-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]]])
        >>> softdp.needleman_wunsch_path(match, -1.0).tolist()
        [[(-1, 0, 'delete'), (0, 1, 'match'), (1, 2, 'match')]]

    Source: Needleman and Wunsch, Journal of Molecular Biology, 1970.
    """
    args = _checks.needleman_wunsch_arguments(match, gap, gap_open, 0.0, boundary, x_lengths, y_lengths)
    return _best_alignment(args, boundary, bandwidth)


@explained()
@torch.no_grad()
def smith_waterman_path(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gap_open: Tensor | float | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Path:
    """The best local alignment of B pairs under Smith-Waterman.

    Shapes: match (B, N, M); insert, delete, gap_open a number, (B,), or broadcastable to match;
    lengths (B,); returns steps (B, N + M - 1, 3) and lengths (B,).

    Its match and gap scores add up to smith_waterman with gamma = 0. Its first step is a match. A match at
    (i, j) pairs step i of x with step j of y. An insert at (i, j) leaves step i of x alone, after step j of
    y. A delete at (i, j) leaves step j of y alone, likewise. Ties are taken in the order match, insert,
    delete, start. Of equally good ends the first one counts, row by row. The path is computed on match's
    device; the call does not wait for it.

    Args:
        match, insert, delete, gap_open, x_lengths, y_lengths: as in :func:`softdp.smith_waterman`.

    Returns:
        A :class:`softdp.Path`.

    Raises:
        ValueError, TypeError: as :func:`softdp.smith_waterman`.

    Example:
        >>> import torch, softdp
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("TTGACAT", "CCGACGG"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> softdp.smith_waterman_path(match, -1.0).tolist()
        [[(2, 2, 'match'), (3, 3, 'match'), (4, 4, 'match')]]

    Source: Smith and Waterman, Journal of Molecular Biology, 1981.
    """
    args = _checks.smith_waterman_arguments(match, insert, delete, gap_open, 0.0, x_lengths, y_lengths)
    return _best_alignment(args, "local", None)


def _best_alignment(args: _checks.AlignmentArguments, boundary: str, bandwidth: int | None) -> Path:
    row = ROWS["needleman_wunsch" if args.open is None else "affine"]
    match, insert, delete, opened, *lengths = args
    linear = _checks.FsdArguments(match, insert, delete, *lengths)
    return _best(row, linear, boundary, bandwidth, gap_open=opened)


def _best(
    row: Recurrence,
    args: _checks.FsdArguments,
    boundary: str,
    bandwidth: int | None,
    threshold: float = 0.0,
    *,
    costs: bool = False,
    gap_open: Tensor | None = None,
) -> Path:
    """The best path of checked scores. Devices without a kernel leave it to the CPU."""
    args, width = args.computed(), _values.bandwidth_number(bandwidth, boundary)
    device = args.match.device
    which = RECURRENCES.index(row), BOUNDARIES.index(boundary)
    if not _devices.has_kernel(device):
        others = (None if t is None else t.cpu() for t in args[2:])
        args = _checks.FsdArguments(args.match.cpu(), args.insert.cpu(), *others)
    match, insert, delete, *lengths = _devices.taken(args)
    delete = insert if delete is None else delete
    opened = None if gap_open is None else computed(gap_open).to(match.device)
    if _devices.on_gpu(match.device):
        named = {"gamma": 0.0, "threshold": float(threshold), "boundary": which[1]}
        named.update(bandwidth=width, costs=costs)
        scores = (match, insert, delete, opened)[: len(row.scores)]
        score, saved = OPERATORS[row.name].forward(
            *scores, *lengths, *(named[name] for name in row.options), True
        )
        steps, counts = _trace(saved, score, *lengths, *match.shape[1:], *which, width)
    else:
        options = which[0], float(threshold), which[1], width, costs
        steps, counts = _search(match, insert, delete, opened, *lengths, *options)
    return Path(steps.to(device), counts.to(device))


# ---- shapes, vmap --------------------------------------------------------------------------------


def _new_path(beside: Tensor, pairs: int, rows: int, columns: int, boundary: int) -> tuple[Tensor, Tensor]:
    extra = 0 if BOUNDARIES[boundary] == "global" else 1
    most = torch.sym_max(rows + columns - extra, 0)
    shape = pairs, most, 3
    return beside.new_empty(shape, dtype=torch.int64), beside.new_empty((pairs,), dtype=torch.int64)


def _shapes_of_search(
    match: Tensor,
    insert: Tensor,
    delete: Tensor,
    gap_open: Tensor | None,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    recurrence: int,
    threshold: float,
    boundary: int,
    bandwidth: int,
    costs: bool,
) -> tuple[Tensor, Tensor]:
    B, N, M = match.shape
    return _new_path(match, B, N, M, boundary)


def _shapes_of_trace(
    saved: Tensor,
    score: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    rows: int,
    columns: int,
    recurrence: int,
    boundary: int,
    bandwidth: int,
) -> tuple[Tensor, Tensor]:
    return _new_path(score, score.shape[0], rows, columns, boundary)


def _all_present(*_: object) -> tuple[bool, bool]:
    return True, True


_search = torch.ops.softdp.best_path.default
_trace = torch.ops.softdp.trace_path.default
torch.library.register_fake("softdp::best_path", _shapes_of_search)
torch.library.register_fake("softdp::trace_path", _shapes_of_trace)
torch.library.register_vmap("softdp::best_path", _vmap.joins_batch(6, 0, _all_present)(_search))
torch.library.register_vmap("softdp::trace_path", _vmap.joins_batch(4, 1, _all_present)(_trace))
