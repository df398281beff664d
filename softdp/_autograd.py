"""The derivatives of the recurrences' operators.

The derivative of "forward" is "backward", and that of "backward" is "double backward". Forward mode needs no
further operator: the score's derivative along a direction is the first result of "double backward". The
backward operators are given the scores on every device, also where a kernel does not read them: through these
arguments the first derivative depends on the scores. `saved` follows from the scores, so that nobody asks for
its derivative.

csrc/recurrence.h has the mathematics, under "second order". With g = grad_score, G the first derivatives of
the scores and H the second, "double backward" computes for directions v

    tangent = G v      products = g H v

Both are linear in v, and H is symmetric. So the derivatives of "double backward" by v and g, and that of
tangent by the scores, are calls of the same operators. Third derivatives, those of products by the scores,
are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _torch
from ._dtypes import computed
from ._recurrences import Recurrence


class Rules(NamedTuple):
    """What _registration.register takes: what is kept, and the derivatives backward and forward."""

    context: Callable[[Any, tuple[Any, ...], Any], None]
    gradient: Callable[..., tuple[Tensor | None, ...]]
    tangent: Callable[..., Any]


class Operators:
    """The three operators of a recurrence. Their rules call them, so that they come after the rules.

    Attributes:
        forward: returns the scores and what is saved.
        backward: returns a tensor, of a recurrence with one score; else a tuple of them.
        double_backward: returns the tangent and the products.
        visits: whether "backward" takes `visits`.
    """

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., Any]
    double_backward: Callable[..., tuple[Tensor, ...]]

    def __init__(self, visits: bool) -> None:
        self.visits = visits


def of_forward(row: Recurrence, operators: Operators) -> Rules:
    """The rules of NAME_forward."""
    count, tensors = len(row.scores), len(row.scores) + 2
    one_score, no_visits = row.one_score, (False,) * row.visits
    nothing = (None,) * (tensors + len(row.options) + 1)
    after = nothing[count:]

    def context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1], *inputs[:tensors])
        if _torch.forward_mode():
            ctx.save_for_forward(*inputs[:tensors])
        ctx.set_materialize_grads(False)
        ctx.options = inputs[tensors:-1]

    def gradient(ctx: Any, grad_score: Tensor | None, _grad_saved: None) -> tuple[Tensor | None, ...]:
        if grad_score is None:
            return nothing
        given = ctx.saved_tensors
        if one_score:
            return operators.backward(grad_score, *given, *ctx.options, *no_visits), *after
        needs = ctx.needs_input_grad[:count]
        gradients = operators.backward(grad_score, *given, *ctx.options, *needs)
        return *map(_summed_over_batch, gradients, given[1:], needs), *after

    def tangent(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, None]:
        given = ctx.saved_tensors
        along, *_ = _second(operators, tangents[:count], None, given, ctx.options, (False,) * count)
        return along, None

    return Rules(context, gradient, tangent)


def _second(
    operators: Operators,
    directions: Sequence[Tensor | None],
    grad_score: Tensor | None,
    given: Sequence[Tensor | None],
    options: Sequence[Any],
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    """NAME_double_backward of scores and directions of any dtype. grad_score None: of the scores' sum.

    given: the scores and lengths.
    """
    *scores, x_lengths, y_lengths = given
    taken = [None if t is None else computed(t) for t in scores]
    present = [None if v is None else computed(v) for v in directions]
    assert taken[0] is not None
    if grad_score is None:
        grad_score = taken[0].new_ones(taken[0].shape[:1])
    return operators.double_backward(*present, grad_score, *taken, x_lengths, y_lengths, *options, *needs)


def _summed_over_batch(gradient: Tensor, of: Tensor | None, needed: bool) -> Tensor | None:
    """The gradient of a gap that all pairs share is the sum of the pairs' gradients."""
    if not needed or of is None:
        return None
    return gradient.sum(0, keepdim=True) if of.shape[0] != gradient.shape[0] else gradient


def of_backward(row: Recurrence, operators: Operators) -> Rules:
    """The rules of NAME_backward."""
    count, tensors = len(row.scores), len(row.scores) + 2
    end = 2 + tensors + len(row.options)
    one_score, with_visits = row.one_score, row.visits
    nothing = (None,) * (end + (1 if one_score else count))
    after = nothing[2 + count :]

    def context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], *inputs[2 : 2 + tensors])
        if _torch.forward_mode():
            ctx.save_for_forward(*inputs[: 2 + tensors])
        ctx.set_materialize_grads(False)
        ctx.options = inputs[2 + tensors : end]
        ctx.last = inputs[end:]  # visits, or which results are needed
        ctx.visits = with_visits and inputs[end]

    def gradient(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
        """The derivatives by grad_score and by the scores."""
        grad_score, *scores = ctx.saved_tensors
        scores, lengths = scores[:count], scores[count:]
        wants_grad, _, *needs = ctx.needs_input_grad[: 2 + count]
        # There is no direction if nobody asks for it, or if the gradient was not needed and is empty.
        present = [None if v is None or (v.numel() == 0 and not one_score) else v for v in directions]
        if all(v is None for v in present):
            no_cells = scores[0].numel() == 0 and not one_score
            zeros = (
                torch.zeros_like(t) if need and t is not None and no_cells else None
                for t, need in zip(scores, needs, strict=True)
            )
            return None, None, *zeros, *after
        if ctx.visits:
            raise NotImplementedError("softdp: visits have no derivative")
        along, *products = _second(operators, present, grad_score, (*scores, *lengths), ctx.options, needs)
        gradients = (
            _summed_as(product, like) if need and like is not None else None
            for product, like, need in zip(products, scores, needs, strict=True)
        )
        return along if wants_grad else None, None, *gradients, *after

    def tangent(ctx: Any, along: Tensor | None, _saved: None, *tangents: Tensor | None) -> Any:
        grad_score, saved, *given = ctx.saved_tensors
        if ctx.visits:
            raise NotImplementedError("softdp: visits have no derivative")
        needs = (True,) if one_score else ctx.last
        found: list[Tensor | None] = [None] * count
        if along is not None:
            gradients = operators.backward(along, saved, *given, *ctx.options, *ctx.last)
            found = [gradients] if one_score else list(gradients)
        directions = tangents[:count]
        if any(v is not None for v in directions):
            _, *products = _second(operators, directions, grad_score, given, ctx.options, needs)
            for k, (product, like) in enumerate(zip(products, given[:count], strict=True)):
                if needs[k] and like is not None:
                    one = _summed_as(product, like, (1, 2))  # a gradient has all pairs
                    before = found[k]
                    found[k] = one if before is None else before + one
        made = [
            t if need and t is not None else _no_tangent(like, grad_score, given[0], need)
            for t, like, need in zip(found, given[:count], needs, strict=True)
        ]
        return made[0] if one_score else tuple(made)

    return Rules(context, gradient, tangent)


def _no_tangent(like: Tensor | None, grad_score: Tensor, table: Tensor, need: bool) -> Tensor:
    """The derivative of a result that is not there, or along nothing."""
    if need and like is not None:
        return like.new_zeros((grad_score.shape[0], *like.shape[1:]))
    return table.new_zeros((0,))


def _summed_as(product: Tensor, like: Tensor, dims: tuple[int, ...] = (0, 1, 2)) -> Tensor:
    """A dense derivative summed over those dimensions that were broadcast, in the scores' dtype."""
    over = [d for d in dims if like.shape[d] != product.shape[d]]
    return (product.sum(over, keepdim=True) if over else product).to(like.dtype)


# ---- the derivatives of "double backward" ----------------------------------------------------------------


class _FirstAndSecond(torch.autograd.Function):
    """A score that has no third derivative: an error is raised if one arrives, and only then.

    PyTorch asks an autograd.Function for the derivatives by all of its inputs, also if the caller wants that
    by one only. torch.autograd.functional.hvp wants those of products by the directions only. So the gradient
    of "double backward" is None for a third derivative, and the error is raised here.
    """

    @staticmethod
    def forward(ctx: Any, score: Tensor, words: str) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.words = words
        return score.view_as(score)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor, None]:
        if grad is None:
            raise NotImplementedError(ctx.words)
        return grad, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, words: None) -> Tensor:
        return tangent.view_as(tangent)


_first_and_second: Callable[[Tensor, str], Tensor] = _FirstAndSecond.apply


def without_third(row: Recurrence) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """The arguments of NAME_double_backward, with scores that have no third derivative."""
    first, words = len(row.scores) + 1, not_implemented(row, "third derivatives")
    end = first + len(row.scores)

    def guarded(t: Tensor | None) -> Tensor | None:
        return t if t is None or not t.requires_grad else _first_and_second(t, words)

    return lambda args: (*args[:first], *map(guarded, args[first:end]), *args[end:])


def of_double_backward(row: Recurrence, operators: Operators) -> Rules:
    """The rules of NAME_double_backward. Only the products' derivative by the scores is an error."""
    count, tensors = len(row.scores), len(row.scores) + 2
    first = count + 1  # the place of the first score
    end = first + tensors
    words = not_implemented(row, "third derivatives")

    def context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:end])
        if _torch.forward_mode():
            ctx.save_for_forward(*inputs[:end])
        ctx.set_materialize_grads(False)
        ctx.options, ctx.needs = inputs[end:-count], inputs[-count:]

    def gradient(ctx: Any, by_tangent: Tensor | None, *by_products: Tensor | None) -> tuple[Any, ...]:
        call = _Call(operators, count, ctx)
        asked = ctx.needs_input_grad
        wants_v, wants_grad, wants_scores = asked[:count], asked[count], asked[first : first + count]
        u = [None if t is None or not need else t for t, need in zip(by_products, ctx.needs, strict=True)]
        of_v: list[Tensor | None] = [None] * count
        of_grad = None
        of_scores: list[Tensor | None] = [None] * count
        if any(t is not None for t in u):
            if any(wants_scores) and not getattr(ctx, "is_guarded", False):
                raise NotImplementedError(words)
            if any(wants_v):
                of_v = _each_summed_as(call.products(u, call.grad_score), call.directions)
            if wants_grad:
                of_grad = _inner(call.products(call.directions, None), u)
        elif by_tangent is not None and any(wants_scores):
            of_scores = _each_summed_as(call.products(call.directions, by_tangent), call.scores)
        if by_tangent is not None and any(wants_v):
            of_v = _sums(of_v, _each_summed_as(call.gradients(by_tangent), call.directions))
        return *of_v, of_grad, *of_scores, *(None,) * (2 + len(ctx.options) + count)

    def tangent(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        call = _Call(operators, count, ctx)
        of_v, of_grad, of_scores = tangents[:count], tangents[count], tangents[first : first + count]
        moved = any(t is not None for t in of_scores)
        if moved and any(ctx.needs):
            raise NotImplementedError(words)
        found: list[Tensor | None] = [None] * (1 + count)
        if any(t is not None for t in of_v):
            found = list(call.second(of_v, call.grad_score, ctx.needs))
        if of_grad is not None:
            _, *products = call.second(call.directions, of_grad, ctx.needs)
            found = _sums(found, [None, *products])
        if moved:
            along = _inner(call.products(call.directions, None), of_scores)
            found = _sums(found, [along, *(None,) * count])
        # No product is found where none is needed, and no tangent where only grad_score changes.
        nothing = call.grad_score.new_zeros(0)
        along = torch.zeros_like(call.grad_score) if found[0] is None else found[0]
        return along, *(nothing if t is None else t for t in found[1:])

    return Rules(context, gradient, tangent)


class _Call:
    """A call of "double backward", and calls of the operators on its scores."""

    def __init__(self, operators: Operators, count: int, ctx: Any) -> None:
        given = ctx.saved_tensors
        self.operators, self.count, self.options = operators, count, ctx.options
        self.directions: Sequence[Tensor | None] = given[:count]
        self.grad_score: Tensor = given[count]
        self.scores: Sequence[Tensor | None] = given[count + 1 : -2]
        self.given: Sequence[Tensor | None] = given[count + 1 :]

    def second(
        self, directions: Sequence[Tensor | None], grad_score: Tensor | None, needs: Sequence[bool]
    ) -> tuple[Tensor, ...]:
        return _second(self.operators, directions, grad_score, self.given, self.options, needs)

    def products(self, directions: Sequence[Tensor | None], grad_score: Tensor | None) -> list[Tensor | None]:
        """The products of all scores, dense."""
        needs = [t is not None for t in self.scores]
        _, *products = self.second(directions, grad_score, needs)
        return [t if need else None for t, need in zip(products, needs, strict=True)]

    def gradients(self, grad_score: Tensor) -> list[Tensor | None]:
        """The scores' first derivatives."""
        _, saved = self.operators.forward(*self.given, *self.options, True)
        needs = [t is not None for t in self.scores]
        last = needs if self.count > 1 else (False,) * self.operators.visits
        gradients = self.operators.backward(grad_score, saved, *self.given, *self.options, *last)
        every = [gradients] if self.count == 1 else gradients
        return [t if need else None for t, need in zip(every, needs, strict=True)]


def _sums(first: Sequence[Tensor | None], second: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The sums of derivatives, of which None is 0."""
    pairs = zip(first, second, strict=True)
    return [b if a is None else a if b is None else a + b for a, b in pairs]


def _each_summed_as(
    derivatives: Sequence[Tensor | None], like: Sequence[Tensor | None]
) -> list[Tensor | None]:
    pairs = zip(derivatives, like, strict=True)
    return [None if t is None or of is None else _summed_as(t, of) for t, of in pairs]


def _inner(products: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> Tensor:
    """The sum over a pair's cells of products with directions, (B,)."""
    pairs = zip(products, others, strict=True)
    sums = [(a * b).sum((1, 2)) for a, b in pairs if a is not None and b is not None]
    return torch.stack(sums).sum(0)


def not_implemented(row: Recurrence, what: str) -> str:
    """The error of a derivative that the operators do not have: who has it."""
    return (
        f"softdp: {what} of this score are not implemented; softdp.reference has derivatives of every order, "
        f"backward and forward, in plain PyTorch: {row.reference}, of the same arguments ({row.alignment})"
    )
