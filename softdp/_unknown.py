"""NaN as the score of a pair that holds a NaN or +inf, and as its derivatives, of every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def nan_where(score: Tensor, unknown: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
    """Make the score of a pair with a NaN or +inf NaN, and its derivatives NaN, unless 0 is received."""
    sums = (table.sum((1, 2)) for table in tables)
    total = sum(sums, torch.zeros_like(score)).masked_fill(~unknown, 0)
    if torch.compiler.is_compiling():  # it takes no Function with a jvp, and has only one derivative
        poison = torch.xlogy(total, -1.0)  # its gradient is 0 of 0, and NaN of any other
    else:
        poison = _unknown(total, total)
    return torch.where(unknown, poison, score)


class _Unknown(torch.autograd.Function):
    """0 of `asked` = 0, NaN of any other, elementwise. So are the derivatives by both, of every order.

    A product with NaN would be NaN also of 0.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(asked: Tensor, other: Tensor) -> Tensor:
        return torch.where(asked == 0, 0.0, float("nan")).to(asked.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor, Tensor]:
        first, second = ctx.saved_tensors
        return _unknown(asked, second), _unknown(asked, first)

    @staticmethod
    def jvp(ctx: Any, first_asked: Tensor, second_asked: Tensor) -> Tensor:
        first, second = ctx.saved_tensors
        return _unknown(first_asked, second) + _unknown(second_asked, first)


_unknown: Callable[[Tensor, Tensor], Tensor] = _Unknown.apply
