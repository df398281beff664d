"""Scores of features by one operator, which makes the scores' gradients with the scores.

The gradient by a score only scales the score's gradients by the features. So nothing of the size of the
tables is kept: csrc/cpu/features.h, csrc/cuda/feature_scores.h. On other devices, and for second derivatives,
features go through tables: _tables.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _devices, _distances, _registration, _tables, _torch, _vmap
from ._kinds import ABSOLUTE, COSINES, FSD, LCS, ROOTS, SQUARES, Options
from ._operators import NO_FORWARD_MODE


def serves(x: Tensor, options: Options) -> bool:
    """Whether features like these can go by the operator. It has no local recurrence."""
    if _torch.forward_mode() or options.boundary_word == "local":
        return False
    return _devices.has_kernel(x.device)


# With at least so many features a step, tables are faster on a GPU. This is predicted for an H100, from
# instructions and bytes: of 64 steps, tables take 0.88 of the operator's time for FSD with 256 features, and
# 0.63 for soft-DTW with 1024. A table is then smaller than the features. A compiled graph takes the operator
# for all sizes, and so do features with a bandwidth: the operator makes no cost outside.
FEATURES_FOR_TABLES = {SQUARES: 8, ROOTS: 8, ABSOLUTE: 8, FSD: 4, LCS: 4, COSINES: 4}


def goes_by_operator(x: Tensor, y: Tensor, options: Options) -> bool:
    """Whether these features go by the operator. If not, they go through tables."""
    if not serves(x, options):
        return False
    longer = max(x.shape[1], y.shape[1])
    if not _devices.on_gpu(x.device) or torch.compiler.is_compiling() or 0 <= options.bandwidth < longer - 1:
        return True
    return x.shape[2] < FEATURES_FOR_TABLES[options.kind] * longer


def soft_dtw(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    """Soft-DTW of features that the operator serves: (B, N, D), (B, M, D) -> (B,).

    They are float64 or float32, and 0 in the padding.
    """
    if y is x and y_lengths is x_lengths and options.is_symmetric:  # half of the gradient is the other half
        return score(x, None, x_lengths, None, options)
    return score(x, y, x_lengths, y_lengths, options)


def score_or_tables(
    x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    """FSD or LCS of features, which are as in soft_dtw."""
    way = score if goes_by_operator(x, y, options) else _tables.score
    return way(x, y, x_lengths, y_lengths, options)


def score(
    x: Tensor, y: Tensor | None, x_lengths: Tensor | None, y_lengths: Tensor | None, options: Options
) -> Tensor:
    """The scores of features that the operator serves, (B,). Without y, of x and itself."""
    needs = (t is not None and (_torch.transformed() or _registration.wanted(t)) for t in (x, y))
    lengths = _devices.following(x_lengths, y_lengths, x.device)
    value: Tensor
    value, _, _ = _operator(x, y, *lengths, *options, *needs)
    return value


# ---- shapes, derivatives, vmap -------------------------------------------------------------------


def _shapes_of_score_of_features(
    x: Tensor,
    y: Tensor | None,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    kind: int,
    gamma: float,
    threshold: float,
    boundary: int,
    bandwidth: int,
    need_x: bool,
    need_y: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    d_y = x.new_empty(y.shape if need_y and y is not None else (0,))
    return x.new_empty((x.shape[0],)), x.new_empty(x.shape if need_x else (0,)), d_y


def _shapes_of_scaled_gradients(
    of_score: Tensor, score: Tensor, d_x: Tensor, d_y: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(d_x), torch.empty_like(d_y)


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, y, x_lengths, y_lengths, *options, need_x, need_y = inputs
    ctx.set_materialize_grads(False)
    ctx.options, ctx.made = Options(*options), (need_x, need_y)
    # Only the second derivatives take the inputs. Autograd would refuse also the first derivative if an input
    # was changed in place. So the inputs are kept apart, unless hooks look after all that is saved.
    given = x, y, x_lengths, y_lengths
    ctx.apart = not (torch.compiler.is_compiling() or _torch.transformed() or _torch.saved_by_hooks())
    if ctx.apart:
        ctx.save_for_backward(*output)
        ctx.inputs, ctx.versions = given, _versions(given)
    else:
        ctx.save_for_backward(*output, *map(outside_inference, given))


def outside_inference(t: Tensor | None) -> Tensor | None:
    """What autograd can save: it takes no tensor of inference mode."""
    return t.clone() if t is not None and t.is_inference() and not torch.is_inference_mode_enabled() else t


def _versions(tensors: tuple[Tensor | None, ...]) -> list[int | None]:
    """How often each was changed in place. Tensors of inference mode do not count it."""
    return [None if t is None or t.is_inference() else _torch.version(t) for t in tensors]


def _inputs(ctx: Any, saved: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    if not ctx.apart:
        return saved[3:]
    if _versions(ctx.inputs) != ctx.versions:
        raise RuntimeError(
            "softdp: the features or lengths have been modified by an inplace operation since the loss was "
            "computed; its second derivatives need them as they were"
        )
    inputs: tuple[Tensor | None, ...] = ctx.inputs
    return inputs


def _gradient(ctx: Any, of_score: Tensor | None, *of_gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    """The derivatives by the features.

    of_gradients is given if the gradients that were made are differentiated in turn.
    """
    saved = ctx.saved_tensors
    directions = [v if there else None for v, there in zip(of_gradients, ctx.made, strict=True)]
    found: list[Tensor | None] = [None, None]
    if any(v is not None for v in directions):
        found = _second(directions, _inputs(ctx, saved), ctx.options)
    if of_score is not None:
        for k, first in enumerate(_scaled(of_score, *saved[:3])):
            if ctx.made[k] and ctx.needs_input_grad[k]:
                second = found[k]
                found[k] = first if second is None else second + first
    return *(t if need else None for t, need in zip(found, ctx.needs_input_grad, strict=False)), *(None,) * 9


def _second(
    directions: Sequence[Tensor | None], inputs: Sequence[Tensor | None], options: Options
) -> list[Tensor | None]:
    """The derivatives of the gradients along the directions.

    A pair without a direction gets 0, also if its features are not finite.
    """
    (v_x, v_y), (x, y, x_lengths, y_lengths) = directions, inputs
    assert x is not None
    itself = y is None
    if y is None:
        y, y_lengths, v_y = x, x_lengths, v_x
    v_x, v_y = _distances.or_zeros(v_x, x), _distances.or_zeros(v_y, y)
    products = _tables.second(x, y, v_x, v_y, x_lengths, y_lengths, options)
    by_x, by_y = (_distances.zero_along_nothing(product, v_x, v_y) for product in products)
    return [by_x + by_y if itself else by_x, by_y]


def _scaled(of_score: Tensor, score: Tensor, *made: Tensor) -> tuple[Tensor, ...]:
    """The gradients of each pair times the gradient by its score.

    A pair whose score is NaN was left with the gradient 0: it gets NaN, or 0 if its score receives 0.
    """
    if not (torch.is_grad_enabled() or _torch.transformed() or torch.compiler.is_compiling()):
        scaled: tuple[Tensor, ...] = _scaled_gradients(of_score, score, *made)
        return scaled
    unknown = (score.detach().isnan() & (of_score.detach() != 0))[:, None, None]
    factor = of_score[:, None, None]
    return tuple((t * factor).masked_fill(unknown, torch.nan) if t.dim() == 3 else t for t in made)


torch.library.register_fake("softdp::score_of_features", _shapes_of_score_of_features)
torch.library.register_fake("softdp::scaled_gradients", _shapes_of_scaled_gradients)
_scaled_gradients = torch.ops.softdp.scaled_gradients.default
_operator = _registration.register(
    "score_of_features",
    _context,
    _gradient,
    None,
    _vmap.joins_batch(tensors=4, whole=0, present=lambda *inputs: (True, *inputs[-2:])),
    NO_FORWARD_MODE["fsd"],
)
