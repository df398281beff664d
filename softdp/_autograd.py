"""The derivatives of the recurrences' operators.

The derivative of "forward" is "backward", that of "backward" is "double backward", and that of "double
backward" is an error. The backward operators are given the scores on every device, also where a kernel does
not read them: through these arguments the first derivative depends on the scores. `saved` follows from the
scores, so that nobody asks for its derivative.

Each function below takes a row and gives two functions. The first keeps what the derivative takes. The second
computes the derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._dtypes import computed
from ._recurrences import Recurrence
from ._registration import Context, Gradient
from ._vmap import Operator


def of_forward(row: Recurrence, backward: Operator) -> tuple[Context, Gradient]:
    """Context and gradient of NAME_forward, whose derivative is NAME_backward."""
    count, tensors = len(row.scores), len(row.scores) + 2
    one_score, no_visits = row.one_score, (False,) * row.visits
    nothing = (None,) * (tensors + len(row.options) + 1)
    after = nothing[count:]

    def context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1], *inputs[:tensors])
        ctx.set_materialize_grads(False)
        ctx.options = inputs[tensors:-1]

    def gradient(ctx: Any, grad_score: Tensor | None, _grad_saved: None) -> tuple[Tensor | None, ...]:
        if grad_score is None:
            return nothing
        given = ctx.saved_tensors
        if one_score:
            return backward(grad_score, *given, *ctx.options, *no_visits), *after
        needs = ctx.needs_input_grad[:count]
        gradients = backward(grad_score, *given, *ctx.options, *needs)
        return *map(_summed_over_batch, gradients, given[1:], needs), *after

    return context, gradient


def _summed_over_batch(gradient: Tensor, of: Tensor | None, needed: bool) -> Tensor | None:
    """The gradient of a gap that all pairs share is the sum of the pairs' gradients."""
    if not needed or of is None:
        return None
    return gradient.sum(0, keepdim=True) if of.shape[0] != gradient.shape[0] else gradient


def of_backward(row: Recurrence, double_backward: Operator) -> tuple[Context, Gradient]:
    """Context and gradient of NAME_backward, whose derivative is NAME_double_backward.

    csrc/recurrence.h has the mathematics, under "second order".
    """
    count, tensors = len(row.scores), len(row.scores) + 2
    end = 2 + tensors + len(row.options)
    one_score, with_visits = row.one_score, row.visits
    nothing = (None,) * (end + (1 if one_score else count))
    after = nothing[2 + count :]

    def context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], *inputs[2 : 2 + tensors])
        ctx.set_materialize_grads(False)
        ctx.options = inputs[2 + tensors : end]
        ctx.visits = with_visits and inputs[end]

    def gradient(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
        """The derivatives by grad_score and by the scores."""
        grad_score, *scores = ctx.saved_tensors
        scores, lengths = scores[:count], scores[count:]
        wants_grad, _, *needs = ctx.needs_input_grad[: 2 + count]
        # There is no direction if nobody asks for it, or if the gradient was not needed and is empty.
        present = [
            None if v is None or (v.numel() == 0 and not one_score) else computed(v) for v in directions
        ]
        if all(v is None for v in present):
            no_cells = scores[0].numel() == 0 and not one_score
            zeros = (
                torch.zeros_like(t) if need and t is not None and no_cells else None
                for t, need in zip(scores, needs, strict=True)
            )
            return None, None, *zeros, *after
        if ctx.visits:
            raise NotImplementedError("softdp: visits have no derivative")
        taken = [None if t is None else computed(t) for t in scores]
        asked = () if one_score else needs
        tangent, *products = double_backward(*present, grad_score, *taken, *lengths, *ctx.options, *asked)
        gradients = (
            _summed_as(product, like) if need and like is not None else None
            for product, like, need in zip(products, scores, needs, strict=True)
        )
        return tangent if wants_grad else None, None, *gradients, *after

    return context, gradient


def _summed_as(product: Tensor, like: Tensor) -> Tensor:
    """A dense derivative summed over the dimensions that were broadcast, in the scores' dtype."""
    over = [d for d in range(3) if like.shape[d] != product.shape[d]]
    return (product.sum(over, keepdim=True) if over else product).to(like.dtype)


def of_double_backward(row: Recurrence) -> tuple[Context, Gradient]:
    """Context and gradient of NAME_double_backward, which has no derivative."""
    words = not_implemented(row, "third derivatives")

    def context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    def gradient(ctx: Any, *_grads: Any) -> Any:
        raise NotImplementedError(words)

    return context, gradient


def not_implemented(row: Recurrence, what: str) -> str:
    """The error of a derivative that the operators do not have: who has it."""
    return (
        f"softdp: {what} of this score are not implemented; softdp.reference has derivatives of every order, "
        f"backward and forward, in plain PyTorch: {row.reference}, of the same arguments ({row.alignment})"
    )
