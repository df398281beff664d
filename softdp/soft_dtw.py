"""Soft-DTW: of costs, as a loss of features, and as a divergence."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from . import _checks, _cosines, _distances, _features, _fused, _kinds, _values
from ._signatures import SOFT_DTW_FEATURES, WORDS, explained
from .functional import checked_soft_dtw
from .losses import _of_bandwidth, _reduction

Cost = Callable[[Tensor, Tensor], Tensor]
COSTS = WORDS["cost"]


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
    """Soft-DTW of B pairs: the smoothed smallest cost of an alignment from (1,1) to (n,m).

    Shapes: cost (B, N, M); lengths (B,); returns (B,).

        R(i,j) = cost(i,j) + smooth_min(R(i-1,j-1), R(i-1,j), R(i,j-1)),   soft_dtw = R(n,m)

    with smooth_min(a) = -gamma * logsumexp(-a / gamma), R(0,0) = 0 and infinity on the rest of the boundary.

    The value can be negative, and it is not smallest where the sequences are equal;
    :func:`softdp.soft_dtw_divergence` corrects that. The gradient is the expected alignment: the probability
    that a path takes each cell. soft_dtw is -fsd_score(-cost, 0.0, gamma=gamma, boundary="anchored").

    Args:
        cost: cost of x's step i beside y's step j, such as :func:`softdp.squared_euclidean`. +inf forbids the
            cell.
        gamma: smoothing, >= 0, by default 1. 0 is DTW; ties are taken in the order (i-1,j-1), (i-1,j),
            (i,j-1).
        boundary: where a path may start and end.
            "anchored", the default: from (1,1) to (n,m).
            "subsequence": all of x within any part of y. R(0,j) = 0 for all j, and the value is the smooth
            minimum of R(n,j) over j. A path enters row 1 from (0,j-1) or from (0,j) and counts once for each,
            so that the value is gamma * log(2) below the smooth minimum over the paths.
        bandwidth: w >= 0: only cells within w steps of the line from (1,1) to (n,m) count, in steps of the
            longer sequence. Others are not read and get the gradient 0. None, the default: all cells count.
            docs/semantics.md says which cells those are where n and m differ.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or cost's device; None means N and M.
            Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The values, (B,), float64 for float64 inputs and float32 for all others. A pair without a path has the
        value +inf and the gradient 0. A pair that holds a NaN or -inf has the value NaN and the gradient NaN.
        A pair whose value receives the gradient 0 gets the gradient 0, also if it holds a NaN or -inf. A pair
        of two empty sequences has the value 0. A pair with one empty sequence has the value +inf, or 0 if x
        is empty and the boundary is "subsequence".

    Raises:
        ValueError: shapes, devices, lengths, gamma, boundary or bandwidth that do not fit.
        TypeError: costs that are not floating point, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], requires_grad=True)
        >>> value = softdp.soft_dtw(cost, gamma=0.5)
        >>> value
        tensor([-0.1198], grad_fn=<...>)
        >>> value.sum().backward()
        >>> cost.grad
        tensor([[[1.0000, 0.1065],
                 [0.1065, 1.0000]]])

    Source: Cuturi and Blondel, Soft-DTW: a Differentiable Loss Function for Time-Series, ICML 2017.
    """
    _checks.cost_arguments(cost, gamma, boundary, x_lengths, y_lengths)
    width = _values.bandwidth_number(bandwidth)
    return checked_soft_dtw(cost, gamma, boundary, x_lengths, y_lengths, width)


@explained()
def soft_dtw_loss(
    x: Tensor,
    y: Tensor,
    *,
    gamma: float = 1.0,
    cost: str | Cost = "squared_euclidean",
    normalize: bool = False,
    boundary: str = "anchored",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Soft-DTW of features as a loss.

    Shapes: x (B, N, D), y (B, M, D); lengths (B,); returns () or (B,).

    No matrix of costs is kept: the value and the gradients of the features are made piece by piece, in the
    memory of the features and, on a GPU, a sixteenth of its own. With a bandwidth only costs within it are
    made, and a GPU holds at least those of one pair. A function as cost, second derivatives and forward mode
    need the matrix.

    Args:
        x, y: features of the two sequences.
        gamma: smoothing of :func:`softdp.soft_dtw`, by default 1, in the unit of the cost.
        cost: of a step of x beside a step of y. "squared_euclidean", the default: |x - y|^2. "euclidean":
            |x - y|, with the gradient 0 where it is 0. "manhattan": the sum of the absolute differences.
            "cosine": 1 - the cosine, from 0 to 2, for a gamma of 0.1 or less; a zero vector has the cost 1.
            Or a function of all steps, x (B, N, D) and y (B, M, D), that returns the costs (B, N, M), such as
            torch.cdist; the dtype of the loss is then that of the costs.
        normalize: True gives the soft-DTW divergence, D(x,y) - (D(x,x) + D(y,y)) / 2, which is 0 where x
            and y are equal; see :func:`softdp.soft_dtw_divergence`.
        boundary: "anchored", the default, or "subsequence": all of x within any part of y, as in
            :func:`softdp.soft_dtw`, which has no divergence.
        bandwidth: w >= 0: only steps within w steps of each other are compared, as in
            :func:`softdp.soft_dtw`; None, the default: all of them. Costs outside are not made on a CPU.
        x_lengths, y_lengths: steps per pair; None means N and M. The padding may hold anything.
        reduction: "mean", the default, or "sum" over the pairs, or "none".

    Returns:
        The loss, a scalar, or (B,) with reduction "none"; float64 for float64 features, else float32.

    Raises:
        ValueError: shapes, devices, lengths, gamma, cost, boundary, bandwidth or reduction that do not fit.
        TypeError: features that are not floating point, mixed dtypes.

    Example:
        >>> import torch, softdp
        >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
        >>> softdp.soft_dtw_loss(x, x + 1, gamma=0.0)
        tensor(2.)
        >>> softdp.soft_dtw_loss(x, x + 1, gamma=0.0, cost="euclidean")
        tensor(2.)

    Source: Cuturi and Blondel, Soft-DTW: a Differentiable Loss Function for Time-Series, ICML 2017.
    """
    _values.gamma_number(gamma, trained(cost, normalize))
    checked_cost(cost)
    checked_boundary(boundary, normalize)
    width = _values.bandwidth_number(bandwidth)
    _reduction(reduction)
    _checks.feature_arguments(x, y, x_lengths, y_lengths)
    x, y = _features.valid(x, x_lengths), _features.valid(y, y_lengths)
    options = cost, gamma, boundary, width
    value = between(x, y, *options, x_lengths, y_lengths)
    if normalize:
        of_x = between(x, x, *options, x_lengths, x_lengths)
        value = value - (of_x + between(y, y, *options, y_lengths, y_lengths)) / 2
    return value if reduction == "none" else value.sum() if reduction == "sum" else value.mean()


class SoftDTWLoss(nn.Module):
    """:func:`softdp.soft_dtw_loss` as a module.

    Shapes: x (B, N, D), y (B, M, D), lengths (B,); returns () or (B,).

    Args:
        gamma, cost, normalize, reduction, boundary, bandwidth: as in :func:`softdp.soft_dtw_loss`, by default
            1, "squared_euclidean", False, "mean", "anchored" and None.

    Raises:
        ValueError, TypeError: a gamma, cost, reduction, boundary or bandwidth that does not fit.

    Example:
        >>> import torch, softdp
        >>> loss = softdp.SoftDTWLoss(gamma=0.0)
        >>> loss
        SoftDTWLoss(gamma=0.0, cost='squared_euclidean', normalize=False, reduction='mean')
        >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
        >>> loss(x, x + 1)
        tensor(2.)

    Source: Cuturi and Blondel, ICML 2017.
    """

    boundary: str = "anchored"  # of modules that were pickled without them
    bandwidth: int | None = None

    def __init__(
        self,
        gamma: float = 1.0,
        cost: str | Cost = "squared_euclidean",
        normalize: bool = False,
        reduction: str = "mean",
        boundary: str = "anchored",
        bandwidth: int | None = None,
    ) -> None:
        super().__init__()
        _values.gamma_number(gamma, trained(cost, normalize))
        checked_cost(cost)
        checked_boundary(boundary, normalize)
        _values.bandwidth_number(bandwidth)
        _reduction(reduction)
        self.gamma = gamma
        self.cost = cost
        self.normalize = normalize
        self.reduction = reduction
        self.boundary = boundary
        self.bandwidth = bandwidth

    def forward(
        self, x: Tensor, y: Tensor, x_lengths: Tensor | None = None, y_lengths: Tensor | None = None
    ) -> Tensor:
        """The loss of x (B, N, D) and y (B, M, D); see :func:`softdp.soft_dtw_loss`."""
        return soft_dtw_loss(
            x,
            y,
            gamma=self.gamma,
            cost=self.cost,
            normalize=self.normalize,
            boundary=self.boundary,
            bandwidth=self.bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        cost = self.cost if isinstance(self.cost, str) else getattr(self.cost, "__name__", self.cost)
        return (
            f"gamma={self.gamma}, cost={cost!r}, normalize={self.normalize}, reduction={self.reduction!r}"
            + f", boundary={self.boundary!r}" * (self.boundary != "anchored")
            + _of_bandwidth(self.bandwidth)
        )


def trained(cost: object, normalize: bool) -> str:
    """What to write for a gamma that is to be trained."""
    if not isinstance(cost, str) or cost != "squared_euclidean":
        return ""
    return _checks.TRAINED_DIVERGENCE if normalize else _checks.TRAINED_LOSS


def checked_cost(cost: object) -> None:
    if not callable(cost) and not (isinstance(cost, str) and cost in COSTS):
        known = ", ".join(f'"{name}"' for name in COSTS)
        raise ValueError(f"cost must be one of {known}, or a function of x and y, got {cost!r}")


def checked_boundary(boundary: str, normalize: bool) -> None:
    """A boundary of soft-DTW. Only the anchored one has a divergence, which normalize asks for."""
    _checks.boundary_word(boundary, _checks.SOFT_DTW_BOUNDARIES)
    if normalize and boundary != "anchored":
        raise ValueError(
            f'boundary must be "anchored" with normalize=True, got {boundary!r}: the divergence compares '
            "whole sequences"
        )


def between(
    x: Tensor,
    y: Tensor,
    cost: str | Cost,
    gamma: float,
    boundary: str,
    bandwidth: int,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
) -> Tensor:
    """Soft-DTW of checked features, (B,)."""
    if isinstance(cost, str) and cost in COSTS:
        options = _kinds.of_soft_dtw(cost, gamma, boundary, bandwidth)
        if _fused.goes_by_operator(x, y, options):
            return _fused.soft_dtw(x, y, x_lengths, y_lengths, options)
    return soft_dtw(
        _costs(x, y, cost),
        gamma=gamma,
        boundary=boundary,
        bandwidth=None if bandwidth < 0 else bandwidth,
        x_lengths=x_lengths,
        y_lengths=y_lengths,
    )


def _costs(x: Tensor, y: Tensor, cost: str | Cost) -> Tensor:
    if callable(cost):
        found, wanted = cost(x, y), (x.shape[0], x.shape[1], y.shape[1])
        if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"cost must return the costs (B, N, M) = {wanted}, got {got}")
        return found
    if cost == "cosine":
        return 1 - _cosines.cosines(x, y, heads=1)[0]
    of_differences = {"euclidean": _distances.euclidean, "manhattan": _distances.manhattan}
    return of_differences.get(cost, _distances.squared)(x, y)


@explained()
def soft_dtw_divergence(
    x: Tensor,
    y: Tensor,
    *,
    gamma: float = 1.0,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Soft-DTW divergence of B pairs of sequences. It is 0 where they are equal.

    Shapes: x (B, N, D), y (B, M, D); lengths (B,); returns (B,).

        D(x,y) - (D(x,x) + D(y,y)) / 2,   D(a,b) = soft_dtw(squared_euclidean(a, b))

    Where x = y the gradient is 0 too. The divergence is not negative if gamma is 0 or one sequence has a
    single step. It can be below 0 otherwise: a search found -0.0024 with 6 steps and -0.15 with 16 steps, at
    gamma 1. Random sequences were never below 0. tests/test_soft_dtw.py has both.

    Args:
        x, y: features of the two sequences.
        gamma: smoothing, >= 0, by default 1. With 0 it is DTW, from which nothing is subtracted.
        bandwidth: as in :func:`softdp.soft_dtw`, of all three terms; None, the default: no bandwidth.
        x_lengths, y_lengths: steps per pair, as in :func:`softdp.soft_dtw`; None means N and M. The padding
            may hold anything.

    Returns:
        The divergences, (B,), float64 for float64 features and float32 for all others. It is +inf where only
        one of the sequences is empty. In float32 the value of nearly equal sequences is off by about 1e-7 of
        gamma * (N + M) (`python benchmarks/cpu/limits.py`), and can be below 0 by as much.

    Raises:
        ValueError, TypeError: as :func:`softdp.squared_euclidean` and :func:`softdp.soft_dtw`.

    Example:
        >>> import torch, softdp
        >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
        >>> softdp.soft_dtw_divergence(x, x + 1)
        tensor([2.1372])
        >>> softdp.soft_dtw_divergence(x, x)
        tensor([0.])

    Source: Blondel, Mensch and Vert, Differentiable divergences between time series, AISTATS 2021. With the
    costs c + gamma * log(2 - exp(-c / gamma)) instead of c the divergence would never be negative, as
    exp(-D / gamma) is a positive definite kernel then: Cuturi, Fast global alignment kernels, ICML 2011.
    """
    _values.gamma_number(gamma, _checks.TRAINED_DIVERGENCE)
    return soft_dtw_loss(
        x,
        y,
        gamma=gamma,
        normalize=True,
        bandwidth=bandwidth,
        x_lengths=x_lengths,
        y_lengths=y_lengths,
        reduction="none",
    )
