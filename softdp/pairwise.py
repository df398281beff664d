"""Every sequence of x against every sequence of y: scores (K, L), without copies of the features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import _checks, _features, _fused, _fused_pairwise, _kinds, _values
from ._kinds import KIND_OF_COST, Options
from ._signatures import explained
from .soft_dtw import Cost, between, checked_boundary, checked_cost, trained

Scores = Callable[[Tensor, Tensor, "Tensor | None", "Tensor | None"], Tensor]


@explained()
def pairwise_soft_dtw(
    x: Tensor,
    y: Tensor | None = None,
    *,
    gamma: float = 1.0,
    cost: str | Cost = "squared_euclidean",
    normalize: bool = False,
    boundary: str = "anchored",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Soft-DTW of every sequence of x and every sequence of y.

    Shapes: x (K, N, D), y (L, M, D); lengths (K,) and (L,); returns (K, L).

    The features are not copied for each pair. Backward sweeps the pairs a second time. So a call takes the
    memory of the features and of the result and, for the gradients, up to 8 times the smaller side's on a CPU
    or, on a GPU, a sixteenth of its memory. With a bandwidth a GPU takes at least the cells within it of one
    pair. A function as cost takes the memory of its K * L tables. A second derivative copies the features
    for each pair.

    Args:
        x, y: features of the sequences. y=None compares x with itself.
        gamma, cost: as in :func:`softdp.soft_dtw_loss`, by default 1 and "squared_euclidean". A function is
            called with pairs of sequences, (B, N, D) and (B, M, D).
        normalize: True gives the divergences, D(x,y) - (D(x,x) + D(y,y)) / 2; see
            :func:`softdp.soft_dtw_divergence`.
        boundary: "anchored", the default, or "subsequence": all of an x within any part of a y, as in
            :func:`softdp.soft_dtw`, which has no divergence.
        bandwidth: as in :func:`softdp.soft_dtw_loss`, by default None.
        x_lengths, y_lengths: steps per sequence; None means N and M. The padding may hold anything. With
            y=None, y_lengths are x_lengths.

    Returns:
        The values, (K, L), float64 for float64 features and float32 for all others.

    Raises:
        ValueError: shapes, devices, lengths, gamma, cost, boundary or bandwidth that do not fit.
        TypeError: features that are not floating point, mixed dtypes.

    Example:
        >>> import torch, softdp
        >>> x = torch.tensor([[[0.0], [1.0]], [[0.0], [3.0]]])
        >>> softdp.pairwise_soft_dtw(x, gamma=0.0)
        tensor([[0., 4.],
                [4., 0.]])

    Source: Cuturi and Blondel, Soft-DTW: a Differentiable Loss Function for Time-Series, ICML 2017.
    """
    _values.gamma_number(gamma, trained(cost, normalize))
    checked_cost(cost)
    checked_boundary(boundary, normalize)
    width = _values.bandwidth_number(bandwidth)
    x, y, x_lengths, y_lengths = _arguments(x, y, x_lengths, y_lengths)

    def of_pairs(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> Tensor:
        return between(x, y, cost, gamma, boundary, width, x_lengths, y_lengths)

    if isinstance(cost, str) and cost in KIND_OF_COST:
        options = _kinds.of_soft_dtw(cost, gamma, boundary, width)
        value = _pairwise(of_pairs, x, y, x_lengths, y_lengths, options)
    else:
        value = _by_rows(of_pairs, x, y, x_lengths, y_lengths)
    if not normalize:
        return value
    if y is x:
        of_x = of_y = value.diagonal()
    else:
        of_x, of_y = of_pairs(x, x, x_lengths, x_lengths), of_pairs(y, y, y_lengths, y_lengths)
    return value - (of_x[:, None] + of_y) / 2


@explained()
def pairwise_fsd(
    x: Tensor,
    y: Tensor | None = None,
    *,
    gamma: float = 0.1,
    boundary: str = "free",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """FSD of every sequence of x and every sequence of y.

    Shapes: x (K, N, D), y (L, M, D), D even; lengths (K,) and (L,); returns (K, L).

    match is the cosine of the first half of the features and the gap that of the second half, as in
    :func:`softdp.fsd_loss`. Memory is as in :func:`softdp.pairwise_soft_dtw`.

    Args:
        x, y: features of the sequences. y=None compares x with itself.
        gamma, boundary, bandwidth: as in :func:`softdp.fsd_score`, by default 0.1, "free" and None.
        x_lengths, y_lengths: steps per sequence; None means N and M. The padding may hold anything. With
            y=None, y_lengths are x_lengths.

    Returns:
        The scores, (K, L), float64 for float64 features and float32 for all others.

    Raises:
        ValueError: shapes, devices, lengths, gamma, boundary or bandwidth that do not fit; D odd.
        TypeError: features that are not floating point, mixed dtypes.

    Example:
        >>> import torch, softdp
        >>> x = torch.eye(4)[None, :2]
        >>> softdp.pairwise_fsd(torch.cat([x, -x]), gamma=0.0)
        tensor([[ 2., -1.],
                [-1.,  2.]])

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    _values.gamma_number(gamma, _checks.TRAINED_FSD)
    _checks.boundary_word(boundary, _checks.FSD_BOUNDARIES)
    width = _values.bandwidth_number(bandwidth, boundary)
    x, y, x_lengths, y_lengths = _arguments(x, y, x_lengths, y_lengths)
    _checks.two_heads(x)

    return _fsd_or_lcs(x, y, x_lengths, y_lengths, _kinds.of_fsd(gamma, boundary, width))


@explained()
def pairwise_lcs(
    x: Tensor,
    y: Tensor | None = None,
    *,
    threshold: float = 0.92,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """LCS of every sequence of x and every sequence of y.

    Shapes: x (K, N, D), y (L, M, D); lengths (K,) and (L,); returns (K, L).

    The similarity is the cosine of all D features, as in :func:`softdp.lcs_loss`. Memory is as in
    :func:`softdp.pairwise_soft_dtw`.

    Args:
        x, y: features of the sequences. y=None compares x with itself.
        threshold, gamma, bandwidth: as in :func:`softdp.lcs_score`, by default 0.92, 0.1 and None.
        x_lengths, y_lengths: steps per sequence; None means N and M. The padding may hold anything. With
            y=None, y_lengths are x_lengths.

    Returns:
        The scores, (K, L), float64 for float64 features and float32 for all others.

    Raises:
        ValueError: shapes, devices, lengths, gamma, threshold or bandwidth that do not fit.
        TypeError: features that are not floating point, mixed dtypes.

    Example:
        >>> import torch, softdp
        >>> x = torch.eye(3)[None]
        >>> softdp.pairwise_lcs(torch.cat([x, -x]), gamma=0.0)
        tensor([[3., 0.],
                [0., 3.]])

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    _values.gamma_number(gamma, _checks.TRAINED_LCS)
    _values.threshold_number(threshold)
    width = _values.bandwidth_number(bandwidth)
    x, y, x_lengths, y_lengths = _arguments(x, y, x_lengths, y_lengths)
    return _fsd_or_lcs(x, y, x_lengths, y_lengths, _kinds.of_lcs(gamma, threshold, width))


def _arguments(
    x: Tensor, y: Tensor | None, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Checked, in the dtype of the arithmetic, with padding of 0."""
    _checks.pairwise_arguments(x, y, x_lengths, y_lengths)
    x = _features.valid(x, x_lengths)
    if y is None:
        return x, x, x_lengths, x_lengths
    return x, _features.valid(y, y_lengths), x_lengths, y_lengths


def _fsd_or_lcs(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    def of_pairs(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> Tensor:
        return _fused.score_or_tables(x, y, x_lengths, y_lengths, options)

    return _pairwise(of_pairs, x, y, x_lengths, y_lengths, options)


def _pairwise(
    of_pairs: Scores,
    x: Tensor,
    y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> Tensor:
    if not _fused.serves(x, options):
        return _by_rows(of_pairs, x, y, x_lengths, y_lengths)
    if y is x and options.is_symmetric and x.is_cpu and not torch.compiler.is_compiling():
        K, N, _ = x.shape
        if type(K) is int and K > FEWEST_ROWS and K * K * N * N >= LEAST_HALVED:  # symbols stand for any size
            return _by_halves(x, x_lengths, options)
    return _fused_pairwise.scores(x, y, x_lengths, y_lengths, options)


MOST_BLOCKS = 16  # with so many, 17 of 32 pairs are swept
FEWEST_ROWS = 4  # a block has at least so many, whose pairs share the threads
LEAST_HALVED = 1 << 22  # with so many cells, sweeps take longer than 16 calls


def _by_halves(x: Tensor, lengths: Tensor | None, options: Options) -> Tensor:
    """x against itself: each sequence beside those that follow, block by block. The rest is symmetric."""
    K = x.shape[0]
    step = max(FEWEST_ROWS, -(-K // MOST_BLOCKS))
    rows = []
    for k in range(0, K, step):
        own, rest = slice(k, k + step), slice(k, None)
        own_lengths, rest_lengths = (None if lengths is None else lengths[part] for part in (own, rest))
        scores = _fused_pairwise.scores(x[own], x[rest], own_lengths, rest_lengths, options)
        rows.append(nn.functional.pad(scores, (k, 0)))
    table = torch.cat(rows)
    return table.triu() + table.triu(1).mT


def _by_rows(
    of_pairs: Scores, x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> Tensor:
    """Each sequence of x beside all of y, as pairs. A compiled graph is for any K: it takes all at once."""
    K, L = x.shape[0], y.shape[0]
    if torch.compiler.is_compiling():
        return of_pairs(*_fused_pairwise.copied(x, y, x_lengths, y_lengths)).view(K, L)
    rows = [
        of_pairs(x[k].expand(L, -1, -1), y, None if x_lengths is None else x_lengths[k].expand(L), y_lengths)
        for k in range(K)
    ]
    return torch.stack(rows) if rows else x.sum((1, 2))[:, None].expand(0, L)
