"""The scores of FSD and LCS: matrices are checked, and each pair gets a differentiable score."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _checks, _devices, _registration, _torch, _values, reference
from ._dtypes import arithmetic
from ._operators import OPERATORS
from ._recurrences import BOUNDARIES
from ._signatures import LCS_FEATURES, explained

FSD, LCS = OPERATORS["fsd"], OPERATORS["lcs"]


@explained()
def fsd_score(
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
    """Fine-grained sequence distance: the smoothed best alignment of B pairs by match, insert and delete.

    Shapes: match (B, N, M); insert, delete broadcastable to it; lengths (B,); returns (B,).

        S(i,j) = match(i,j) + smooth_max(S(i-1,j-1), insert(i,j) + S(i-1,j), delete(i,j) + S(i,j-1))
        score  = S(n,m)

    with smooth_max(a) = gamma * logsumexp(a / gamma). Despite its name it is a similarity: a larger score
    means closer sequences. `insert` consumes a step of x, `delete` a step of y. The match score is added on
    every move.

    Args:
        match: score of x's step i against y's step j. -inf forbids the cell.
        insert: gap score, a number or a tensor that broadcasts to match. A gap that costs is negative.
        delete: likewise; None means delete = insert, as in FTCL. A number must be given by name.
        gamma: smoothing, >= 0, by default 0.1. 0 is the hard maximum; ties are taken in the order match,
            insert, delete.
        boundary: where a path may start and end.
            "free", the default: S(0,j) = S(i,0) = 0, so that leading gaps cost nothing and trailing ones do.
            "anchored": S(0,0) = 0 and -inf on the rest of the boundary, so that every path starts at (1,1).
            "subsequence": all of x within any part of y. S(0,j) = 0, S(i,0) = -inf for i >= 1, and the score
            is the smooth maximum of S(n,j) over j.
            "overlap": gaps at all four ends cost nothing. S(0,j) = S(i,0) = 0, and the score is the smooth
            maximum of S over the last row and the last column.
            "local": the best stretch of both. A path starts and ends in any cell: 0 is one more argument of
            each cell's smooth maximum, S is -inf on the boundary, and the score is the smooth maximum of S
            over all cells.
        bandwidth: w >= 0: only cells within w steps of the line from (1,1) to (n,m) count, in steps of the
            longer sequence. Others are not read and get the gradient 0. None, the default: all cells count.
            docs/semantics.md says which cells those are where n and m differ. "local" has none.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or match's device; None means N
            and M. Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The scores, (B,), float64 for float64 inputs and float32 for all others. A pair without a path has the
        score -inf and the gradient 0. A pair that holds a NaN or +inf has the score NaN and the gradient NaN.
        A pair whose score receives the gradient 0 gets the gradient 0, also if it holds a NaN or +inf. So
        `score[good].sum()` trains on the good pairs. An empty pair scores 0 (anchored: -inf if only one side
        is empty; subsequence: -inf if only y is; local: -inf).

    Raises:
        ValueError: shapes, devices, lengths, gamma, boundary or bandwidth that do not fit.
        TypeError: scores that are not floating point, mixed dtypes, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> match = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
        >>> score = softdp.fsd_score(match, -0.5, gamma=0.5)
        >>> score
        tensor([2.4255], grad_fn=<...>)
        >>> score.sum().backward()
        >>> match.grad
        tensor([[[0.9418, 0.1294],
                 [0.1294, 1.0000]]])

    Source: Gao, Chen, Xu, Fine-grained Temporal Contrastive Learning for Weakly-supervised Temporal
    Action Localization, CVPR 2022; smooth operators after Mensch and Blondel, Differentiable Dynamic
    Programming for Structured Prediction and Attention, ICML 2018.
    """
    args = _checks.fsd_arguments(match, insert, delete, gamma, boundary, x_lengths, y_lengths)
    return checked_fsd_score(args, gamma, boundary, _values.bandwidth_number(bandwidth, boundary))


def checked_fsd_score(
    args: _checks.FsdArguments, gamma: float, boundary: str, bandwidth: int = -1, costs: bool = False
) -> Tensor:
    """fsd_score of checked arguments. costs: these are costs, and the score is their smooth minimum."""
    if not _devices.has_kernel(args.match.device):
        return reference.checked_fsd_score(args, gamma, boundary, bandwidth, costs)
    args = _devices.taken(args)
    save = needs_gradient(args.match, args.insert, args.delete)
    score, _ = FSD.forward(*args, float(gamma), BOUNDARIES.index(boundary), bandwidth, costs, save)
    return score


def checked_soft_dtw(
    cost: Tensor,
    gamma: float,
    boundary: str,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    bandwidth: int = -1,
) -> Tensor:
    """soft_dtw of checked arguments: the smooth minimum over FSD's paths, without gaps."""
    no_gap = torch.zeros((1, 1, 1), dtype=arithmetic(cost.dtype), device=cost.device)
    args = _checks.FsdArguments(cost, no_gap, None, x_lengths, y_lengths)
    return checked_fsd_score(args, gamma, boundary, bandwidth, costs=True)


@explained(features=LCS_FEATURES)
def lcs_score(
    similarity: Tensor,
    *,
    threshold: float,
    gamma: float = 0.1,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Smoothed length of the longest common subsequence of B pairs.

    Shapes: similarity (B, N, M); lengths (B,); returns (B,).

        R(i,j) = R(i-1,j-1) + c(i,j)                  if c(i,j) >= threshold
                 smooth_max(R(i-1,j), R(i,j-1))       otherwise
        R(0,j) = R(i,0) = 0,   score = R(n,m)

    Steps are common if their similarity reaches the threshold. Each common pair of steps on the path adds its
    similarity. A cell at or above the threshold is taken, even where passing it by would score more.
    Smoothing adds up to gamma * log(2) for every cell below the threshold that the path passes. The score of
    two long sequences with nothing in common is therefore not 0. FTCL's release uses gamma = 0 here.

    Args:
        similarity: c, similarity of x's step i and y's step j. A cell that is -inf is never common.
        threshold: the similarity from which on two steps are common. It is rounded to the scores' dtype, to
            float32 for half types.
        gamma: smoothing, >= 0, by default 0.1. 0 is the hard maximum; a tie goes to R(i-1,j).
        bandwidth: w >= 0: only cells within w steps of the line from (1,1) to (n,m) count, in steps of the
            longer sequence. Others are not read and get the gradient 0. None, the default: all cells count.
            docs/semantics.md says which cells those are where n and m differ.
        x_lengths, y_lengths: int32 or int64 steps per pair, on the CPU or similarity's device; None means
            N and M. Cells past a pair's lengths are never read and get gradient 0.

    Returns:
        The scores, (B,), float64 for float64 inputs and float32 for all others. A pair that holds a NaN or
        +inf has the score NaN and the gradient NaN. A pair whose score receives the gradient 0 gets the
        gradient 0, also if it holds a NaN or +inf. An empty pair scores 0. With a bandwidth a pair may have
        no path: it has the score -inf and the gradient 0.

    Raises:
        ValueError: shapes, devices, lengths, gamma, threshold or bandwidth that do not fit.
        TypeError: scores that are not floating point, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> c = torch.tensor([[[0.9, 0.1], [0.2, 0.95]]], requires_grad=True)
        >>> score = softdp.lcs_score(c, threshold=0.8, gamma=0.0)
        >>> score
        tensor([1.8500], grad_fn=<...>)
        >>> score.sum().backward()
        >>> c.grad
        tensor([[[1., 0.],
                 [0., 1.]]])

    Source: Gao, Chen, Xu, FTCL, CVPR 2022; smooth operators after Mensch and Blondel, ICML 2018.
    """
    args = _checks.lcs_arguments(similarity, threshold, gamma, x_lengths, y_lengths)
    width = _values.bandwidth_number(bandwidth)
    if not _devices.has_kernel(similarity.device):
        return reference.lcs_score(
            similarity,
            threshold=threshold,
            gamma=gamma,
            bandwidth=bandwidth,
            x_lengths=x_lengths,
            y_lengths=y_lengths,
        )
    args = _devices.taken(args)
    save = needs_gradient(args.similarity)
    score, _ = LCS.forward(*args, float(threshold), float(gamma), width, save)
    return score


def needs_gradient(*scores: Tensor | None) -> bool:
    """Whether the forward sweep must save anything. In a torch.func transform no tensor tells, so it must."""
    return _torch.transformed() or _registration.wanted(*scores)
