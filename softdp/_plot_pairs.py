"""Pictures of one pair of a batch under each score: softdp.plot has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor

from . import _checks, alignment, paths
from ._plot_tables import MASS, Axes, Seconds, band, check_pair, cropped, matrix, new_axes, path, scale
from ._signatures import explained


@explained()
def fsd_pair(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gamma: float = 0.1,
    boundary: str = "free",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    pair: int = 0,
    seconds: Seconds | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """One pair of a batch under FSD: its match scores and its expected alignment, its best path over both.

    Shapes: match (B, N, M); insert, delete broadcastable to it; lengths (B,).

    Computes :func:`softdp.fsd_alignment` and :func:`softdp.fsd_path` of that pair. Where it has no path, or
    holds a NaN or +inf, no line is drawn.

    Args:
        match, insert, delete, gamma, boundary, bandwidth, x_lengths, y_lengths: as in
            :func:`softdp.fsd_score`; tensors may be on any device and require gradients, which are not
            changed. The edges of a bandwidth are drawn.
        pair: which of the B pairs.
        seconds: as in :func:`matrix`.
        axes: two axes to draw into; None opens a pyplot figure, which stays open until it is closed.

    Returns:
        The axes of the scores and of the alignment; the figure is `axes[0].figure`.

    Raises:
        ValueError, TypeError: as :func:`softdp.fsd_score` and :func:`matrix`; a pair that is not there.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> match = torch.nn.functional.normalize(torch.randn(1, 8, 9), dim=2)
        >>> panels = Figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
        >>> scores, mass = softdp.plot.fsd_pair(match, -0.5, boundary="anchored", axes=panels)
        >>> mass.get_title()
        'expected alignment and best path'
    """
    args = _checks.fsd_arguments(match, insert, delete, gamma, boundary, x_lengths, y_lengths, "")
    match, insert, delete, n, m = _one(args, pair)
    options = _options(n, m, bandwidth, boundary=boundary)
    E = alignment.fsd_alignment(match, insert, delete, gamma=gamma, **options)
    best = paths.fsd_path(match, insert, delete, **options)
    return _draw(match, E, best, "match score", (n, m, bandwidth), seconds, axes, {})


@explained()
def lcs_pair(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    pair: int = 0,
    seconds: Seconds | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """One pair of a batch under LCS: its similarities and its expected alignment, its best path over both.

    Shapes: similarity (B, N, M); lengths (B,).

    Computes :func:`softdp.lcs_alignment` and :func:`softdp.lcs_path` of that pair; dots mark the cells that
    are common.

    Args:
        similarity, threshold, gamma, bandwidth, x_lengths, y_lengths: as in :func:`softdp.lcs_score`.
        pair, seconds, axes: as in :func:`fsd_pair`.

    Returns:
        The axes of the similarities and of the alignment; the figure is `axes[0].figure`.

    Raises:
        ValueError, TypeError: as :func:`softdp.lcs_score` and :func:`matrix`; a pair that is not there.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> c = torch.tensor([[[0.9, 0.1, 0.2], [0.2, 0.3, 0.95]]])
        >>> panels = Figure().subplots(1, 2)
        >>> scores, mass = softdp.plot.lcs_pair(c, threshold=0.8, axes=panels)
        >>> scores.lines[0].get_markevery()  # of the path's three cells
        [0, 2]
    """
    args = _checks.lcs_arguments(similarity, threshold, gamma, x_lengths, y_lengths, "")
    check_pair(pair, len(similarity))
    similarity, n, m = _row(args.similarity, pair), _part(args.x_lengths, pair), _part(args.y_lengths, pair)
    options = _options(n, m, bandwidth, threshold=threshold)
    E = alignment.lcs_alignment(similarity, gamma=gamma, **options)
    best = paths.lcs_path(similarity, **options)
    return _draw(similarity, E, best, "similarity", (n, m, bandwidth), seconds, axes, _marks(best))


@explained()
def soft_dtw_pair(
    cost: Tensor,
    *,
    gamma: float = 1.0,
    boundary: str = "anchored",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    pair: int = 0,
    seconds: Seconds | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """One pair of a batch under soft-DTW: its costs and its expected alignment, its best path over both.

    Shapes: cost (B, N, M); lengths (B,).

    Computes :func:`softdp.soft_dtw_alignment` and :func:`softdp.soft_dtw_path` of that pair. With the
    boundary "subsequence" they show where in y all of x lies.

    Args:
        cost, gamma, boundary, bandwidth, x_lengths, y_lengths: as in :func:`softdp.soft_dtw`.
        pair, seconds, axes: as in :func:`fsd_pair`.

    Returns:
        The axes of the costs and of the alignment; the figure is `axes[0].figure`.

    Raises:
        ValueError, TypeError: as :func:`softdp.soft_dtw` and :func:`matrix`; a pair that is not there.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[5.0], [1.0], [2.0], [9.0]]])
        >>> panels = Figure().subplots(1, 2)
        >>> costs, mass = softdp.plot.soft_dtw_pair(
        ...     softdp.squared_euclidean(x, y), gamma=0.1, boundary="subsequence", axes=panels
        ... )
        >>> costs.lines[0].get_xydata().tolist()  # (y, x)
        [[1.0, 0.0], [2.0, 1.0]]
    """
    args = _checks.cost_arguments(cost, gamma, boundary, x_lengths, y_lengths, "")
    cost, _, _, n, m = _one(args, pair)
    options = _options(n, m, bandwidth, boundary=boundary)
    E = alignment.soft_dtw_alignment(cost, gamma=gamma, **options)
    best = paths.soft_dtw_path(cost, **options)
    return _draw(cost, E, best, "cost", (n, m, bandwidth), seconds, axes, {})


@explained()
def needleman_wunsch_pair(
    match: Tensor,
    gap: Tensor | float,
    *,
    gap_open: Tensor | float | None = None,
    gamma: float = 0.1,
    boundary: str = "global",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    pair: int = 0,
    seconds: Seconds | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """One pair of a batch under Needleman-Wunsch: its match scores and the probability of each match.

    Shapes: match (B, N, M); gap a number, (B,), or broadcastable to match; lengths (B,).

    Computes :func:`softdp.needleman_wunsch_alignment` and :func:`softdp.needleman_wunsch_path` of that pair.
    The best alignment is drawn over both, without its gaps before the first step of x or y. Dots mark its
    matches.

    Args:
        match, gap, gap_open, gamma, boundary, bandwidth, x_lengths, y_lengths: as in
            :func:`softdp.needleman_wunsch`.
        pair, seconds, axes: as in :func:`fsd_pair`.

    Returns:
        The axes of the scores and of the alignment; the figure is `axes[0].figure`.

    Raises:
        ValueError, TypeError: as :func:`softdp.needleman_wunsch` and :func:`matrix`; a pair that is not
            there.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("GATC", "GTC"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> panels = Figure().subplots(1, 2)
        >>> scores, mass = softdp.plot.needleman_wunsch_pair(match, -1.0, axes=panels)
        >>> scores.lines[0].get_markevery()  # of the path's four cells
        [0, 2, 3]
    """
    args = _checks.needleman_wunsch_arguments(match, gap, gap_open, gamma, boundary, x_lengths, y_lengths, "")
    match, gap, _, opened, n, m = _one(args, pair)
    options = _options(n, m, bandwidth, boundary=boundary)
    E = alignment.needleman_wunsch_alignment(match, gap, gap_open=opened, gamma=gamma, **options)
    best = paths.needleman_wunsch_path(match, gap, gap_open=opened, **options)
    return _draw(match, E, best, "match score", (n, m, bandwidth), seconds, axes, _marks(best))


@explained()
def smith_waterman_pair(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gap_open: Tensor | float | None = None,
    gamma: float = 0.1,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    pair: int = 0,
    seconds: Seconds | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """One pair of a batch under Smith-Waterman: its match scores and the probability of each match.

    Shapes: match (B, N, M); insert, delete broadcastable to it; gap_open a number, (B,), or broadcastable to
    match; lengths (B,).

    Computes :func:`softdp.smith_waterman_alignment` and :func:`softdp.smith_waterman_path` of that pair. The
    best local alignment is drawn over both; dots mark its matches.

    Args:
        match, insert, delete, gap_open, gamma, x_lengths, y_lengths: as in :func:`softdp.smith_waterman`.
        pair, seconds, axes: as in :func:`fsd_pair`.

    Returns:
        The axes of the scores and of the alignment; the figure is `axes[0].figure`.

    Raises:
        ValueError, TypeError: as :func:`softdp.smith_waterman` and :func:`matrix`; a pair that is not there.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in ("TTGACAT", "CCGACGG"))
        >>> match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
        >>> panels = Figure().subplots(1, 2)
        >>> scores, mass = softdp.plot.smith_waterman_pair(match, -1.0, axes=panels)
        >>> scores.lines[0].get_xydata().tolist()  # (y, x)
        [[2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]
    """
    args = _checks.smith_waterman_arguments(match, insert, delete, gap_open, gamma, x_lengths, y_lengths, "")
    match, insert, delete, opened, n, m = _one(args, pair)
    options: dict[str, Any] = {"gap_open": opened, "x_lengths": n, "y_lengths": m}
    E = alignment.smith_waterman_alignment(match, insert, delete, gamma=gamma, **options)
    best = paths.smith_waterman_path(match, insert, delete, **options)
    return _draw(match, E, best, "match score", (n, m, None), seconds, axes, _marks(best))


def _options(n: Tensor | None, m: Tensor | None, bandwidth: int | None, **others: Any) -> dict[str, Any]:
    return {"x_lengths": n, "y_lengths": m, "bandwidth": bandwidth, **others}


def _marks(best: paths.Path) -> dict[str, Any]:
    """What marks the match moves of a line that is drawn."""
    drawn = [move for i, j, move in best.tolist()[0] if i >= 0 and j >= 0]
    matches = [k for k, move in enumerate(drawn) if move == "match"]
    return {"marker": "o", "markersize": 4, "markevery": matches}


Arguments = TypeVar("Arguments", _checks.FsdArguments, _checks.AlignmentArguments)


def _one(args: Arguments, pair: int) -> Arguments:
    """One pair's arguments. A gap that was a number may have another dtype than match: both are computed."""
    check_pair(pair, len(args.match))
    rows: Any = [_part(t, pair) for t in args]
    return type(args)(*rows).computed()


def _row(table: Tensor, pair: int) -> Tensor:
    """One pair's part of a tensor (1 or B, ...). All pairs share a single row."""
    return table.detach()[pair if len(table) > 1 else 0 :][:1]


def _part(table: Tensor | None, pair: int) -> Tensor | None:
    return None if table is None else _row(table, pair)


def _draw(
    scores: Tensor,
    mass: Tensor,
    best: paths.Path,
    name: str,
    limits: tuple[Tensor | None, Tensor | None, int | None],
    seconds: Seconds | None,
    axes: Sequence[Axes] | None,
    line: dict[str, Any],
) -> tuple[Axes, Axes]:
    x_length, y_length, bandwidth = limits
    cropped(scores[0], x_length, y_length), scale(seconds)  # raise before a figure is opened
    if axes is not None and (not hasattr(axes, "__len__") or len(axes) != 2):
        raise ValueError(f"axes must be two axes or None, got {axes!r}")
    left, right = new_axes(2) if axes is None else axes
    options: dict[str, Any] = {"x_length": x_length, "y_length": y_length, "seconds": seconds}
    matrix(scores[0], left, label=name, **options)
    matrix(mass[0], right, label="expected alignment", cmap=MASS, vmin=0, vmax=1, **options)
    for panel, what in ((left, name), (right, "expected alignment")):
        path(best, panel, seconds=seconds, **line)
        if bandwidth is not None:
            n, m = cropped(scores[0], x_length, y_length).shape
            band(panel, n, m, bandwidth, seconds=seconds)
        panel.set_title(f"{what} and best path")
    return left, right
