"""Scores of features through tables (B, N, M), and the second derivatives of all scores of features.

Devices without the operator of _fused.py, and features for which tables are faster, come here for the scores.
All devices come here for second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import _cosines, _distances
from ._kinds import ABSOLUTE, COSINES, FSD, ROOTS, SQUARES, Options
from ._operators import OPERATORS
from .functional import checked_soft_dtw, fsd_score, lcs_score

_FSD = OPERATORS["fsd"]
FsdTensors: TypeAlias = tuple[Tensor, Tensor, None, Tensor | None, Tensor | None]


def score(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    """The scores of features (B, N, D) and (B, M, D), (B,)."""
    kind, gamma, threshold, boundary = *options[:3], options.boundary_word
    bandwidth, lengths = options.bandwidth_or_none, {"x_lengths": x_lengths, "y_lengths": y_lengths}
    if kind == FSD:
        match, gap = _cosines.cosines(x, y, heads=2)
        return fsd_score(match, gap, gamma=gamma, boundary=boundary, bandwidth=bandwidth, **lengths)
    if kind in (ROOTS, ABSOLUTE):
        cost = (_distances.euclidean if kind == ROOTS else _distances.manhattan)(x, y)
    else:
        (cosines,) = _cosines.cosines(x, y, heads=1)
        if kind != COSINES:
            return lcs_score(cosines, threshold=threshold, gamma=gamma, bandwidth=bandwidth, **lengths)
        cost = 1 - cosines
    return checked_soft_dtw(cost, gamma, boundary, x_lengths, y_lengths, options.bandwidth)


# ---- second derivatives --------------------------------------------------------------------------


def second(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, ...]:
    """The Hessian of the sum of the scores, by x and y, times (v_x, v_y)."""
    if options.kind == SQUARES:
        return _of_squares(x, y, v_x, v_y, x_lengths, y_lengths, options)
    if options.kind == ABSOLUTE:
        return _of_absolute(x, y, v_x, v_y, x_lengths, y_lengths, options)
    return _of_tables(x, y, v_x, v_y, x_lengths, y_lengths, options)


def _of_squares(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, ...]:
    """Of soft-DTW of squared distances.

    With the gradient g by the costs, the product of v and the gradients by the features is
    sum_ij g(i,j) 2 (x_i - y_j) . (v_x_i - v_y_j). g changes with the costs, and the costs with the features.
    """
    x, y = _distances.infinity_as_nan(x), _distances.infinity_as_nan(y)
    cost = _distances.products(x, y, None, None)
    tensors, sweep = _of_costs(cost, x_lengths, y_lengths), _of_sweep(options)
    _, saved = _FSD.forward(*tensors, *sweep, True)
    g, *_ = _FSD.backward(_ones(cost), saved, *tensors, *sweep, True, False, False)
    by_cost = _changes_of_gradient(2 * _distances.products(x, y, v_x, v_y), tensors, options)
    direct = _distances.sums(g, v_x, v_y, True, True)
    through_g = _distances.sums(by_cost, x, y, True, True)
    return tuple(2 * (a + b) for a, b in zip(direct, through_g, strict=True))


def _of_absolute(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, ...]:
    """Of soft-DTW of absolute differences. Their signs do not change, so that only g does."""
    tensors = _of_costs(_distances.manhattan(x, y), x_lengths, y_lengths)
    by_cost = _changes_of_gradient(_distances.products_of_signs(x, y, v_x, v_y), tensors, options)
    return _distances.sums_of_signs(by_cost, x, y)


def _of_costs(cost: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> FsdTensors:
    """The tensors that FSD's operators take for soft-DTW."""
    return cost, cost.new_zeros((1, 1, 1)), None, x_lengths, y_lengths


def _ones(table: Tensor) -> Tensor:
    """The gradient by the scores whose derivatives are those of the sum."""
    return table.new_ones((table.shape[0],))


def _of_sweep(options: Options) -> tuple[float, int, int, bool]:
    """The options that FSD's operators take for soft-DTW."""
    return options.gamma, options.boundary, options.bandwidth, True


def _changes_of_gradient(direction: Tensor, tensors: FsdTensors, options: Options) -> Tensor:
    """How the gradients by the costs change along a direction of the costs."""
    sweep = *_of_sweep(options), True, False, False
    _, by_cost, *_ = _FSD.double_backward(direction, None, None, _ones(direction), *tensors, *sweep)
    return by_cost


def _of_tables(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, ...]:
    """Of all other kinds, through tables that PyTorch differentiates."""

    def scores(x: Tensor, y: Tensor) -> Tensor:
        return score(x, y, x_lengths, y_lengths, options)

    def gradients(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        value, pull = vjp(scores, x, y)
        return pull(torch.ones_like(value))

    _, pull = vjp(gradients, x, y)
    return pull((v_x, v_y))


def vjp(function: Callable[..., Any], *primals: Tensor) -> tuple[Any, Callable[[Any], tuple[Tensor, ...]]]:
    """torch.func.vjp of a function without auxiliary outputs, with its type."""
    value, pull = torch.func.vjp(function, *primals)[:2]
    return value, pull
