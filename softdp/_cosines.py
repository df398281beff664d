"""Cosines of all pairs of steps, with a gradient of their own: what losses through tables take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _features, _registration, _torch


def cosines(x: Tensor, y: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Cosines of all pairs of steps, for each part of the features: (B, N, D), (B, M, D) -> (B, N, M) each.

    All vectors go together through few operations: at FTCL's sizes these cost more than the sweep. Autocast
    would round them.
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
    (x, of_x), (y, of_y) = _features.without_spoiled(x), _features.without_spoiled(y)
    return tuple(product + (of_x + of_y.mT) for product in _products(x, y, heads)[:heads])


class _Cosines(torch.autograd.Function):
    """_products, with a gradient of fewer operations and less memory than autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, heads: int) -> tuple[Tensor, ...]:
        *products, unit, length = outputs = _products(x, y, heads)
        ctx.save_for_backward(unit, length)
        ctx.set_materialize_grads(False)
        ctx.size = products[0].shape
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Differentiable in turn, through unit and length, which are outputs for that."""
        unit, length = ctx.saved_tensors
        # Without NaN: the products' gradients are NaN in a spoiled pair or, where it receives nothing, 0.
        spoiled = length.isnan()
        unit, length = unit.masked_fill(spoiled, 0), length.masked_fill(spoiled, 1)
        *products, direct, by_length = gradients
        B, N, M = ctx.size
        of_x, of_y = unit.split((N, M), 1)
        by_product = torch.cat([unit.new_zeros(B, N, M) if g is None else g for g in products])
        by_unit = torch.cat([torch.bmm(by_product, of_y), torch.bmm(by_product.mT, of_x)], 1)
        if direct is not None:
            by_unit = by_unit + direct
        # What is along a vector changes its length alone.
        by_vector = (by_unit - unit * (unit * by_unit).sum(-1, keepdim=True)) / length
        if by_length is not None:
            by_vector = by_vector + unit * by_length
        parts = by_vector.view(len(products), B, N + M, unit.shape[2]).unbind()
        return *torch.cat(parts, 2).split((N, M), 1), None


_recorded: Callable[..., tuple[Tensor, ...]] = _Cosines.apply


def _products(x: Tensor, y: Tensor, heads: int) -> tuple[Tensor, ...]:
    """The cosines of each part, then all parts' unit vectors, (heads * B, N + M, D / heads), and lengths."""
    vectors = torch.cat(torch.cat([x, y], 1).split(x.shape[2] // heads, 2))
    unit, length = _unit(vectors)
    of_x, of_y = unit.split((x.shape[1], y.shape[1]), 1)
    cosines = torch.bmm(of_x, of_y.mT)
    return *cosines.unflatten(0, (heads, x.shape[0])).unbind(), unit, length


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, and the lengths they had; a zero vector stays 0 and gets gradient 0."""
    # Near 1 first: the squares of very large or small features would leave the range. A cosine does not
    # change with the scale, so that the scale has no gradient. A zero vector is divided by infinity, and so
    # is its gradient; the others are at least 1 long.
    scale = x.detach().abs().amax(dim=-1, keepdim=True)
    zero = scale == 0
    scale = scale.masked_fill(zero, torch.inf)
    x = x / scale
    # No clamp: a length that rounding puts at 1 or just below would lose its gradient.
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).masked_fill(zero, 1)
    return x / length, length * scale
