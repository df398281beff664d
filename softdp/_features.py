"""What losses and distances do with features before they compare them."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _torch
from ._dtypes import computed


def valid(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Features in the dtype of the arithmetic, with the padding, which may hold anything, set to 0."""
    x = computed(x)
    if lengths is None:
        return x
    steps = torch.arange(x.shape[1], device=x.device)
    padding = steps >= lengths.to(x.device, non_blocking=True)[:, None]
    return x.masked_fill(padding[..., None], 0)


def without_spoiled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Steps that hold a NaN or infinity as 0, and a NaN to add to what comes of them, 0 for the others:
    (B, N, D) -> (B, N, D), (B, N, 1).

    The gradient by the features is then 0 where nothing is asked for, and NaN where it is: in products with
    the features themselves 0 times NaN would be NaN.
    """
    spoiled = ~x.detach().isfinite().all(2, keepdim=True)
    # Of a sum that is not 0 NaN; the gradient by it is xlogy(gradient, -1), 0 for 0 and NaN for any other.
    unknown = torch.xlogy(x.sum(2, keepdim=True), -1.0)
    return x.masked_fill(spoiled, 0), torch.where(spoiled, unknown, 0.0)


def autocast_rounds(x: Tensor) -> bool:
    """Whether autocast would have products of such tensors in half precision."""
    device = x.device.type
    return _torch.has_autocast(device) and torch.is_autocast_enabled(device)
