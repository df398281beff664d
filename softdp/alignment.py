"""Where two sequences align: the expected alignment, which is differentiable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _checks, _devices, _reference_alignments, _values, reference
from ._operators import OPERATORS
from ._recurrences import BOUNDARIES
from ._signatures import LCS_FEATURES, SOFT_DTW_FEATURES, explained


@explained()
def fsd_alignment(
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
    """Expected alignment of B pairs under FSD: the probability that a path takes each cell.

    Shapes: match (B, N, M); insert, delete broadcastable to it; lengths (B,); returns (B, N, M).

        E(i,j) = d score / d match(i,j)

    with the score of :func:`softdp.fsd_score`. You can train on a loss of E: it has derivatives by match,
    insert and delete. Third derivatives of the score raise NotImplementedError.

    Args:
        match, insert, delete, gamma, boundary, bandwidth, x_lengths, y_lengths: as in
            :func:`softdp.fsd_score`.

    Returns:
        E, (B, N, M), in [0, 1], float64 for float64 scores and float32 for all others. It is 1 at (n, m) if
        all paths end there and, anchored, at (1, 1). It is 0 past a pair's lengths and where a pair has no
        path. It is NaN where a pair holds a NaN or +inf. Its derivative is then NaN too, unless E receives
        the gradient 0.

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
    width = _values.bandwidth_number(bandwidth, boundary)
    if not _devices.has_kernel(match.device):
        return _by_reference(
            reference.fsd_score,
            *args[:3],
            gamma=gamma,
            boundary=boundary,
            bandwidth=bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
        )
    return _expected("fsd", args, float(gamma), BOUNDARIES.index(boundary), width, False)


@explained(features=LCS_FEATURES.replace("lcs_score", "lcs_alignment"))
def lcs_alignment(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Expected alignment of B pairs under LCS: the probability that a path takes each common cell.

    Shapes: similarity (B, N, M); lengths (B,); returns (B, N, M).

        E(i,j) = d score / d c(i,j), 0 where c(i,j) < threshold

    with the score of :func:`softdp.lcs_score`. You can train on a loss of E: it has a derivative by the
    similarity. Third derivatives of the score raise NotImplementedError.

    Args:
        similarity, threshold, gamma, bandwidth, x_lengths, y_lengths: as in :func:`softdp.lcs_score`.

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
    width = _values.bandwidth_number(bandwidth)
    if not _devices.has_kernel(similarity.device):
        return _by_reference(
            reference.lcs_score,
            args.similarity,
            threshold=threshold,
            gamma=gamma,
            bandwidth=bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
        )
    return _expected("lcs", args, float(threshold), float(gamma), width)


@explained(features=SOFT_DTW_FEATURES.replace("soft_dtw(", "soft_dtw_alignment("))
def soft_dtw_alignment(
    cost: Tensor,
    *,
    gamma: float = 1.0,
    boundary: str = "anchored",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Expected alignment of B pairs under soft-DTW: the probability that a path takes each cell.

    Shapes: cost (B, N, M); lengths (B,); returns (B, N, M).

        E(i,j) = d value / d cost(i,j)

    with the value of :func:`softdp.soft_dtw`. You can train on a loss of E: it has a derivative by the cost.
    Third derivatives of the value raise NotImplementedError.

    Args:
        cost, gamma, boundary, bandwidth, x_lengths, y_lengths: as in :func:`softdp.soft_dtw`.

    Returns:
        E, (B, N, M), in [0, 1], float64 for float64 costs and float32 for all others. Anchored, it is 1 at
        (1, 1) and (n, m). It is 0 past a pair's lengths and where a pair has no path. It is NaN where a pair
        holds a NaN or -inf. Its derivative is then NaN too, unless E receives the gradient 0.

    Raises:
        ValueError, TypeError: as :func:`softdp.soft_dtw`.

    Example:
        >>> import torch, softdp
        >>> cost = torch.tensor([[[0.0, 1.0, 4.0], [1.0, 0.0, 1.0]]])
        >>> softdp.soft_dtw_alignment(cost).round(decimals=3)
        tensor([[[1.0000, 0.3520, 0.0030],
                 [0.1740, 0.8220, 1.0000]]])

    Source: Cuturi and Blondel, ICML 2017; Mensch and Blondel, ICML 2018.
    """
    trained = _checks.TRAINED_SOFT_DTW_ALIGNMENT
    args = _checks.cost_arguments(cost, gamma, boundary, x_lengths, y_lengths, trained).computed()
    width = _values.bandwidth_number(bandwidth)
    if not _devices.has_kernel(cost.device):
        return _by_reference(
            reference.soft_dtw,
            args.match,
            gamma=gamma,
            boundary=boundary,
            bandwidth=bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
        )
    return _expected("fsd", args, float(gamma), BOUNDARIES.index(boundary), width, True)


@explained()
def needleman_wunsch_alignment(
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
    """Expected alignment of B pairs under Needleman-Wunsch: the probability that two steps are matched.

    Shapes: match (B, N, M); gap and gap_open a number, (B,), or broadcastable to match; lengths (B,);
    returns (B, N, M).

        E(i,j) = d score / d match(i,j)

    with the score of :func:`softdp.needleman_wunsch`. A row sums to the probability that the step of x has a
    partner. You can train on a loss of E: it has derivatives by match and the gaps. Third derivatives of the
    score raise NotImplementedError.

    Args:
        match, gap, gap_open, gamma, boundary, bandwidth, x_lengths, y_lengths: as in
            :func:`softdp.needleman_wunsch`.

    Returns:
        E, (B, N, M), in [0, 1], float64 for float64 scores and float32 for all others. It is 0 past a pair's
        lengths and where a pair has no path. It is NaN where a pair holds a NaN or +inf. Its derivative is
        then NaN too, unless E receives the gradient 0.

    Raises:
        ValueError, TypeError: as :func:`softdp.needleman_wunsch`.

    Example:
        >>> import torch, softdp
        >>> match = torch.tensor([[[2.0, -1.0], [-1.0, 2.0]]])
        >>> softdp.needleman_wunsch_alignment(match, -1.0, gamma=1.0).round(decimals=3)
        tensor([[[0.9620, 0.0010],
                 [0.0010, 0.9620]]])

    Source: Needleman and Wunsch, Journal of Molecular Biology, 1970; smoothed as in Mensch and Blondel, ICML
    2018.
    """
    trained = _checks.TRAINED_NEEDLEMAN_WUNSCH_ALIGNMENT
    args = _checks.needleman_wunsch_arguments(
        match, gap, gap_open, gamma, boundary, x_lengths, y_lengths, trained
    )
    width = _values.bandwidth_number(bandwidth)
    return _expected_alignment(args.computed(), float(gamma), boundary, width)


@explained()
def smith_waterman_alignment(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None = None,
    *,
    gap_open: Tensor | float | None = None,
    gamma: float = 0.1,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Expected alignment of B pairs under Smith-Waterman: the probability that two steps are matched.

    Shapes: match (B, N, M); insert, delete, gap_open a number, (B,), or broadcastable to match;
    lengths (B,); returns (B, N, M).

        E(i,j) = d score / d match(i,j)

    with the score of :func:`softdp.smith_waterman`. A row sums to the probability that the step of x is
    matched. You can train on a loss of E: it has derivatives by match and the gaps. Third derivatives of the
    score raise NotImplementedError.

    Args:
        match, insert, delete, gap_open, gamma, x_lengths, y_lengths: as in :func:`softdp.smith_waterman`.

    Returns:
        E, (B, N, M), in [0, 1], float64 for float64 scores and float32 for all others. It is 0 past a pair's
        lengths and where a pair has no alignment. It is NaN where a pair holds a NaN or +inf. Its derivative
        is then NaN too, unless E receives the gradient 0.

    Raises:
        ValueError, TypeError: as :func:`softdp.smith_waterman`.

    Example:
        >>> import torch, softdp
        >>> match = torch.tensor([[[-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]]])
        >>> softdp.smith_waterman_alignment(match, -1.0, gamma=1.0).round(decimals=3)
        tensor([[[0.0250, 0.8630, 0.0060],
                 [0.0070, 0.0090, 0.7830]]])

    Source: Smith and Waterman, Journal of Molecular Biology, 1981; smoothed as in Mensch and Blondel, ICML
    2018.
    """
    trained = _checks.TRAINED_SMITH_WATERMAN_ALIGNMENT
    args = _checks.smith_waterman_arguments(
        match, insert, delete, gap_open, gamma, x_lengths, y_lengths, trained
    )
    return _expected_alignment(args.computed(), float(gamma), "local")


def _expected_alignment(
    args: _checks.AlignmentArguments, gamma: float, boundary: str, bandwidth: int = -1
) -> Tensor:
    """Of needleman_wunsch with one of its boundaries, or of smith_waterman with "local"."""
    match, insert, delete, opened, x_lengths, y_lengths = args
    if not _devices.has_kernel(match.device):

        def score_of(match: Tensor, *_: Tensor | None) -> Tensor:
            given = args._replace(match=match)
            return _reference_alignments.checked_alignment_score(given, gamma, boundary, bandwidth)

        return _by_reference(score_of, match, insert, delete, opened)
    options = gamma, BOUNDARIES.index(boundary), bandwidth
    if opened is not None:
        return _expected("affine", args, *options)
    linear = _checks.FsdArguments(match, insert, delete, x_lengths, y_lengths)
    return _expected("needleman_wunsch", linear, *options)


def _expected(name: str, args: _devices.Arguments, *options: Any) -> Tensor:
    """The gradient of the scores' sum by the first table, which can be differentiated in turn."""
    operators = OPERATORS[name]
    *scores, x_lengths, y_lengths = _devices.taken(args)
    lengths = x_lengths, y_lengths
    detached = (None if t is None else t.detach() for t in scores)
    score, saved = operators.forward(*detached, *lengths, *options, True)
    needs = (True, *(False for _ in scores[1:]))
    last = (False,) if len(scores) == 1 else needs  # visits, or which gradients are needed
    found = operators.backward(torch.ones_like(score), saved, *scores, *lengths, *options, *last)
    expected: Tensor = found if isinstance(found, Tensor) else found[0]
    return expected


def _by_reference(
    score_of: Callable[..., Tensor], table: Tensor, *gaps: Tensor | None, **options: Any
) -> Tensor:
    """The gradient of the sum of reference scores by the first table, which can be differentiated in turn."""
    leaf = table if table.requires_grad else table.detach().requires_grad_()
    with torch.enable_grad():
        score = score_of(leaf, *gaps, **options)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (table, *gaps))
    (alignment,) = torch.autograd.grad(score.sum(), leaf, create_graph=wanted)
    return alignment
