"""Scores of features by one operator, which makes the scores' gradients with the scores.

The gradient of a score only scales its gradients by the features. So nothing of the size of the tables is
kept: csrc/cpu/features.h, csrc/cuda/feature_scores.h. On other devices, and for the second order, features go
through tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _cosines, _devices, _distances, _registration, _torch, _vmap
from ._operators import NO_FORWARD_MODE, OPERATORS
from .functional import fsd_score, lcs_score

SQUARES, FSD, LCS, COSINES, ROOTS, ABSOLUTE = range(6)  # enum class Kind of csrc/problem.h

_FSD = OPERATORS["fsd"]


class Options(NamedTuple):
    kind: int
    gamma: float
    threshold: float = 0.0


def serves(x: Tensor) -> bool:
    """Whether features like these can go by the operator."""
    return _devices.has_kernel(x.device) and not _torch.forward_mode()


# Features a step, from which on tables are faster on a GPU: predicted for an H100 by instructions and bytes,
# of 64 steps they take 0.88 of the operator's time for FSD with 256 features, and 0.63 for soft-DTW with
# 1024. A table is then smaller than the features. A graph takes the operator for all sizes.
FEATURES_FOR_TABLES = {SQUARES: 8, ROOTS: 8, ABSOLUTE: 8, FSD: 4, LCS: 4, COSINES: 4}


def goes_by_operator(x: Tensor, y: Tensor, kind: int) -> bool:
    """Whether these features do; else they go through tables."""
    if not serves(x):
        return False
    if not _devices.on_gpu(x.device) or torch.compiler.is_compiling():
        return True
    return x.shape[2] < FEATURES_FOR_TABLES[kind] * max(x.shape[1], y.shape[1])


KIND_OF_COST = {"squared_euclidean": SQUARES, "cosine": COSINES, "euclidean": ROOTS, "manhattan": ABSOLUTE}


def soft_dtw(
    x: Tensor, y: Tensor, cost: str, gamma: float, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> Tensor:
    """Soft-DTW of a cost of KIND_OF_COST: (B, N, D), (B, M, D), float64 or float32, 0 in the padding -> (B,).

    Of features that the operator serves.
    """
    if y is x and y_lengths is x_lengths:
        y = y_lengths = None  # half of the gradient is the other half
    return _score(x, y, x_lengths, y_lengths, Options(KIND_OF_COST[cost], float(gamma)))


def fsd(x: Tensor, y: Tensor, gamma: float, x_lengths: Tensor | None, y_lengths: Tensor | None) -> Tensor:
    """FSD of the cosines of both halves of the features, as soft_dtw takes them."""
    return _score_or_tables(x, y, x_lengths, y_lengths, Options(FSD, float(gamma)))


def lcs(
    x: Tensor, y: Tensor, threshold: float, gamma: float, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> Tensor:
    """LCS of the cosines of the features, as soft_dtw takes them."""
    return _score_or_tables(x, y, x_lengths, y_lengths, Options(LCS, float(gamma), float(threshold)))


def _score_or_tables(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    score = _score if goes_by_operator(x, y, options.kind) else _by_tables
    return score(x, y, x_lengths, y_lengths, options)


def _score(
    x: Tensor, y: Tensor | None, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    needs = (t is not None and (_torch.transformed() or _registration.wanted(t)) for t in (x, y))
    lengths = _devices.following(x_lengths, y_lengths, x.device)
    score, _, _ = _operator(x, y, *lengths, *options, *needs)
    return score


def _by_tables(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    lengths = {"x_lengths": x_lengths, "y_lengths": y_lengths}
    if options.kind in (ROOTS, ABSOLUTE):
        cost = (_distances.euclidean if options.kind == ROOTS else _distances.manhattan)(x, y)
        return -fsd_score(-cost, 0.0, gamma=options.gamma, boundary="anchored", **lengths)
    if options.kind == FSD:
        return fsd_score(*_cosines.cosines(x, y, heads=2), gamma=options.gamma, **lengths)
    (similarity,) = _cosines.cosines(x, y, heads=1)
    if options.kind == COSINES:
        return -fsd_score(similarity - 1, 0.0, gamma=options.gamma, boundary="anchored", **lengths)
    return lcs_score(similarity, threshold=options.threshold, gamma=options.gamma, **lengths)


def pairwise(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    """Scores of every x and every y: (K, N, D), (L, M, D) -> (K, L). Of features that the operator serves."""
    return _pairwise(x, y, *_devices.following(x_lengths, y_lengths, x.device), *options)


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


# ---- derivatives ---------------------------------------------------------------------------------


@torch.library.register_fake("softdp::score_of_features")
def _(x, y, x_lengths, y_lengths, kind, gamma, threshold, need_x, need_y):
    d_y = x.new_empty(y.shape if need_y and y is not None else (0,))
    return x.new_empty((x.shape[0],)), x.new_empty(x.shape if need_x else (0,)), d_y


@torch.library.register_fake("softdp::scaled_gradients")
def _(of_score, score, d_x, d_y):
    return torch.empty_like(d_x), torch.empty_like(d_y)


def _context(ctx: Any, inputs: tuple, output: tuple) -> None:
    x, y, x_lengths, y_lengths, kind, gamma, threshold, need_x, need_y = inputs
    ctx.set_materialize_grads(False)
    ctx.options, ctx.made = Options(kind, gamma, threshold), (need_x, need_y)
    # What came in is for the second order alone: who changes it in place shall still have the first. Where
    # others look after what is saved, such as checkpoint, it is saved as everything is.
    inputs = x, y, x_lengths, y_lengths
    ctx.apart = not (torch.compiler.is_compiling() or _torch.transformed() or _torch.saved_by_hooks())
    if ctx.apart:
        ctx.save_for_backward(*output)
        ctx.inputs, ctx.versions = inputs, _versions(inputs)
    else:
        ctx.save_for_backward(*output, *(_outside_inference(t) for t in inputs))


def _versions(tensors: tuple[Tensor | None, ...]) -> list[int | None]:
    """How often each was changed in place; tensors of inference mode do not tell."""
    return [None if t is None or t.is_inference() else _torch.version(t) for t in tensors]


def _inputs(ctx: Any, saved: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    if not ctx.apart:
        return saved[3:]
    if _versions(ctx.inputs) != ctx.versions:
        raise RuntimeError(
            "softdp: the features or lengths have been modified by an inplace operation since the loss was "
            "computed; its second derivatives need them as they were"
        )
    return ctx.inputs


def _gradient(ctx: Any, of_score: Tensor | None, *of_gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    """of_gradients: where the gradients that were made are differentiated in turn."""
    saved = ctx.saved_tensors
    score, *made = saved[:3]
    directions = [v if there else None for v, there in zip(of_gradients, ctx.made, strict=True)]
    found = [None, None]
    if any(v is not None for v in directions):
        x, y, x_lengths, y_lengths = _inputs(ctx, saved)
        itself = y is None
        if itself:
            y, y_lengths, directions[1] = x, x_lengths, directions[0]
        v_x, v_y = (_distances._or_zeros(v, t) for v, t in zip(directions, (x, y), strict=True))
        second = {SQUARES: _second_of_squares, ABSOLUTE: _second_of_absolute}
        products = second.get(ctx.options.kind, _second_of_tables)(
            x, y, v_x, v_y, x_lengths, y_lengths, ctx.options
        )
        # A pair without a direction gets 0, whatever it holds.
        nothing = ((v_x == 0).all(2).all(1) & (v_y == 0).all(2).all(1))[:, None, None]
        found = [product.masked_fill(nothing, 0) for product in products]
        if itself:
            found[0] = found[0] + found[1]
    if of_score is not None:
        for k, first in enumerate(_scaled(of_score, score, *made)):
            if ctx.made[k] and ctx.needs_input_grad[k]:
                found[k] = first if found[k] is None else found[k] + first
    return *(t if need else None for t, need in zip(found, ctx.needs_input_grad, strict=False)), *(None,) * 7


def _scaled(of_score: Tensor, score: Tensor, *made: Tensor) -> tuple[Tensor, ...]:
    """The gradients of each pair times that by its score; NaN for a spoiled pair, whose gradient was left 0,
    unless it receives 0."""
    if not (torch.is_grad_enabled() or _torch.transformed() or torch.compiler.is_compiling()):
        return _raw_scaled(of_score, score, *made)
    spoiled = (score.detach().isnan() & (of_score.detach() != 0))[:, None, None]
    factor = of_score[:, None, None]
    return tuple((t * factor).masked_fill(spoiled, torch.nan) if t.dim() == 3 else t for t in made)


_raw_scaled = torch.ops.softdp.scaled_gradients.default


def _second_of_squares(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """The Hessian of the values' sum times (v_x, v_y), through the table of costs.

    With the costs' gradient g, the product of v and the gradients by the features is
    sum_ij g(i,j) 2 (x_i - y_j) . (v_x_i - v_y_j); g changes with the costs, and these with the features.
    """
    x, y = _distances.infinity_as_nan(x), _distances.infinity_as_nan(y)
    match = -_distances._products(x, y, None, None)
    one = match.new_ones((match.shape[0],))
    tensors = _anchored(match, x_lengths, y_lengths)
    _, saved = _FSD.forward(*tensors, options.gamma, True, True)
    g, *_ = _FSD.backward(one, saved, *tensors, options.gamma, True, True, False, False)
    by_match = _changes_of_gradient(2 * _distances._products(x, y, v_x, v_y), tensors, options.gamma)
    direct, through_g = (
        _distances._sums(g, v_x, v_y, True, True),
        _distances._sums(by_match, x, y, True, True),
    )
    return tuple(2 * (a - b) for a, b in zip(direct, through_g, strict=True))


def _second_of_absolute(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """The same of absolute differences, whose signs do not change: through g alone."""
    tensors = _anchored(-_distances.manhattan(x, y), x_lengths, y_lengths)
    by_match = _changes_of_gradient(_distances.products_of_signs(x, y, v_x, v_y), tensors, options.gamma)
    return tuple(-sums for sums in _distances.sums_of_signs(by_match, x, y))


def _anchored(match: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> tuple:
    """What FSD's operators take for soft-DTW."""
    return match, match.new_zeros((1, 1, 1)), None, x_lengths, y_lengths


def _changes_of_gradient(direction: Tensor, tensors: tuple, gamma: float) -> Tensor:
    """How the gradients by match change along a direction of match."""
    one = direction.new_ones((direction.shape[0],))
    options = gamma, True, True, False, False
    return _FSD.double_backward(direction, None, None, one, *tensors, *options)[1]


def _second_of_tables(
    x: Tensor,
    y: Tensor,
    v_x: Tensor,
    v_y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """The same through tables that PyTorch differentiates."""

    def gradients(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        score, pull = torch.func.vjp(lambda x, y: _by_tables(x, y, x_lengths, y_lengths, options), x, y)
        return pull(torch.ones_like(score))

    _, pull = torch.func.vjp(gradients, x, y)
    return pull((v_x, v_y))


_operator = _registration.register(
    "score_of_features",
    _context,
    _gradient,
    _vmap.joins_batch(tensors=4, whole=0, present=lambda *inputs: (True, *inputs[-2:])),
    NO_FORWARD_MODE["fsd"],
)


# ---- every x and every y: backward sweeps again --------------------------------------------------


@torch.library.register_fake("softdp::pairwise_scores")
def _(x, y, x_lengths, y_lengths, kind, gamma, threshold):
    return x.new_empty((x.shape[0], y.shape[0]))


@torch.library.register_fake("softdp::pairwise_gradients")
def _(of_scores, x, y, x_lengths, y_lengths, kind, gamma, threshold, need_x, need_y):
    return tuple(t.new_empty(t.shape if need else (0,)) for t, need in ((x, need_x), (y, need_y)))


def _pairwise_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, kind, gamma, threshold = inputs
    ctx.save_for_backward(*(_outside_inference(t) for t in tensors))
    ctx.options = Options(kind, gamma, threshold)


def _pairwise_gradient(ctx: Any, of_scores: Tensor) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:2]
    found = _pairwise_gradients(of_scores, *ctx.saved_tensors, *ctx.options, *needs)
    return *(t if need else None for t, need in zip(found, needs, strict=True)), *(None,) * 5


def _pairwise_second_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, kind, gamma, threshold, need_x, need_y = inputs
    ctx.save_for_backward(*(_outside_inference(t) for t in tensors))
    ctx.set_materialize_grads(False)
    ctx.options, ctx.made = Options(kind, gamma, threshold), (need_x, need_y)


def _pairwise_second(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
    """The derivatives of both gradients along the directions, of pairs whose features are copied."""
    of_scores, x, y, x_lengths, y_lengths = ctx.saved_tensors
    v_x, v_y = (
        torch.zeros_like(t) if v is None or not there else v
        for v, t, there in zip(directions, (x, y), ctx.made, strict=True)
    )

    def score(x: Tensor, y: Tensor) -> Tensor:
        pairs = copied(x, y, x_lengths, y_lengths)
        return _score(*pairs, ctx.options).view(of_scores.shape)

    def gradients(of_scores: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        _, pull = torch.func.vjp(score, x, y)
        return pull(of_scores)

    _, pull = torch.func.vjp(gradients, of_scores, x, y)
    found = pull((v_x, v_y))
    needs = ctx.needs_input_grad[:3]
    return *(t if need else None for t, need in zip(found, needs, strict=True)), *(None,) * 7


def _outside_inference(t: Tensor | None) -> Tensor | None:
    """What autograd can save: it takes no tensor of inference mode."""
    return t.clone() if t is not None and t.is_inference() and not torch.is_inference_mode_enabled() else t


def _over_batch(call: Callable, info: Any, in_dims: tuple, inputs: tuple) -> list[Any]:
    """An operator's results for each part of mapped inputs."""
    return [
        call(
            *(
                t.select(dim, i) if isinstance(t, Tensor) and dim is not None else t
                for t, dim in zip(inputs, in_dims, strict=True)
            )
        )
        for i in range(info.batch_size)
    ]


def _pairwise_vmap(info: Any, in_dims: tuple, *inputs: Any) -> tuple[Tensor, int]:
    return torch.stack(_over_batch(_pairwise, info, in_dims, inputs)), 0


def _pairwise_gradients_vmap(info: Any, in_dims: tuple, *inputs: Any) -> tuple[tuple, tuple]:
    results = _over_batch(_pairwise_gradients, info, in_dims, inputs)
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0, 0)


_pairwise_gradients = _registration.register(
    "pairwise_gradients",
    _pairwise_second_context,
    _pairwise_second,
    lambda operator: _pairwise_gradients_vmap,
    NO_FORWARD_MODE["fsd"],
)
_pairwise = _registration.register(
    "pairwise_scores",
    _pairwise_context,
    _pairwise_gradient,
    lambda operator: _pairwise_vmap,
    NO_FORWARD_MODE["fsd"],
)
