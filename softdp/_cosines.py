"""Cosines of all pairs of steps, with a gradient of their own. Losses through tables take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _features, _registration, _torch


def cosines(x: Tensor, y: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Cosines of all pairs of steps, for each part of the features: (B, N, D), (B, M, D) -> (B, N, M) each.

    All vectors go through few operations together: at FTCL's sizes the operations take longer than the sweep.
    Autocast would round the products, so that it is switched off.
    """
    if _features.autocast_rounds(x):
        with torch.autocast(x.device.type, enabled=False):
            return cosines(x, y, heads)
    if x.shape[2] == 0:
        return (x @ y.mT,) * heads
    if _registration.only_backward(x, y):
        return _recorded(x, y, heads)[:heads]
    if not (torch.compiler.is_compiling() or _torch.transformed()):
        return _products(x, y, heads)[:heads]
    (x, of_x), (y, of_y) = _features.finite(x), _features.finite(y)
    return tuple(product + (of_x + of_y.mT) for product in _products(x, y, heads)[:heads])


class _Cosines(torch.autograd.Function):
    """_products, with a gradient that takes fewer operations and less memory than autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, heads: int) -> tuple[Tensor, ...]:
        *products, unit, length = outputs = _products(x, y, heads)
        ctx.save_for_backward(unit, length)
        ctx.set_materialize_grads(False)
        ctx.size = products[0].shape
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradient. It is differentiable in turn, since unit and length are outputs too."""
        unit, length = ctx.saved_tensors
        # NaN is not needed here: the gradients of the products hold it already, or 0 if nothing is received.
        bad = length.isnan()
        unit, length = unit.masked_fill(bad, 0), length.masked_fill(bad, 1)
        *products, direct, by_length = gradients
        B, N, M = ctx.size
        of_x, of_y = unit.split((N, M), 1)
        by_product = torch.cat([unit.new_zeros(B, N, M) if g is None else g for g in products])
        by_unit = torch.cat([torch.bmm(by_product, of_y), torch.bmm(by_product.mT, of_x)], 1)
        if direct is not None:
            by_unit = by_unit + direct
        # A change along a vector only changes its length, so that it does not count.
        by_vector = (by_unit - unit * (unit * by_unit).sum(-1, keepdim=True)) / length
        if by_length is not None:
            by_vector = by_vector + unit * by_length
        parts = by_vector.view(len(products), B, N + M, unit.shape[2]).unbind()
        return *torch.cat(parts, 2).split((N, M), 1), None


_recorded: Callable[..., tuple[Tensor, ...]] = _Cosines.apply


def _products(x: Tensor, y: Tensor, heads: int) -> tuple[Tensor, ...]:
    """The cosines of each part, all parts' unit vectors, (heads * B, N + M, D / heads), and their lengths."""
    vectors = torch.cat(torch.cat([x, y], 1).split(x.shape[2] // heads, 2))
    unit, length = _unit(vectors)
    of_x, of_y = unit.split((x.shape[1], y.shape[1]), 1)
    cosines = torch.bmm(of_x, of_y.mT)
    return *cosines.unflatten(0, (heads, x.shape[0])).unbind(), unit, length


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, and the lengths that they had. A zero vector stays 0 and gets the gradient 0."""
    # The vectors are scaled first: the squares of very large or small features would leave the range. A
    # cosine does not depend on the scale, so that the scale needs no gradient. A zero vector is divided by
    # infinity, and so is its gradient. All other vectors are then at least 1 long.
    scale = x.detach().abs().amax(dim=-1, keepdim=True)
    zero = scale == 0
    scale = scale.masked_fill(zero, torch.inf)
    x = x / scale
    # A clamp at 1 would take the gradient from a length that rounding puts at 1 or just below.
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).masked_fill(zero, 1)
    return x / length, length * scale
