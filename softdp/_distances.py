"""Distances of all pairs of steps, and the operators behind them: products and sums of differences.

    products   out(i,j) = (x_i - y_j) . (u_i - w_j);   with u = x and w = y the squared distances
    sums       out_x(i) = sum_j g(i,j) (x_i - y_j),   out_y(j) = -sum_i g(i,j) (x_i - y_j)

The derivatives of both operators are calls of both operators. So there are derivatives of every order. The
CPU kernels are in csrc/cpu/differences.h. Other devices run the PyTorch operations below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _checks, _features, _registration, _torch, _vmap
from ._signatures import explained

FEW_FEATURES = 12  # with at most so many, differences take a GPU less time than products in float64
AT_ONCE = 2**24  # numbers that the intermediate results of a piece hold


@explained()
def squared_euclidean(
    x: Tensor,
    y: Tensor,
    *,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
) -> Tensor:
    """Squared Euclidean distances of all pairs of steps.

    Shapes: x (B, N, D), y (B, M, D); lengths (B,); returns (B, N, M). No (B, N, M, D) is made.

        cost(i,j) = |x_i - y_j|^2

    Steps are subtracted first and squared then. So small differences of large positions keep their digits.
    torch.cdist loses them for more than 25 steps, where it computes |x_i|^2 + |y_j|^2 - 2 x_i . y_j. The same
    holds of the gradient. There are derivatives of every order, backward and forward, also where a distance
    is 0. torch.cdist has no second derivative there.

    Args:
        x, y: features of the two sequences.
        x_lengths, y_lengths: steps per pair; None means N and M. Steps past them may hold anything: they
            count as 0 and get the gradient 0. The distances to them mean nothing.

    Returns:
        The distances, (B, N, M), float64 for float64 features and float32 for all others, also under
        autocast. In float32 the error is at most 2e-6 of each distance (measured to 512 features). A step
        that holds a NaN or an infinity makes the distances to it NaN, and no others. A distance that receives
        the gradient 0 adds nothing to the gradients of the features, also if these are not finite. On devices
        other than the CPU, more than 12 features go through products in float64. There this holds only if the
        whole pair receives the gradient 0.

    Raises:
        ValueError: shapes, devices or lengths that do not fit.
        TypeError: features that are not floating point, mixed dtypes, lengths that are not integers.

    Example:
        >>> import torch, softdp
        >>> x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
        >>> softdp.squared_euclidean(x, x[:, :1])
        tensor([[[ 0.],
                 [25.]]])

    Source: the cost of Cuturi and Blondel, ICML 2017.
    """
    _checks.feature_arguments(x, y, x_lengths, y_lengths)
    return squared(_features.valid(x, x_lengths), _features.valid(y, y_lengths))


def squared(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2: (B, N, D), (B, M, D), float64 or float32 -> (B, N, M)."""
    return products(infinity_as_nan(x), infinity_as_nan(y), None, None)


def euclidean(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|, with the gradient 0 where it is 0."""
    squares = squared(x, y)
    # At 0 the root has no derivative. At NaN its derivative would turn the gradient 0 into NaN.
    root = squares.masked_fill((squares == 0) | squares.isnan(), 1).sqrt()
    return torch.where(squares.isnan(), squares, root.masked_fill(squares == 0, 0))


def manhattan(x: Tensor, y: Tensor) -> Tensor:
    """The sums of the features' absolute differences. A compiled graph differentiates them once."""
    (x, of_x), (y, of_y) = _features.finite(x), _features.finite(y)
    sums = torch.cdist(x, y, p=1) if torch.compiler.is_compiling() else _manhattan(x, y)
    return sums + (of_x + of_y.mT)


class _Manhattan(torch.autograd.Function):
    """torch.cdist(x, y, p=1), with derivatives of every order, backward and forward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y, p=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y, sums = ctx.saved_tensors
        if torch.is_grad_enabled() or _torch.transformed():  # a second derivative may follow
            return sums_of_signs(grad, x, y)
        return _torch.gradients_of_manhattan(grad, x, y, sums)

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor, of_y: Tensor) -> Tensor:
        x, y, _ = ctx.saved_tensors
        return products_of_signs(x, y, of_x, of_y)


_manhattan: Callable[[Tensor, Tensor], Tensor] = _Manhattan.apply


def infinity_as_nan(x: Tensor) -> Tensor:
    """Features with NaN instead of infinity. An infinite distance would count as a forbidden cell."""
    fixed = x.detach()
    return x + (fixed - fixed)


# ---- shapes, derivatives, vmap -------------------------------------------------------------------


def _shapes_of_difference_products(x: Tensor, y: Tensor, u: Tensor | None, w: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[1], y.shape[1]))


def _shapes_of_difference_sums(
    weights: Tensor, x: Tensor, y: Tensor, need_x: bool, need_y: bool
) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape if need else (0,)) for t, need in ((x, need_x), (y, need_y)))


def _products_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)
    ctx.save_for_forward(*inputs)
    ctx.set_materialize_grads(False)


def _products_gradient(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 4
    x, y, u, w = ctx.saved_tensors
    need_x, need_y, need_u, need_w = ctx.needs_input_grad
    if u is None:
        by_x, by_y = _sums_of(grad, x, y, need_x, need_y)
        return *(None if t is None else 2 * t for t in (by_x, by_y)), None, None
    return *_sums_of(grad, u, w, need_x, need_y), *_sums_of(grad, x, y, need_u, need_w)


def _products_tangent(
    ctx: Any, of_x: Tensor | None, of_y: Tensor | None, of_u: Tensor | None, of_w: Tensor | None
) -> Tensor:
    x, y, u, w = ctx.saved_tensors
    of_x, of_y = or_zeros(of_x, x), or_zeros(of_y, y)
    if u is None:
        return 2 * products(of_x, of_y, x, y)
    return products(of_x, of_y, u, w) + products(x, y, or_zeros(of_u, u), or_zeros(of_w, w))


def _sums_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, need_x, need_y = inputs
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)
    ctx.needs = need_x, need_y


def _sums_gradient(ctx: Any, v_x: Tensor | None, v_y: Tensor | None) -> tuple[Tensor | None, ...]:
    weights, x, y = ctx.saved_tensors
    v_x, v_y = (v if need else None for v, need in zip((v_x, v_y), ctx.needs, strict=True))
    if v_x is None and v_y is None:
        return (None,) * 5
    v_x, v_y = or_zeros(v_x, x), or_zeros(v_y, y)
    need_weights, need_x, need_y = ctx.needs_input_grad[:3]
    by_weights = zero_along_nothing(products(x, y, v_x, v_y), v_x, v_y) if need_weights else None
    return by_weights, *_sums_of(weights, v_x, v_y, need_x, need_y), None, None


def zero_along_nothing(derivative: Tensor, v_x: Tensor, v_y: Tensor) -> Tensor:
    """A derivative along directions of pairs, with 0 instead of NaN where a pair has only directions 0.

    Where it is finite it is 0 there already, and stays differentiable by the directions.
    """
    nothing = ((v_x == 0).all(2).all(1) & (v_y == 0).all(2).all(1))[:, None, None]
    return derivative.masked_fill(nothing & ~derivative.isfinite(), 0)


def _sums_tangent(
    ctx: Any, of_weights: Tensor | None, of_x: Tensor | None, of_y: Tensor | None, *_: None
) -> tuple[Tensor, ...]:
    weights, x, y = ctx.saved_tensors
    by_weights = sums(or_zeros(of_weights, weights), x, y, *ctx.needs)
    by_steps = sums(weights, or_zeros(of_x, x), or_zeros(of_y, y), *ctx.needs)
    return tuple(a + b for a, b in zip(by_weights, by_steps, strict=True))


def _sums_of(g: Tensor, x: Tensor, y: Tensor, need_x: bool, need_y: bool) -> tuple[Tensor | None, ...]:
    """The sums that are needed, None for the others."""
    if not (need_x or need_y):
        return None, None
    found = sums(g, x, y, need_x, need_y)
    return tuple(t if need else None for t, need in zip(found, (need_x, need_y), strict=True))


def or_zeros(value: Tensor | None, like: Tensor) -> Tensor:
    """The value, or zeros where there is none."""
    return torch.zeros_like(like) if value is None else value


torch.library.register_fake("softdp::difference_products", _shapes_of_difference_products)
torch.library.register_fake("softdp::difference_sums", _shapes_of_difference_sums)
_NO_FORWARD_MODE = "softdp: squared_euclidean has no forward-mode derivative (jvp) in torch.compile"
products: Callable[..., Tensor] = _registration.register(
    "difference_products",
    _products_context,
    _products_gradient,
    _products_tangent,
    _vmap.joins_batch(tensors=4, whole=0, present=lambda *inputs: (True,)),
    _NO_FORWARD_MODE,
)
sums: Callable[..., tuple[Tensor, Tensor]] = _registration.register(
    "difference_sums",
    _sums_context,
    _sums_gradient,
    _sums_tangent,
    _vmap.joins_batch(tensors=3, whole=0, present=lambda *inputs: inputs[-2:]),
    _NO_FORWARD_MODE,
)


# ---- other devices -------------------------------------------------------------------------------
#
# They work on pieces of rows, and do not wait for the device. With more than FEW_FEATURES they are matrix
# products in float64, of steps relative to the first step of x. In float32 the products would lose small
# differences of large positions.


def products_elsewhere(x: Tensor, y: Tensor, u: Tensor | None, w: Tensor | None) -> Tensor:
    squares = u is None
    u, w = x if u is None else u, y if w is None else w
    out = x.new_empty(x.shape[0], x.shape[1], y.shape[1])
    if _by_differences(x):
        for rows in _pieces(out, x.shape[2]):
            d = x[:, rows, None] - y[:, None]
            e = d if squares else u[:, rows, None] - w[:, None]
            out[:, rows] = (d * e).sum(3)
        return out
    x, y = _relative(x, y)
    u, w = (x, y) if squares else _relative(u, w)
    of_x, of_y = (x * u).sum(2)[:, :, None], (y * w).sum(2)[:, None]
    for rows in _pieces(out, 1):
        crossed = x[:, rows] @ w.mT
        crossed = crossed + (crossed if squares else u[:, rows] @ y.mT)
        out[:, rows] = of_x[:, rows] + of_y - crossed
    return out.clamp_(min=0) if squares else out


def sums_elsewhere(
    weights: Tensor, x: Tensor, y: Tensor, need_x: bool, need_y: bool
) -> tuple[Tensor, Tensor]:
    dtype, by_differences = x.dtype, _by_differences(x)
    if not by_differences:
        x, y = _relative(x, y)
    sums_x, sums_y = torch.zeros_like(x), torch.zeros_like(y)
    for rows in _pieces(weights, x.shape[2] if by_differences else 1):
        g, of_x = weights[:, rows].to(x.dtype), x[:, rows]
        if by_differences:
            weighted = g[..., None] * (of_x[:, :, None] - y[:, None])
            weighted.masked_fill_(g[..., None] == 0, 0)
            sums_x[:, rows] = weighted.sum(2)
            sums_y -= weighted.sum(1)
        else:
            sums_x[:, rows] = of_x * g.sum(2)[..., None] - g @ y
            sums_y += y * g.sum(1)[..., None] - g.mT @ of_x
    nothing = (
        (weights == 0).all(2).all(1)[:, None, None]
    )  # their sums are 0, also of steps that are not finite
    sums_x, sums_y = (t.to(dtype).masked_fill(nothing, 0) for t in (sums_x, sums_y))
    none = x.new_empty(0, dtype=dtype)
    return sums_x if need_x else none, sums_y if need_y else none.clone()


def products_of_signs(x: Tensor, y: Tensor, u: Tensor, w: Tensor) -> Tensor:
    """sign(x_i - y_j) . (u_i - w_j), (B, N, M)."""
    table = x.new_empty(x.shape[0], x.shape[1], y.shape[1])
    parts = [
        (_signs(x, y, rows) * (u[:, rows, None] - w[:, None])).sum(3) for rows in _pieces(table, x.shape[2])
    ]
    return torch.cat(parts, 1) if parts else table


def sums_of_signs(weights: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j g(i,j) sign(x_i - y_j), and -sum_i g(i,j) sign(x_i - y_j)."""
    sums_x, sums_y = [], torch.zeros_like(y)
    for rows in _pieces(weights, x.shape[2]):
        weighed = weights[:, rows, :, None] * _signs(x, y, rows)
        sums_x.append(weighed.sum(2))
        sums_y = sums_y - weighed.sum(1)
    return torch.cat(sums_x, 1) if sums_x else torch.zeros_like(x), sums_y


def _signs(x: Tensor, y: Tensor, rows: slice) -> Tensor:
    return (x[:, rows, None] - y[:, None]).sign()


def _by_differences(x: Tensor) -> bool:
    return x.shape[2] <= FEW_FEATURES or x.device.type == "mps"  # it has no float64


def _relative(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, minus a step of x. This does not change their differences."""
    origin = x[:, :1].double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) if x.shape[1] else 0
    return x.double() - origin, y.double() - origin


def _pieces(table: Tensor, numbers_a_cell: int) -> list[slice]:
    B, N, M = table.shape
    rows = max(AT_ONCE // max(B * M * numbers_a_cell, 1), 1)
    return [slice(i, i + rows) for i in range(0, N, rows)]


torch.library.impl("softdp::difference_products", "CompositeExplicitAutograd")(products_elsewhere)
torch.library.impl("softdp::difference_sums", "CompositeExplicitAutograd")(sums_elsewhere)
