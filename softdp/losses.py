"""The losses: features and targets in, one number out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import _checks, _features, _fused, _kinds, _torch, _values
from ._signatures import explained

REDUCTIONS = ("mean", "sum", "none")


@explained()
def fsd_loss(
    x: Tensor,
    y: Tensor,
    target: Tensor,
    *,
    gamma: float = 0.1,
    boundary: str = "free",
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """FTCL's contrastive loss with FSD.

    Shapes: x (B, N, D), y (B, M, D), D even; target (B,); lengths (B,); returns () or (B,).

    The loss is low if pairs that share an action have high scores and the other pairs low ones.
    match is the cosine of the first half of the features. The gap (insert = delete) is the cosine of the
    second half. These are FTCL's two heads. Take at least 4 features: the cosine of a single one is 1 or -1,
    with the gradient 0. A zero vector has similarity 0. The score grows with the number of steps. If lengths
    differ much, use reduction="none" and divide each value by its lengths.

    Args:
        x, y: features of the two sequences.
        target: bool or 0/1; 1 = the two sequences share an action.
        gamma, boundary, bandwidth: as in :func:`softdp.fsd_score`, by default 0.1, "free" and None.
        x_lengths, y_lengths: steps per pair; None means N and M.
        reduction: "mean", the default: mean score of the pairs with target 0 minus mean score of those with
            target 1, where a missing class contributes 0. "sum": the same with sums. "none": each pair's
            (1 - 2 target) * score.

    Returns:
        The loss, a scalar, or (B,) with reduction "none"; float64 for float64 features, else float32.

    Raises:
        ValueError: shapes, devices, lengths, target values, gamma, boundary, bandwidth or reduction that do
            not fit; D odd.
        TypeError: features that are not floating point, mixed dtypes.

    Example:
        >>> import torch, softdp
        >>> x = torch.eye(4)[None, :2].repeat(2, 1, 1)
        >>> y = torch.stack([x[0], -x[0]])
        >>> softdp.fsd_loss(x, y, torch.tensor([1, 0]), gamma=0.0)
        tensor(-3.)

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    _values.gamma_number(gamma, _checks.TRAINED_FSD)
    _checks.boundary_word(boundary, _checks.FSD_BOUNDARIES)
    width = _values.bandwidth_number(bandwidth, boundary)
    positive = _arguments(x, y, target, x_lengths, y_lengths, reduction)
    _checks.two_heads(x)
    x, y = _features.valid(x, x_lengths), _features.valid(y, y_lengths)
    score = _fused.score_or_tables(x, y, x_lengths, y_lengths, _kinds.of_fsd(gamma, boundary, width))
    return _contrast(score, positive, reduction)


@explained()
def lcs_loss(
    x: Tensor,
    y: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.92,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """FTCL's contrastive loss with LCS.

    Shapes: x (B, N, D), y (B, M, D); target (B,); lengths (B,); returns () or (B,).

    The loss is low if pairs that share an action have long common subsequences and the others short ones.
    The similarity is the cosine of all D features. A zero vector has similarity 0.

    Args:
        x, y: features of the two sequences.
        target: bool or 0/1; 1 = the two sequences share an action.
        threshold, gamma, bandwidth: as in :func:`softdp.lcs_score`, by default 0.92, 0.1 and None.
        x_lengths, y_lengths: steps per pair; None means N and M.
        reduction: as in :func:`softdp.fsd_loss`.

    Returns:
        The loss, a scalar, or (B,) with reduction "none"; float64 for float64 features, else float32.

    Raises:
        ValueError: shapes, devices, lengths, target values, gamma, threshold, bandwidth or reduction that do
            not fit.
        TypeError: features that are not floating point, mixed dtypes.

    Example:
        >>> import torch, softdp
        >>> x = torch.eye(3)[None].repeat(2, 1, 1)
        >>> softdp.lcs_loss(x, torch.stack([x[0], -x[0]]), torch.tensor([1, 0]), gamma=0.0)
        tensor(-3.)

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """
    _values.gamma_number(gamma, _checks.TRAINED_LCS)
    _values.threshold_number(threshold)
    width = _values.bandwidth_number(bandwidth)
    positive = _arguments(x, y, target, x_lengths, y_lengths, reduction)
    x, y = _features.valid(x, x_lengths), _features.valid(y, y_lengths)
    score = _fused.score_or_tables(x, y, x_lengths, y_lengths, _kinds.of_lcs(gamma, threshold, width))
    return _contrast(score, positive, reduction)


class FSDLoss(nn.Module):
    """:func:`softdp.fsd_loss` as a module.

    Shapes: x (B, N, D), y (B, M, D), target (B,), lengths (B,); returns () or (B,).

    Args:
        gamma, reduction, boundary, bandwidth: as in :func:`softdp.fsd_loss`, by default 0.1, "mean", "free"
            and None.

    Raises:
        ValueError, TypeError: a gamma, reduction, boundary or bandwidth that does not fit.

    Example:
        >>> import torch, softdp
        >>> loss = softdp.FSDLoss(gamma=0.0)
        >>> loss
        FSDLoss(gamma=0.0, reduction='mean')
        >>> x = torch.eye(4)[None, :2]
        >>> loss(x, x, torch.tensor([True]))
        tensor(-2.)

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """

    boundary: str = "free"  # of modules that were pickled without them
    bandwidth: int | None = None

    def __init__(
        self,
        gamma: float = 0.1,
        reduction: str = "mean",
        boundary: str = "free",
        bandwidth: int | None = None,
    ) -> None:
        super().__init__()
        _values.gamma_number(gamma, _checks.TRAINED_FSD)
        _reduction(reduction)
        _checks.boundary_word(boundary, _checks.FSD_BOUNDARIES)
        _values.bandwidth_number(bandwidth, boundary)
        self.gamma = gamma
        self.reduction = reduction
        self.boundary = boundary
        self.bandwidth = bandwidth

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        x_lengths: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """The loss of x (B, N, D), y (B, M, D) and target (B,); see :func:`softdp.fsd_loss`."""
        return fsd_loss(
            x,
            y,
            target,
            gamma=self.gamma,
            boundary=self.boundary,
            bandwidth=self.bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        boundary = f", boundary={self.boundary!r}" * (self.boundary != "free")
        return f"gamma={self.gamma}, reduction={self.reduction!r}{boundary}{_of_bandwidth(self.bandwidth)}"


class LCSLoss(nn.Module):
    """:func:`softdp.lcs_loss` as a module.

    Shapes: x (B, N, D), y (B, M, D), target (B,), lengths (B,); returns () or (B,).

    Args:
        threshold, gamma, reduction, bandwidth: as in :func:`softdp.lcs_loss`, by default 0.92, 0.1, "mean"
            and None.

    Raises:
        ValueError, TypeError: a threshold, gamma, reduction or bandwidth that does not fit.

    Example:
        >>> import torch, softdp
        >>> loss = softdp.LCSLoss(threshold=0.9, gamma=0.0)
        >>> loss
        LCSLoss(threshold=0.9, gamma=0.0, reduction='mean')
        >>> loss(torch.ones(1, 2, 4), torch.ones(1, 3, 4), torch.tensor([True]))
        tensor(-2.)

    Source: Gao, Chen, Xu, FTCL, CVPR 2022.
    """

    bandwidth: int | None = None  # of modules that were pickled without it

    def __init__(
        self,
        threshold: float = 0.92,
        gamma: float = 0.1,
        reduction: str = "mean",
        bandwidth: int | None = None,
    ) -> None:
        super().__init__()
        _values.threshold_number(threshold)
        _values.gamma_number(gamma, _checks.TRAINED_LCS)
        _reduction(reduction)
        _values.bandwidth_number(bandwidth)
        self.threshold = threshold
        self.gamma = gamma
        self.reduction = reduction
        self.bandwidth = bandwidth

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        x_lengths: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """The loss of x (B, N, D), y (B, M, D) and target (B,); see :func:`softdp.lcs_loss`."""
        return lcs_loss(
            x,
            y,
            target,
            threshold=self.threshold,
            gamma=self.gamma,
            bandwidth=self.bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        numbers = f"threshold={self.threshold}, gamma={self.gamma}"
        return f"{numbers}, reduction={self.reduction!r}{_of_bandwidth(self.bandwidth)}"


def _of_bandwidth(bandwidth: int | None) -> str:
    """Of a module's description."""
    return "" if bandwidth is None else f", bandwidth={bandwidth}"


def _arguments(
    x: Tensor,
    y: Tensor,
    target: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    reduction: str,
) -> Tensor:
    """Checked; the target as bool."""
    _reduction(reduction)
    _checks.feature_arguments(x, y, None, None)
    B = x.shape[0]
    if not isinstance(target, Tensor):
        instead = _values.as_tensor(target, "target")
        raise TypeError(f"target must be a tensor of shape ({B},), got {type(target).__name__}{instead}")
    if target.dim() != 1 or target.shape[0] != B:
        instead = ": write target.squeeze(1)" * (tuple(target.shape) == (B, 1))
        raise ValueError(f"target must have shape ({B},), got {tuple(target.shape)}{instead}")
    if target.device != x.device:
        raise ValueError(f"target must be on x's device {x.device}, got {target.device}")
    positive = target.to(torch.bool)
    if target.dtype != torch.bool and target.is_cpu and not _torch.values_hidden():
        if not torch.equal(positive.to(target.dtype), target):
            wrong = target[(target != 0) & (target != 1)][0].item()
            instead = ": write target > 0" * bool(target.dtype.is_signed and (target.abs() == 1).all())
            if isinstance(wrong, int) and wrong > 1:
                instead = ": if these are lengths, the target was left out, which comes before them"
            raise ValueError(f"target must be bool or hold only 0 and 1, got {wrong}{instead}")
    _checks.feature_lengths(x, y, x_lengths, y_lengths)
    return positive


def _reduction(reduction: str) -> None:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')


def _contrast(score: Tensor, positive: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return torch.where(positive, -score, score)
    if reduction == "sum":
        return torch.where(positive, -score, score).sum()
    high = positive.sum(dtype=score.dtype)
    counts = torch.where(positive, -high, positive.shape[0] - high)  # of a pair's class, with its sign
    return torch.dot(score, counts.reciprocal())
