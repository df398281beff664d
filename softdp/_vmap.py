"""The rules of vmap: the mapped dimension joins the batch, since pairs are independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ._dtypes import arithmetic
from ._recurrences import Recurrence, ends

Operator: TypeAlias = Callable[..., Any]
Rule: TypeAlias = Callable[..., tuple[Any, Any]]
Maker: TypeAlias = Callable[[Operator], Rule]  # the rule of the operator that it is given


def joins_batch(
    tensors: int,
    whole: int,
    present: Callable[..., Sequence[bool]],
    saved: int | None = None,
    tail: Callable[..., int] | None = None,
) -> Maker:
    """The rule of an operator on tensors (B, ...): vmap over K maps it to one call with K * B pairs.

    Args:
        tensors: how many arguments are tensors; they come first.
        whole: the place of a tensor that has all B pairs. The others may have 1, which all pairs share.
        present: which of several results are there, of all arguments; the others are empty tensors.
        saved: the place of a tensor (B, bytes) that a forward operator has saved, if there is one.
        tail: how many of these bytes are of the ends, of the arguments that joined. They lie behind the
            others of all pairs: csrc/problem.h.
    """

    def make(operator: Operator) -> Rule:
        def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
            size = info.batch_size
            pairs = inputs[whole].shape[1 if in_dims[whole] == 0 else 0]
            joined = [
                _joined(t, dim, pairs, size)
                for t, dim in zip(inputs[:tensors], in_dims[:tensors], strict=True)
            ]
            if saved is not None and tail is not None and in_dims[saved] is None:
                joined[saved] = _repeated(inputs[saved], tail(*joined, *inputs[tensors:]), size)
            results = operator(*joined, *inputs[tensors:])
            if isinstance(results, Tensor):
                return _parted(results, size, True), 0
            parted = [_parted(t, size, there) for t, there in zip(results, present(*inputs), strict=True)]
            return tuple(parted), (0,) * len(parted)

        return rule

    return make


def _joined(value: Tensor | None, dim: int | None, pairs: int, size: int) -> Tensor | None:
    """A mapped or unmapped tensor (1 or B, ...) -> (size * B, ...)."""
    if value is None:
        return None
    value = value.unsqueeze(0) if dim is None else value.movedim(dim, 0)
    return value.expand(size, pairs, *value.shape[2:]).flatten(0, 1)


def _repeated(saved: Tensor, tail: int, size: int) -> Tensor:
    """What is saved of B pairs for size * B pairs. The bytes of the ends lie behind those of all pairs."""
    B, numbers = saved.shape
    own, ends = saved.flatten().split([B * (numbers - tail), B * tail])
    return torch.cat([own.repeat(size), ends.repeat(size)]).view(size * B, numbers)


def _parted(value: Tensor, size: int, there: bool) -> Tensor:
    """(size * B, ...) -> (size, B, ...). An empty tensor stands for no result, and stays empty."""
    return value.unflatten(0, (size, -1 if value.shape[0] else 0)) if there else value.new_empty((size, 0))


def in_turn(operator: Operator) -> Rule:
    """The rule of an operator whose pairs cannot join: it is called once for each of the K parts."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        parts = [
            operator(
                *(
                    t.select(dim, k) if isinstance(t, Tensor) and dim is not None else t
                    for t, dim in zip(inputs, in_dims, strict=True)
                )
            )
            for k in range(info.batch_size)
        ]
        if isinstance(parts[0], Tensor):
            return torch.stack(parts), 0
        stacked = tuple(torch.stack(results) for results in zip(*parts, strict=True))
        return stacked, (0,) * len(stacked)

    return rule


class Rules(NamedTuple):
    """What makes the rules of a recurrence's operators."""

    forward: Maker
    backward: Maker
    double_backward: Maker


def rules(row: Recurrence) -> Rules:
    """The rules of a recurrence's operators."""
    count = len(row.scores)
    tensors = count + 2  # with the lengths

    def forward(*inputs: Any) -> Sequence[bool]:
        return True, inputs[-1]

    def gradients(*inputs: Any) -> Sequence[bool]:
        return _there(inputs[2 : 2 + count], inputs[-count:])

    def tail(*inputs: Any) -> int:
        if "boundary" not in row.options:
            return 0
        boundary = inputs[2 + tensors + row.options.index("boundary")]
        _, rows, columns = inputs[2].shape
        return ends(boundary, rows, columns) * arithmetic(inputs[2].dtype).itemsize

    def derivatives(*inputs: Any) -> Sequence[bool]:
        return True, *_there(inputs[count + 1 : 2 * count + 1], inputs[-count:])

    return Rules(
        joins_batch(tensors, 0, forward),
        joins_batch(2 + tensors, 2, gradients, saved=1, tail=tail),
        joins_batch(count + 1 + tensors, count + 1, derivatives),
    )


def _there(scores: Sequence[Tensor | None], needs: Sequence[bool]) -> list[bool]:
    return [need and t is not None for t, need in zip(scores, needs, strict=True)]
