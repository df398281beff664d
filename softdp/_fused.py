"""Soft-DTW of features by one operator, which makes the values' gradients with the values.

The gradient of a value only scales its gradients by the features. So nothing of the size of the table of
costs is kept: csrc/cpu/features.h. The operator has a kernel on the CPU alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _checks, _distances, _ops


def serves(x: Tensor) -> bool:
    """Whether features like these go this way; others go through the table of costs."""
    there = x.device.type in ("cpu", "meta") and _ops.has_kernel(x.device)
    return there and not _ops._forward_mode()


def soft_dtw(
    x: Tensor, y: Tensor, gamma: float, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> Tensor:
    """Soft-DTW of squared distances: (B, N, D), (B, M, D), float64 or float32, 0 in the padding -> (B,)."""
    needs = (_ops.transformed() or _ops.wanted(t) for t in (x, y))
    score, _, _ = _soft_dtw(x, y, x_lengths, y_lengths, float(gamma), *needs)
    return score


@torch.library.register_fake("softdp::soft_dtw_of_features")
def _(x, y, x_lengths, y_lengths, gamma, need_x, need_y):
    gradients = (t.new_empty(t.shape if need else (0,)) for t, need in ((x, need_x), (y, need_y)))
    return x.new_empty((x.shape[0],)), *gradients


def _context(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, gamma, need_x, need_y = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)
    ctx.gamma, ctx.made = gamma, (need_x, need_y)


def _gradient(ctx: Any, of_score: Tensor | None, *of_gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    """of_gradients: where the gradients that were made are differentiated in turn."""
    x, y, x_lengths, y_lengths, score, *made = ctx.saved_tensors
    directions = [v if there else None for v, there in zip(of_gradients, ctx.made, strict=True)]
    found = [None, None]
    if any(v is not None for v in directions):
        found = list(_second(x, y, *directions, ctx.gamma, x_lengths, y_lengths))
    for k in range(2):
        if of_score is not None and ctx.made[k] and ctx.needs_input_grad[k]:
            first = _scaled(made[k], of_score, score)
            found[k] = first if found[k] is None else found[k] + first
    return *(t if need else None for t, need in zip(found, ctx.needs_input_grad, strict=False)), *(None,) * 5


def _scaled(gradient: Tensor, of_score: Tensor, score: Tensor) -> Tensor:
    """A spoiled pair, whose gradient was left 0, gets NaN, unless it receives 0."""
    scaled = gradient * of_score[:, None, None]
    spoiled = score.detach().isnan() & (of_score.detach() != 0)
    if not (score.is_meta or _checks.values_hidden() or spoiled.any()):
        return scaled
    return scaled.masked_fill(spoiled[:, None, None], torch.nan)


def _second(
    x: Tensor,
    y: Tensor,
    v_x: Tensor | None,
    v_y: Tensor | None,
    gamma: float,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The Hessian of the values' sum times (v_x, v_y), through the table of costs.

    With the costs' gradient g, the product of v and the gradients by the features is
    sum_ij g(i,j) 2 (x_i - y_j) . (v_x_i - v_y_j); g changes with the costs, and these with the features.
    """
    v_x, v_y = _distances._or_zeros(v_x, x), _distances._or_zeros(v_y, y)
    x, y = _distances.infinity_as_nan(x), _distances.infinity_as_nan(y)
    # A pair without a direction gets 0, whatever it holds.
    nothing = ((v_x == 0).all(2).all(1) & (v_y == 0).all(2).all(1))[:, None, None]
    match = -_distances._products(x, y, None, None)
    none, one = match.new_zeros((1, 1, 1)), match.new_ones((match.shape[0],))
    tensors = match, none, None, x_lengths, y_lengths
    _, saved = _ops.fsd_forward(*tensors, gamma, True, True)
    g, *_ = _ops.fsd_backward(one, saved, *tensors, gamma, True, True, False, False)
    by_g = 2 * _distances._products(x, y, v_x, v_y)
    _, by_match, *_ = _ops.fsd_double_backward(
        by_g, None, None, one, *tensors, gamma, True, True, False, False
    )
    direct, through_g = (
        _distances._sums(g, v_x, v_y, True, True),
        _distances._sums(by_match, x, y, True, True),
    )
    return tuple((2 * (a - b)).masked_fill(nothing, 0) for a, b in zip(direct, through_g, strict=True))


def _vmap(info: Any, in_dims: tuple, *inputs: Any) -> tuple:
    tensors, options = inputs[:4], inputs[4:]
    joined = _ops._joined(tensors, in_dims, _ops._pairs(inputs[0], in_dims[0]), info.batch_size)
    results = _soft_dtw(*joined, *options)
    there = True, *options[-2:]
    return tuple(_ops._parted(t, info.batch_size, k) for t, k in zip(results, there, strict=True)), (0,) * 3


_soft_dtw = _ops._register("soft_dtw_of_features", _context, _gradient, _vmap, _ops._NO_JVP["fsd"])
