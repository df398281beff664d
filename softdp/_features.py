"""What losses and distances do with features before they compare them."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _torch
from ._dtypes import computed


def valid(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Features in the dtype of the arithmetic, with 0 in the padding, which may hold anything."""
    x = computed(x)
    if lengths is None:
        return x
    steps = torch.arange(x.shape[1], device=x.device)
    padding = steps >= lengths.to(x.device, non_blocking=True)[:, None]
    return x.masked_fill(padding[..., None], 0)


def finite(x: Tensor) -> tuple[Tensor, Tensor]:
    """Finite steps, and what to add to their results: (B, N, D) -> (B, N, D), (B, N, 1).

    A step that holds a NaN or infinity is replaced by 0, and NaN is added to its results. To the results of
    other steps 0 is added. The gradient of such a step is then NaN, or 0 if its results receive the gradient
    0. A product with the step itself would make NaN of 0.
    """
    bad = ~x.detach().isfinite().all(2, keepdim=True)
    # NaN of a sum that is not 0. The gradient by it is xlogy(gradient, -1): 0 of 0, and NaN of all others.
    unknown = torch.xlogy(x.sum(2, keepdim=True), -1.0)
    return x.masked_fill(bad, 0), torch.where(bad, unknown, 0.0)


def autocast_rounds(x: Tensor) -> bool:
    """Whether autocast would compute products of such tensors in half precision."""
    device = x.device.type
    return _torch.has_autocast(device) and torch.is_autocast_enabled(device)
