"""Scores of the features of every x and every y by one operator. Its backward sweeps a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _devices, _fused, _registration, _tables, _vmap
from ._kinds import Options
from ._operators import NO_FORWARD_MODE


def scores(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    """(K, N, D), (L, M, D) -> (K, L), of features that the operator serves."""
    return _scores(x, y, *_devices.following(x_lengths, y_lengths, x.device), *options)


def copied(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Every x beside every y, as K * L pairs."""
    K, L = x.shape[0], y.shape[0]
    return (
        x.repeat_interleave(L, 0),
        y.repeat(K, 1, 1),
        None if x_lengths is None else x_lengths.repeat_interleave(L),
        None if y_lengths is None else y_lengths.repeat(K),
    )


# ---- shapes, derivatives, vmap -------------------------------------------------------------------


def _shapes_of_pairwise_scores(
    x: Tensor,
    y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    kind: int,
    gamma: float,
    threshold: float,
    boundary: int,
    bandwidth: int,
) -> Tensor:
    return x.new_empty((x.shape[0], y.shape[0]))


def _shapes_of_pairwise_gradients(
    of_scores: Tensor,
    x: Tensor,
    y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    kind: int,
    gamma: float,
    threshold: float,
    boundary: int,
    bandwidth: int,
    need_x: bool,
    need_y: bool,
) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape if need else (0,)) for t, need in ((x, need_x), (y, need_y)))


def _scores_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*map(_fused.outside_inference, inputs[:4]))
    ctx.options = Options(*inputs[4:])


def _scores_gradient(ctx: Any, of_scores: Tensor) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:2]
    found = _gradients(of_scores, *ctx.saved_tensors, *ctx.options, *needs)
    return *(t if need else None for t, need in zip(found, needs, strict=True)), *(None,) * 7


def _gradients_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*map(_fused.outside_inference, inputs[:5]))
    ctx.set_materialize_grads(False)
    ctx.options, ctx.made = Options(*inputs[5:-2]), inputs[-2:]


def _gradients_gradient(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
    """The derivatives of both gradients along the directions, of pairs whose features are copied."""
    of_scores, x, y, x_lengths, y_lengths = ctx.saved_tensors
    v_x, v_y = (
        torch.zeros_like(t) if v is None or not there else v
        for v, t, there in zip(directions, (x, y), ctx.made, strict=True)
    )

    def score(x: Tensor, y: Tensor) -> Tensor:
        pairs = copied(x, y, x_lengths, y_lengths)
        return _fused.score(*pairs, ctx.options).view(of_scores.shape)

    def gradients(of_scores: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        _, pull = _tables.vjp(score, x, y)
        return pull(of_scores)

    _, pull = _tables.vjp(gradients, of_scores, x, y)
    found = pull((v_x, v_y))
    needs = ctx.needs_input_grad[:3]
    return *(t if need else None for t, need in zip(found, needs, strict=True)), *(None,) * 9


torch.library.register_fake("softdp::pairwise_scores", _shapes_of_pairwise_scores)
torch.library.register_fake("softdp::pairwise_gradients", _shapes_of_pairwise_gradients)
_gradients: Callable[..., tuple[Tensor, Tensor]] = _registration.register(
    "pairwise_gradients", _gradients_context, _gradients_gradient, None, _vmap.in_turn, NO_FORWARD_MODE["fsd"]
)
_scores: Callable[..., Tensor] = _registration.register(
    "pairwise_scores", _scores_context, _scores_gradient, None, _vmap.in_turn, NO_FORWARD_MODE["fsd"]
)
